"""A stack with users in it goes to another engine, by the commands of docs/operations.md."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.docs.commands import runs
from tests.engine.conftest import CONFIG, remove_leftovers, stack_in_checkout
from tests.engine.operator import typed
from tests.engine.people import logged_in, port_of
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.engine.stack import PulumiError, Stack
from tests.hubclient import User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

HOST = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
SOCKET = Path(HOST.removeprefix("unix://"))

SAME, RETAIN, BACK_UP, DOWN, UP, RESTORE, LEFT = runs(
    "docs/operations.md", "Move to another machine"
)


@pytest.fixture
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack on the machine's own engine, which the default of docker:host means."""
    config = CONFIG | {
        "platform": "linux/amd64",
        "baseImage": CONFIG["buildImage"],
        "port": free_port(),
        "protect": True,
        "engineSocket": str(SOCKET),
    }
    yield from stack_in_checkout(engine, "e2e-move", tmp_path_factory.mktemp("state"), config)


@pytest.fixture
def new(engine: docker.DockerClient, short_folder: Path) -> Iterator[SecondEngine]:
    """Another engine, with the base image."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    with second_engine(short_folder) as found:
        found.take(engine.images.get(CONFIG["buildImage"]))
        yield found


def refused(stack: Stack, host: str) -> str:
    """Return what a preview says that refuses this address; it stays set."""
    stack.on_stack("config set", "docker:host", host)
    before = stack.state_file.read_text()
    with pytest.raises(PulumiError) as refusal:
        stack.on_stack("preview")
    with pytest.raises(PulumiError):
        stack.up()
    assert stack.state_file.read_text().count("docker:index/") == before.count("docker:index/")
    return str(refusal.value)


def test_a_stack_moves_with_its_users(
    stack: Stack, engine: docker.DockerClient, new: SecondEngine
) -> None:
    port = port_of(stack)
    alice, bob = logged_in(stack, "alice"), logged_in(stack, "bob")
    alice.start_server()
    alice.save("kept.txt", "of alice")
    bob.start_server()
    bob.save("kept.txt", "of bob")
    bob.stop_server()

    # The same engine by another name of its socket, and the other engine.
    link = SOCKET.with_name("zhub-test-link.sock")
    link.unlink(missing_ok=True)
    link.hardlink_to(SOCKET)
    try:
        other_name = f"unix://{link}"
        said = refused(stack, other_name)
        assert HOST in said
        assert other_name in said
        assert f"pulumi config set sameEngineAs {HOST}" in said
        typed(stack, SAME.replace("ssh://admin@z.example.com", other_name))
        assert alice.read("kept.txt") == "of alice"
        said = refused(stack, new.address)
        assert other_name in said
        assert new.address in said
        assert "Move to another machine" in said

        typed(stack, f"pulumi config set docker:host {other_name}", RETAIN, BACK_UP, DOWN)
        ours: dict[str, Any] = {"label": f"zhub.stack={stack.prefix}"}
        assert not engine.containers.list(all=True, filters=ours)
        left = {volume.name for volume in engine.volumes.list(filters=ours)}
        kept = ("state", "audit", "home-alice", "home-bob")
        assert left == {f"{stack.prefix}-{name}" for name in kept}

        stack.on_stack("config set", "zhub:engineSocket", str(new.socket))
        typed(stack, UP.replace("ssh://admin@new.example.com", new.address))
        not_over_a_home_of_earlier(stack, new)
        typed(stack, RESTORE)
        check_all_is_there(stack, new, port, [alice, bob])

        typed(stack, LEFT)
        assert not engine.volumes.list(filters=ours)
        assert not engine.images.list(filters={"reference": f"*:{stack.prefix}"})
    finally:
        link.unlink()
    stack.on_stack("config set", "zhub:protect", "false")
    stack.up()
    stack.on_stack("destroy", "--yes")
    remove_leftovers(new.client, stack.prefix)


def not_over_a_home_of_earlier(stack: Stack, new: SecondEngine) -> None:
    """A home that the new engine has from an earlier time is not mixed with the other one."""
    labels = {"zhub.stack": stack.prefix, "zhub.role": "home", "zhub.user": "alice"}
    volume = new.client.volumes.create(f"{stack.prefix}-home-alice", labels=labels)
    [backup] = (stack.project / "backups").iterdir()
    done = stack.make("restore", FROM=str(backup))
    assert done.returncode == 1
    assert f"has users in it (homes: {volume.name}): nothing was changed" in done.stdout
    volume.remove()


def check_all_is_there(stack: Stack, new: SecondEngine, port: int, users: list[User]) -> None:
    """Look for logins, files and database on the new engine."""
    hub = new.client.containers.get(f"{stack.prefix}-hub")
    pem = ""
    with new.machine():
        for _ in range(120):
            hub.reload()
            if hub.attrs["State"]["Health"]["Status"] == "healthy":
                break
            subprocess.run(["sleep", "1"], check=True)
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
    for user in users:
        # It was made anew, and the browser has asked its user about it.
        user.authority.write_text(pem)
        with new.machine():
            # Without logging in again.
            user.start_server()
            assert user.read("kept.txt") == f"of {user.name}"
            assert user.run("print(6 * 7)") == "42\n"
