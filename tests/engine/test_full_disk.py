"""One user fills the engine's disk: what goes on, what does not, and what is said then.

On an engine of its own, whose disk is a file of six gigabytes. Its file system first keeps a part
for root, as ext4 does, and then nothing, as XFS.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import docker
import pytest
import requests
from docker.models.containers import Container

from tests.disks import mount_new
from tests.engine.conftest import CONFIG, native, remove_leftovers
from tests.engine.namespaces import entered
from tests.engine.people import Entrance
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.engine.stack import Stack
from tests.hubclient import User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

SIZE = 6 << 30
"""Bytes of the engine's disk; images and their build take four gigabytes of it."""

FILL = "cat /dev/zero >>/home/jovyan/fill; sync"

LOGINS = 100


@pytest.fixture
def small(engine: docker.DockerClient, short_folder: Path) -> Iterator[SecondEngine]:
    """An engine with a small disk."""
    if not able() or not shutil.which("mkfs.ext4"):
        pytest.skip("an engine with a small disk needs root, ip, iptables, dockerd and mkfs.ext4")
    if shutil.disk_usage(short_folder).free < SIZE * 1.2:
        pytest.skip(f"a disk of {SIZE >> 30} GiB needs as much in {short_folder}")
    mount_new(short_folder / "disk", short_folder / "data", SIZE, "mkfs.ext4", "-q")
    # Its end unmounts the disk as well.
    with second_engine(short_folder) as found:
        found.take(engine.images.get(CONFIG["buildImage"]))
        yield found


@pytest.fixture
def stack(
    engine: docker.DockerClient, small: SecondEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {
        "port": free_port(),
        "notebookPackages": [],
        "notebookRequirements": [],
        "engineSocket": str(small.socket),
    }
    made = Stack("e2e-full", tmp_path_factory.mktemp("full"))
    made.init(config)
    made.on_stack("config set", "docker:host", small.address)
    made.up()
    yield made
    made.on_stack("destroy", "--yes")
    remove_leftovers(small.client, made.prefix)


def fill(server: Container, disk: Path) -> None:
    """Have a user's server fill the disk."""
    _, said = server.exec_run(["sh", "-c", FILL])
    assert isinstance(said, bytes)
    assert b"No space left on device" in said
    assert shutil.disk_usage(disk).free < 1 << 20


def tracebacks(hub: Container) -> int:
    return hub.logs().count(b"Traceback")


def test_logins_go_on_and_users_can_clean_up(small: SecondEngine, stack: Stack) -> None:
    disk = small.folder / "data"
    hub = small.client.containers.get(f"{stack.prefix}-hub")
    with entered(small.apart.name):
        entrance = Entrance.of(stack)
        bob, alice = entrance.logged_in("bob"), entrance.logged_in("alice")
        for user in (alice, bob):
            user.start_server()
        alice.run("pass")
        alice.stop_server()
        server = small.client.containers.get(f"{stack.prefix}-user-bob")
        before = tracebacks(hub)
        fill(server, disk)
        everybody_logs_in(entrance)
        # Root's part is left to the engine: servers start, and have nothing on the disk to write.
        alice = entrance.logged_in("alice")
        alice.start_server()
        assert alice.run("print(6 * 7)") == "42\n"
        refused = alice.request(
            "PUT",
            urljoin(alice.home, "api/contents/a.txt"),
            json={"type": "file", "format": "text", "content": "x" * 100_000},
        )
        assert refused.status_code == requests.codes.server_error
        assert "error while saving file" in refused.text
        alice.stop_server()

        device = subprocess.run(
            ["findmnt", "--noheadings", "--output=SOURCE", disk],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        subprocess.run(["tune2fs", "-r", "0", device], check=True)
        fill(server, disk)
        everybody_logs_in(entrance)
        starts_are_refused_with_the_reason(entrance.logged_in("grace"))
        assert tracebacks(hub) == before
        # Who has filled it can clean up.
        bob = entrance.logged_in("bob")
        bob.open_lab()
        bob.request("DELETE", urljoin(bob.home, "api/contents/fill")).raise_for_status()
        grace = entrance.logged_in("grace")
        grace.start_server()
        for user in (grace, bob):
            user.stop_server()
    assert tracebacks(hub) == before


def everybody_logs_in(entrance: Entrance) -> None:
    """Many logins, each of which the hub writes into its database."""
    for number in range(LOGINS):
        user = entrance.logged_in(("alice", "carol", "grace")[number % 3])
        user.request("GET", "hub/home").raise_for_status()


def starts_are_refused_with_the_reason(grace: User) -> None:
    answer = grace.request("POST", "hub/api/users/grace/server")
    assert answer.status_code == requests.codes.unavailable
    assert "the engine's disk is full. Please tell your administrator" in answer.json()["message"]
