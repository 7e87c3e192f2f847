"""What hub and guard share outlives a restart of an engine with live-restore.

With plain containers in place of hub and guard, mounted as the program declares them: so it takes
seconds. On Docker 20.10, a file system in memory as volume does not pass this.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from components.guard import ENGINE_SOCKET, FOLDER
from components.holder import RESTART
from tests.built import wait_until
from tests.components.recorder import run
from tests.components.stacks import SITE
from tests.engine.conftest import CONFIG
from tests.engine.second_engine import SecondEngine, able, second_engine

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

IMAGE = CONFIG["buildImage"]

#: Leaves in the shared folder what the process has seen as the engine's socket.
LOOK = f"stat -c %i {ENGINE_SOCKET} > {FOLDER}/seen; exec sleep 600"


@pytest.fixture
def second(engine: docker.DockerClient, short_folder: Path) -> Iterator[SecondEngine]:
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    with second_engine(short_folder, "--live-restore") as found:
        found.take(engine.images.get(IMAGE))
        yield found
        # They would run on without their engine.
        for container in found.client.containers.list(all=True):
            container.remove(force=True)


def seen(hub: Container) -> str:
    """What the hub reads in the folder that it shares with the guard."""
    status, output = hub.exec_run(["cat", f"{FOLDER}/seen"])
    assert isinstance(output, bytes)
    return output.decode().strip() if status == 0 else ""


@pytest.mark.parametrize(
    "kill", [False, pytest.param(True, marks=pytest.mark.long)], ids=["stopped", "killed"]
)
def test_a_restarted_guard_sees_the_new_socket_and_the_hub_sees_the_guard(
    second: SecondEngine, *, kill: bool
) -> None:
    declared = run(SITE).one("Volume", "guardsocket").inputs
    volume = second.client.volumes.create(
        declared["name"], driver="local", driver_opts=declared.get("driverOpts") or {}
    )
    common: dict[str, Any] = {
        "detach": True,
        "network_mode": "none",
        "restart_policy": {"Name": RESTART},
    }
    shared = {"bind": FOLDER, "mode": "ro"}
    hub = second.client.containers.run(
        IMAGE, ["sleep", "600"], volumes={volume.name: shared}, **common
    )
    guard = second.client.containers.run(
        IMAGE,
        ["sh", "-c", LOOK],
        volumes={
            volume.name: shared | {"mode": "rw"},
            str(second.socket): {"bind": ENGINE_SOCKET, "mode": "rw"},
        },
        **common,
    )
    wait_until(lambda: seen(hub) == str(second.socket.stat().st_ino), seconds=30)
    hub.reload()
    before = hub.attrs["State"]["StartedAt"]

    second.restart(kill=kill)
    hub, guard = (second.client.containers.get(str(each.id)) for each in (hub, guard))
    # The guard ends when nobody listens at its socket any more.
    guard.restart(timeout=0)

    wait_until(lambda: seen(hub) == str(second.socket.stat().st_ino), seconds=30)
    assert hub.attrs["State"]["StartedAt"] == before, "it ran on"


def test_what_outlived_an_engine_that_was_killed_is_started_again(
    engine: docker.DockerClient, short_folder: Path
) -> None:
    """Without live-restore; the engine stops it first."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    with second_engine(short_folder) as second:
        second.take(engine.images.get(IMAGE))
        policies = (RESTART, "unless-stopped")
        for policy in policies:
            restart: Any = {"Name": policy}
            second.client.containers.run(
                IMAGE,
                ["sleep", "600"],
                name=policy,
                detach=True,
                network_mode="none",
                init=True,
                restart_policy=restart,
            )
        second.restart(kill=True)
        states = {name: second.client.containers.get(name).status for name in policies}
        for name in policies:
            second.client.containers.get(name).remove(force=True)
    assert states == {RESTART: "running", "unless-stopped": "exited"}
