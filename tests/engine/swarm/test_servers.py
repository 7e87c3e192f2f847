"""Users' servers on a swarm: where they run, with what, and what is left of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from tests.built import wait_until
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import SwarmTenant, started_on
from tests.engine.swarm.engines import SwarmEngines
from tests.hubclient import User
from toolchain.backup.engine import Engine
from toolchain.engine import client

pytestmark = [pytest.mark.engine, pytest.mark.long]


def test_a_user_finds_their_files_on_another_machine(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    first = started_on(engines.nodes[1], engines, stack, entrance, "grace")
    first.user.save("kept.txt", "of grace")
    assert first.user.run("import socket; print(socket.gethostname())").strip()
    first.user.stop_server()
    second = started_on(engines.nodes[2], engines, stack, entrance, "grace")
    assert second.user.read("kept.txt") == "of grace"
    second.user.stop_server()
    home = engines.homes / f"{stack.prefix}-home-grace"
    assert (home / "kept.txt").read_text() == "of grace"


def test_users_are_in_networks_of_their_own_on_different_machines(
    engines: SwarmEngines, stack: Stack, alice: SwarmTenant, mallory: SwarmTenant
) -> None:
    assert alice.node is not mallory.node
    assert alice.user.run("print(6 * 7)").strip() == "42"
    networks = engines.manager.client.networks.list(
        filters={"label": [f"zhub.stack={stack.prefix}", "zhub.role=user-network"]}
    )
    assert {one.name for one in networks} >= {alice.name, mallory.name}
    assert {one.attrs["Driver"] for one in networks} == {"overlay"}


def test_a_server_has_the_limits_of_one_on_a_single_engine(alice: SwarmTenant) -> None:
    host: dict[str, Any] = alice.container.attrs["HostConfig"]
    assert host["Memory"] == 512 << 20
    assert host["PidsLimit"] > 0
    assert host["NanoCpus"] > 0
    assert not host["Privileged"]
    assert host["OomScoreAdj"] == 500
    assert alice.shell("df --output=size -B1 /dev/shm | tail -1")[1].strip().isdecimal()
    assert host["RestartPolicy"]["Name"] in {"", "no"}


def test_nothing_but_the_entry_runs_before_the_filter_is_set(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    node = engines.nodes[2]
    [guard] = node.client.containers.list(filters=stack.labelled("nodeguard"))
    user = entrance.logged_in("grace")
    guard.pause()
    try:
        with engines.only(node):
            user.request("POST", "hub/api/users/grace/server").raise_for_status()
            tenant = SwarmTenant(user, engines.manager.client, stack, engines)
            wait_until(lambda: bool(running_of(tenant, engines, stack)), seconds=60)
        container = tenant.container
        # It has its interfaces, and would have a way out.
        assert "eth0" in tenant.shell("ls /sys/class/net")[1]
        begin = time.monotonic()
        while time.monotonic() < begin + 8:
            # In full: with a terminal's width in its environment, the engine's `ps` cuts them off.
            listed = container.top(ps_args="-efww")["Processes"]
            commands = [process[-1] for process in listed]
            assert all("zsingleuser" in command for command in commands), commands
            assert not user.server()["ready"]
            time.sleep(1)
    finally:
        guard.unpause()
    wait_until(lambda: bool(user.server()["ready"]), seconds=60)
    user.stop_server()


def running_of(tenant: SwarmTenant, engines: SwarmEngines, stack: Stack) -> list[str]:
    of = stack.labelled("notebook", tenant.user.name)
    return [
        str(found.id) for node in engines.nodes for found in node.client.containers.list(filters=of)
    ]


def test_a_server_that_is_stopped_leaves_nothing(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    tenant = started_on(engines.nodes[2], engines, stack, entrance, "grace")
    tenant.user.stop_server()
    wait_until(lambda: not of_user(engines, stack, "grace"), seconds=30)


def of_user(engines: SwarmEngines, stack: Stack, name: str) -> list[str]:
    """What of a user's server is on any engine, without what stays on purpose: the home."""
    of: dict[str, Any] = {"label": [f"zhub.stack={stack.prefix}", f"zhub.user={name}"]}
    found = [str(one.name) for one in engines.manager.client.services.list(filters=of)]
    for node in engines.nodes:
        found += [str(one.name) for one in node.client.containers.list(all=True, filters=of)]
        found += [str(one.name) for one in node.client.networks.list(filters=of)]
    return found


def test_operators_commands_see_servers_on_all_machines(
    engines: SwarmEngines, stack: Stack, alice: SwarmTenant, mallory: SwarmTenant
) -> None:
    """What moves, restores or removes homes leaves those in use alone."""
    engine = Engine((client(), "--host", engines.manager.address), stack.prefix)
    assert {alice.name, mallory.name} <= set(engine.servers())
    assert engine.servers("alice") == [alice.name]


def test_the_last_lines_of_a_server_that_ends_elsewhere_are_in_the_guards_log(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    tenant = started_on(engines.nodes[2], engines, stack, entrance, "grace")
    tenant.container.kill("SIGTERM")
    wait_until(lambda: not tenant.user.server(), seconds=120)
    guard = engines.manager.client.containers.get(f"{stack.prefix}-guard")
    assert b"server of grace: " in guard.logs(tail=200)


def test_a_second_up_changes_nothing(stack: Stack, alice: SwarmTenant) -> None:
    said = stack.up()
    assert "unchanged" in said
    assert not [word for word in ("created", "updated", "replaced", "deleted") if word in said]
    assert alice.user.run("print(6 * 7)").strip() == "42"


def test_the_hub_answers_again_after_a_restart_and_finds_its_servers(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, alice: SwarmTenant
) -> None:
    kernel = alice.user.start_kernel()
    kernel.run("kept = 42")
    engines.manager.client.containers.get(entrance.outputs["container"]).restart()

    def answers() -> bool:
        try:
            return bool(entrance.browser().request("GET", "hub/health").ok)
        except requests.RequestException:
            return False

    wait_until(answers, seconds=90)
    again: User = alice.user
    assert again.server()["ready"]
    assert kernel.run("print(kept)").strip() == "42"
    kernel.end()
