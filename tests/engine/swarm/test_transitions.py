"""Machines of the swarm are taken out of service, and back, while users have servers there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.built import wait_until
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import SwarmTenant, started_on
from tests.engine.swarm.engines import LABELS, NodeEngine, SwarmEngines
from tests.engine.swarm.test_loss import DOWN_SECONDS, starts_once_it_has_ended
from toolchain.engine import client

pytestmark = [pytest.mark.engine, pytest.mark.long]

POLL_SECONDS = 120
"""How long the hub may take to see that a server has ended."""


def test_the_users_of_a_drained_machine_start_elsewhere(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    node = engines.nodes[2]
    user = started_on(node, engines, stack, entrance, "grace").user
    user.save("kept.txt", "of grace")
    engines.change(node, Availability="drain")
    try:
        wait_until(lambda: not user.server(), seconds=POLL_SECONDS)
        user.start_server()
        assert SwarmTenant(user, engines.manager.client, stack, engines).node is not node
        assert user.read("kept.txt") == "of grace"
        # Nobody else has noticed.
        assert alice.user.run("print(6 * 7)").strip() == "42"
    finally:
        engines.change(node, Availability="active")
    user.stop_server()


def test_a_machine_without_a_guard_gets_no_server(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    node = engines.nodes[2]
    user = entrance.logged_in("grace")
    of = stack.labelled("notebook", "grace")
    with _without_guard(node, engines, stack):
        with engines.only(node):
            user.request("POST", "hub/api/users/grace/server").raise_for_status()
            time.sleep(15)
            assert not node.client.containers.list(all=True, filters=of)
        # The others take servers again.
        wait_until(lambda: bool(user.server().get("ready")), seconds=60)
        assert SwarmTenant(user, engines.manager.client, stack, engines).node is not node
    user.stop_server()


@contextmanager
def _without_guard(node: NodeEngine, engines: SwarmEngines, stack: Stack) -> Iterator[None]:
    """Have no guard on a machine, as where it does not start."""
    constraint = f"node.hostname!={node.name}"
    of = stack.labelled("nodeguard")

    def update(change: str, *, runs: bool) -> None:
        command = [client(), "--host", engines.manager.address, "service", "update"]
        name = f"{stack.prefix}-nodeguard"
        subprocess.run(
            [*command, "--quiet", "--no-resolve-image", change, constraint, name], check=True
        )
        wait_until(lambda: bool(node.client.containers.list(filters=of)) is runs, seconds=90)

    update("--constraint-add", runs=False)
    try:
        yield
    finally:
        update("--constraint-rm", runs=True)


def test_no_second_server_where_a_machine_loses_its_label_as_it_is_lost(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    """The managers say at once that its servers have ended, which they have not.

    Once they have seen that a machine is away, they leave its tasks as they are.
    """
    node = engines.nodes[2]
    lost = started_on(node, engines, stack, entrance, "grace")
    user = lost.user
    process = Path("/proc", str(lost.container.attrs["State"]["Pid"]))
    with node.cut_off():
        engines.change(node, Labels={})
        wait_until(lambda: not user.server(), seconds=POLL_SECONDS)
        took = starts_once_it_has_ended(lost, process, "takes no servers any more")
    print(f"started elsewhere after {took:.0f} s")
    engines.change(node, Labels=LABELS)
    wait_until(lambda: engines.state(node) == "ready", seconds=DOWN_SECONDS)
    of = stack.labelled("nodeguard")
    wait_until(lambda: bool(node.client.containers.list(filters=of)), seconds=90)
    user.stop_server()


def test_a_machine_without_the_homes_does_not_take_all_starts(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    """The managers would choose it each time: no server stays there."""
    _, other, node = engines.nodes
    assert alice.node is other
    user = entrance.logged_in("grace")
    guard = engines.manager.client.containers.get(f"{stack.prefix}-guard")
    with node.without(engines.homes), engines.only(other, node):
        refused = user.request("POST", "hub/api/users/grace/server")
        assert "does not start it. Please try again" in refused.text, refused.text
        wait_until(lambda: not user.server(), seconds=POLL_SECONDS)
        assert f"{node.name} has not started a server" in guard.logs().decode()
        user.start_server()
        assert SwarmTenant(user, engines.manager.client, stack, engines).node is other
    user.stop_server()
    # It forgets which machine it was.
    guard.restart()
    wait_until(lambda: b"the guard listens" in guard.logs(tail=5), seconds=60)
