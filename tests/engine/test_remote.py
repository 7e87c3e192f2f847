"""What `make` does with a stack whose engine is at an `ssh://` address."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests import ssh as sshd
from tests.built import wait_until
from tests.engine.conftest import native, remove_leftovers
from tests.engine.people import logged_in
from tests.engine.stack import Stack, checkout
from tests.hubclient import User
from tests.ports import free_port
from tests.ssh import Ssh
from toolchain.places import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.long]


@dataclass(frozen=True)
class Remote:
    """A stack on an engine that only `docker:host` leads to."""

    stack: Stack
    ssh: Ssh

    def make(self, command: str, **variables: str) -> str:
        """Run a command of `make`; return what it prints."""
        calls = self.ssh.calls
        done = self.stack.make(command, **variables)
        assert done.returncode == 0, done.stdout
        assert self.ssh.calls > calls, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def remote(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Remote]:
    folder = tmp_path_factory.mktemp("remote")
    project = checkout(folder / "project")
    (project / ".toolchain").symlink_to(ROOT / ".toolchain")
    (folder / "sshd").mkdir()
    with sshd.running(folder / "sshd") as ssh:
        environment = {
            "PATH": f"{ssh.client(folder / 'bin')}:{os.environ['PATH']}",
            # What does not follow docker:host fails.
            "DOCKER_HOST": f"unix://{folder}/no.sock",
            "ZHUB_YES": "1",
        }
        stack = Stack("e2e-remote", project, environment, project)
        remove_leftovers(engine, stack.prefix)
        stack.init(native(engine) | {"port": free_port()})
        stack.on_stack("config set", "docker:host", ssh.host)
        try:
            stack.up()
            yield Remote(stack, ssh)
            stack.on_stack("destroy", "--yes")
        finally:
            remove_leftovers(engine, stack.prefix)


@pytest.fixture(scope="module")
def alice(remote: Remote) -> User:
    """Somebody at work, who has a file."""
    user = logged_in(remote.stack, "alice")
    user.start_server()
    user.run("open('notes.txt', 'w').write('of alice')")
    return user


@pytest.fixture(scope="module")
def backup(remote: Remote, alice: User) -> Path:
    assert alice
    said = remote.make("backup")
    [folder] = (remote.stack.project / "backups").iterdir()
    assert str(folder) in said
    return folder


def test_doctor(remote: Remote) -> None:
    said = remote.stack.make("doctor").stdout
    assert f"     ok  the stack's engine at {remote.ssh.host}: answers, Docker " in said
    assert "live-restore: " in said
    assert "certificate: expires at " in said
    assert "alice is uid=alice" in remote.make("directory", USER="alice")
    refused = remote.stack.make("directory", USER="mallory")
    assert "mallory cannot log in, or not all of the directory works" in refused.stdout


def test_users_and_sizes(remote: Remote, alice: User) -> None:
    assert alice
    assert re.search(r"^alice +runs +new ", remote.make("users"), re.MULTILINE)
    assert "home of alice: " in remote.make("sizes")
    remote.make("users", DO="drain")
    remote.make("users", DO="open")
    remote.make("users", DO="stop", USER="alice")
    wait_until(
        lambda: not re.search(r"^alice +runs", remote.make("users"), re.MULTILINE), seconds=60
    )


def test_export(remote: Remote, backup: Path, tmp_path: Path) -> None:
    assert backup
    remote.make("users", DO="export", USER="alice", TO=str(tmp_path / "left"))
    assert json.loads((tmp_path / "left" / "hub.json").read_text())
    listed = ["tar", "-tzf", str(tmp_path / "left" / "home.tar.gz")]
    assert "notes.txt" in subprocess.run(listed, check=True, capture_output=True, text=True).stdout


def test_homes_of_releases_before(remote: Remote, engine: docker.DockerClient) -> None:
    stack = remote.stack
    name = f"{stack.prefix}-home-dora"
    labels = {"zhub.stack": stack.prefix, "zhub.role": "home", "zhub.user": "dora"}
    engine.volumes.create(name, labels=labels)
    assert "home 1 of 1: dora" in remote.make("homes")
    assert engine.volumes.get(name).attrs["Options"]
    remote.make("users", DO="forget", USER="dora")
    assert name not in [volume.name for volume in engine.volumes.list()]


def test_one_home_comes_back(remote: Remote, backup: Path) -> None:
    said = remote.make("restore", FROM=str(backup), USER="alice")
    assert "alice finds the files of " in said
