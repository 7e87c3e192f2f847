"""Machines of the swarm lose their network or their engine for a while, as users work."""

from __future__ import annotations

import subprocess
import time

import pytest
import requests
import websocket

from tests.built import wait_until
from tests.docs.commands import runs
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import SwarmTenant, started_on
from tests.engine.swarm.engines import NodeEngine, SwarmEngines
from tests.engine.swarm.test_loss import started
from tests.engine.swarm.test_transitions import POLL_SECONDS
from toolchain.engine import client

pytestmark = [pytest.mark.engine, pytest.mark.long]

BACK_SECONDS = 120
"""How long hub and guards may take after their engine's start, on a loaded machine."""

CUT_SECONDS = 60

HEARTBEAT = 30
"""Seconds between two signs of life, as the page advises: managers miss three of them."""


def guarded(node: NodeEngine, stack: Stack) -> bool:
    return bool(node.client.containers.list(filters=stack.labelled("nodeguard")))


def test_a_minute_without_network_ends_no_server(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    """With the swarm's default, a quarter of a minute does: a machine that is down loses them."""
    node = engines.nodes[2]
    heartbeat(engines, HEARTBEAT)
    tenant = started_on(node, engines, stack, entrance, "grace")
    kernel = tenant.user.start_kernel()
    kernel.run("kept = 42")
    with node.cut_off():
        time.sleep(CUT_SECONDS)
        assert engines.state(node) == "ready"
        assert alice.user.run("print(6 * 7)").strip() == "42"

    def works() -> bool:
        try:
            return kernel.run("print(kept)", timeout=10).strip() == "42"
        except (OSError, TimeoutError, websocket.WebSocketException):
            return False

    began = time.monotonic()
    wait_until(works, seconds=90)
    print(f"the kernel answers {time.monotonic() - began:.0f} s after the network is back")
    time.sleep(2 * HEARTBEAT)
    assert works()
    kernel.end()
    tenant.user.stop_server()
    heartbeat(engines, 5)


def heartbeat(engines: SwarmEngines, seconds: int) -> None:
    """Have machines give a sign of life in this interval, and wait until they know."""
    [command] = runs("docs/swarm.md", "Set it up", "docker swarm update")
    words = command.replace(f"{HEARTBEAT}s", f"{seconds}s").split()
    subprocess.run([client(), "--host", engines.manager.address, *words[1:]], check=True)
    time.sleep(HEARTBEAT)


def test_an_engine_is_killed_and_comes_back(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    """Its servers end, since the swarm has given them up, and their users start again."""
    node = engines.nodes[2]
    tenant = started_on(node, engines, stack, entrance, "grace")
    tenant.user.save("kept.txt", "of grace")
    node.restart(kill=True)
    wait_until(lambda: not tenant.user.server(), seconds=POLL_SECONDS)
    wait_until(lambda: started(tenant), seconds=POLL_SECONDS)
    tenant.user.open_lab()
    assert tenant.user.read("kept.txt") == "of grace"
    assert alice.user.run("print(6 * 7)").strip() == "42"
    tenant.user.stop_server()
    wait_until(lambda: guarded(node, stack), seconds=BACK_SECONDS)


def test_the_hubs_engine_restarts_and_kernels_elsewhere_live_on(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    kernel = alice.user.start_kernel()
    kernel.run("kept = 42")
    began = time.monotonic()
    engines.manager.restart()

    def works() -> bool:
        try:
            return bool(
                entrance.browser().request("GET", "hub/health").ok
                and alice.user.request("GET", "user/alice/api").ok
            )
        except requests.RequestException:
            return False

    def logs_in() -> bool:
        try:
            entrance.logged_in("grace")
        except requests.RequestException:
            return False
        return True

    wait_until(works, seconds=BACK_SECONDS)
    print(f"the hub and a server elsewhere answer after {time.monotonic() - began:.0f} s")
    assert kernel.run("print(kept)").strip() == "42"
    kernel.end()
    # The directory takes longer.
    wait_until(logs_in, seconds=BACK_SECONDS)
    tenant = started_on(engines.nodes[2], engines, stack, entrance, "grace")
    assert tenant.user.run("print(6 * 7)").strip() == "42"
    tenant.user.stop_server()
