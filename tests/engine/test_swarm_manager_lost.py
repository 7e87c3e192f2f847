"""The machine with the hub is lost for good: the stack comes up on another manager of the swarm."""

from __future__ import annotations

import time
from dataclasses import replace

import docker
import pytest
from docker.errors import APIError

from tests.built import wait_until
from tests.docs.commands import runs
from tests.engine.conftest import CONFIG
from tests.engine.operator import typed
from tests.engine.people import Entrance
from tests.engine.stack import PULUMI, Stack, equipped
from tests.engine.swarm.conftest import await_ready, config, started_on
from tests.engine.swarm.engines import fit, swarm_engines

pytestmark = [pytest.mark.engine, pytest.mark.long]

REMOVE, UP, RESTORE = runs("docs/swarm.md", "When the hub's machine is lost")

WAIT = 240
"""Seconds after which all servers have ended, as the page says."""


def test_another_manager_gets_the_hub(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By the commands of the page, from a backup; the homes are where they were."""
    if reason := fit():
        pytest.skip(reason)
    if not PULUMI.exists():
        pytest.skip("no toolchain: run `make toolchain`")
    packed = b"".join(docker.from_env().images.get(CONFIG["buildImage"]).save(named=True))
    project = equipped(tmp_path_factory.mktemp("state") / "project")
    stack = Stack("e2e-lost", project, project=project)
    with swarm_engines(tmp_path_factory.mktemp("s"), managers=3) as engines:
        lost, other, third = engines.nodes
        for node in (lost, other):
            node.client.images.load(packed)
        with lost.machine():
            stack.init(config(engines))
            stack.on_stack("config set", "docker:host", lost.address)
            stack.up()
            await_ready(engines, stack)
            entrance = Entrance.of(stack)
            entrance.logged_in("bob")
            user = started_on(third, engines, stack, entrance, "alice").user
            user.save("kept.txt", "of alice")
            typed(stack, "make backup STACK=<stack>")
        [backup] = (project / "backups").iterdir()

        lost.lose()
        began = time.monotonic()
        left = replace(engines, nodes=(other, third))

        def down() -> bool:
            try:
                return left.state(lost) == "down"
            except APIError:
                return False  # the managers are choosing another leader

        wait_until(down, seconds=120)
        with other.machine():
            typed(stack, f"export DOCKER_HOST={other.address}", REMOVE)
            time.sleep(max(0, began + WAIT - time.monotonic()))
            of = stack.labelled("notebook")
            assert not third.client.containers.list(filters=of), "it runs without a hub"
            up = time.monotonic()
            typed(stack, UP.replace("ssh://admin@192.0.2.11", other.address))
            example = f"backups/{stack.name}-20261129T030000Z"
            restore = RESTORE.replace("<stack>", stack.name)
            assert example in restore
            typed(stack, restore.replace(example, str(backup)))
            print(f"up and restored in {time.monotonic() - up:.0f} s")
            await_ready(left, stack)
            entrance = Entrance.of(stack)
            tenant = started_on(third, left, stack, entrance, "alice")
            assert tenant.user.read("kept.txt") == "of alice"
            assert tenant.user.run("print(6 * 7)").strip() == "42"
            # Of the database before: nobody called bob has come to this hub.
            known = entrance.logged_in("grace").request("GET", "hub/api/users").json()
            assert {"alice", "bob"} <= {one["name"] for one in known}
            stack.on_stack("destroy", "--yes")
