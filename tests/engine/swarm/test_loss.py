"""A machine of the swarm is lost: its user starts elsewhere, and no two servers have one home."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.built import wait_until
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import SwarmTenant, started_on
from tests.engine.swarm.engines import SwarmEngines

pytestmark = [pytest.mark.engine, pytest.mark.long]

DOWN_SECONDS = 60
LEASE_SECONDS = 300
"""How long the two things may take at most on a loaded machine: that the managers call a machine
down, and that a server which cannot reach its hub has ended."""


def test_a_machine_is_cut_off(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    node = engines.nodes[2]
    lost = started_on(node, engines, stack, entrance, "grace")
    user = lost.user
    user.save("kept.txt", "of grace")
    process = Path("/proc", str(lost.container.attrs["State"]["Pid"]))
    assert process.exists()
    with node.cut_off():
        wait_until(lambda: engines.state(node) == "down", seconds=DOWN_SECONDS)
        # The swarm itself starts no second one, and the first runs on.
        assert process.exists()
        user.stop_server()
        took = starts_once_it_has_ended(lost, process, "machine that does not answer")
        user.open_lab()
        assert user.read("kept.txt") == "of grace"
        # Nobody else has noticed.
        assert alice.user.run("print(6 * 7)").strip() == "42"
    print(f"started elsewhere after {took:.0f} s")
    wait_until(lambda: engines.state(node) == "ready", seconds=DOWN_SECONDS)
    of = stack.labelled("notebook", "grace")
    wait_until(lambda: not node.client.containers.list(filters=of), seconds=DOWN_SECONDS)
    user.stop_server()


def starts_once_it_has_ended(lost: SwarmTenant, process: Path, why: str) -> float:
    """Ask for a user's next server until it is ready; return the seconds.

    Args:
        lost: the user, with the last server.
        process: of the last server, which still runs.
        why: a part of what the first request is refused with.
    """
    refused = lost.user.request("POST", f"hub/api/users/{lost.user.name}/server")
    began = time.monotonic()
    assert process.exists()
    assert why in refused.text, refused.text
    while not started(lost):
        assert time.monotonic() < began + LEASE_SECONDS
        time.sleep(5)
    assert not process.exists(), "two servers with one home"
    return time.monotonic() - began


def started(tenant: SwarmTenant) -> bool:
    """Whether the user's next server is ready; ask for it, unless it is on its way."""
    model = tenant.user.server()
    if not model:
        tenant.user.request("POST", f"hub/api/users/{tenant.user.name}/server")
    return bool(model.get("ready"))
