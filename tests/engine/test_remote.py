"""What `make` does with a stack whose engine is elsewhere: at `ssh://`, or at `tcp://` with TLS."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
import pytest
from zhub.guard.policy import escaped

from tests import ssh as sshd
from tests.built import healthy, wait_until
from tests.engine.conftest import CONFIG, native, remove_leftovers
from tests.engine.people import Entrance, logged_in, served_certificate
from tests.engine.second_engine import SecondEngine, able, apart, running
from tests.engine.stack import Stack, equipped
from tests.hubclient import User
from tests.pki import Identity
from tests.ports import free_port
from tests.ssh import Ssh

pytestmark = [pytest.mark.engine, pytest.mark.long]


@dataclass(frozen=True)
class Remote:
    """A stack on an engine that only `docker:host` leads to."""

    stack: Stack
    host: str
    """The engine's address."""
    engine: docker.DockerClient
    """The engine itself, by its socket."""
    config: dict[str, Any]
    ssh: Ssh | None = None
    """The SSH server in front of it; None where it listens itself, with TLS."""

    def make(self, command: str, **variables: str) -> str:
        """Run a command of `make`; return what it prints."""
        calls = self.ssh.calls if self.ssh else 0
        done = self.stack.make(command, **variables)
        assert done.returncode == 0, done.stdout
        assert not self.ssh or self.ssh.calls > calls, done.stdout
        return done.stdout


def up(remote: Remote) -> Iterator[Remote]:
    """Bring the stack up, and take it down."""
    stack = remote.stack
    remove_leftovers(remote.engine, stack.prefix)
    stack.init({"port": free_port(), "notebookPackages": [], **remote.config})
    stack.on_stack("config set", "docker:host", remote.host)
    if not remote.ssh:
        stack.on_stack("config set", "docker:certPath", "engine-tls")
    try:
        stack.up()
        yield remote
        stack.on_stack("destroy", "--yes")
    finally:
        remove_leftovers(remote.engine, stack.prefix)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return equipped(tmp_path_factory.mktemp("remote") / "project")


def environment(folder: Path) -> dict[str, str]:
    """The operator's; what does not follow docker:host fails."""
    return {"DOCKER_HOST": f"unix://{folder}/no.sock", "ZHUB_YES": "1"}


def by_ssh(engine: docker.DockerClient, project: Path) -> Iterator[Remote]:
    folder = project.parent
    (folder / "sshd").mkdir()
    with sshd.running(folder / "sshd") as ssh:
        path = {"PATH": f"{ssh.client(folder / 'bin')}:{os.environ['PATH']}"}
        stack = Stack("e2e-remote", project, environment(folder) | path, project)
        yield from up(Remote(stack, ssh.host, engine, native(engine), ssh))


def by_tls(engine: docker.DockerClient, project: Path) -> Iterator[Remote]:
    """An engine of its own, which also listens for whoever has a certificate of its authority."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    with TemporaryDirectory(prefix="zhub-") as short, apart() as network:
        folder, keys = Path(short), project / "engine-tls"
        keys.mkdir()
        authority = Identity.create("Authority of the engine", authority=True)
        authority.write(keys, "authority")
        for name, of in (("server", network.inner), ("client", "ops")):
            Identity.create(of, issuer=authority).write(keys, name)
        for name, file in (("ca", "authority.crt"), ("cert", "client.crt"), ("key", "client.key")):
            (keys / f"{name}.pem").symlink_to(file)
        tls = ("--tlsverify", f"--tlscacert={keys}/ca.pem", f"--tlscert={keys}/server.crt")
        host = f"tcp://{network.inner}:2376"
        options = (*tls, f"--tlskey={keys}/server.key", f"--host={host}")
        with running(SecondEngine(network, folder, options)) as own, own.machine():
            own.take(engine.images.get(CONFIG["buildImage"]))
            stack = Stack("e2e-tls", project, environment(folder), project)
            config = native(engine) | {"engineSocket": own.listens}
            yield from up(Remote(stack, host, own.client, config))


@pytest.fixture(scope="module", params=[by_ssh, by_tls])
def remote(
    engine: docker.DockerClient, project: Path, request: pytest.FixtureRequest
) -> Iterator[Remote]:
    yield from request.param(engine, project)


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
    [folder] = (remote.stack.project / "backups").glob(f"{remote.stack.name}-2*")
    assert str(folder) in said
    return folder


def test_doctor(remote: Remote) -> None:
    said = remote.stack.make("doctor").stdout
    assert f"     ok  the stack's engine at {remote.host}: answers, Docker " in said
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


def test_what_is_said_and_planned(remote: Remote, alice: User) -> None:
    assert alice
    remote.make("users", DO="message", USER="alice", TEXT="Call us.", UNTIL="2099-12-01 18:00")
    remote.make("users", DO="renew", AT="2099-12-01 18:00", NOTICE="A new Python.")
    said = remote.make("users")
    assert "Message to alice until 2099-12-01 18:00: Call us." in said
    assert "servers of an old image are restarted at 2099-12-01 18:00" in said
    remote.make("users", DO="message", USER="alice")
    remote.make("users", DO="open")
    assert "2099" not in remote.make("users")


def test_who_runs_an_old_image_is_restarted(remote: Remote, alice: User) -> None:
    if not alice.server():
        alice.start_server()
    remote.stack.configure({"notebookPackages": ["python3-toml"]})
    remote.stack.up()
    assert re.search(r"^alice +runs +old ", remote.make("users"), re.MULTILINE)
    remote.make("users", DO="renew", NOTICE="A newer image.")
    wait_until(
        lambda: bool(re.search(r"^alice +runs +new ", remote.make("users"), re.MULTILINE)),
        seconds=120,
    )
    wait_until(lambda: "Planned" not in remote.make("users"), seconds=60)
    alice.open_lab()
    assert alice.read("notes.txt") == "of alice"
    assert alice.run("import toml; print('there')") == "there\n"
    alice.stop_server()


def test_whose_names_they_are(remote: Remote, alice: User) -> None:
    assert alice
    assert "The directory knows the owners of all homes." in remote.make("users", DO="orphans")
    assert "who logs in next as alice" in remote.make("users", DO="accept", USER="alice")


def test_an_export_while_the_guard_is_away(remote: Remote, backup: Path, tmp_path: Path) -> None:
    assert backup
    guard = remote.engine.containers.get(f"{remote.stack.prefix}-guard")
    guard.stop()
    refused = remote.stack.make("users", DO="export", USER="alice", TO=str(tmp_path / "left"))
    assert refused.returncode == 1
    assert not (tmp_path / "left").exists()
    said = rf"^{guard.name} is exited\. .*: (.* start {guard.name})$"
    [start] = re.findall(said, refused.stdout, re.MULTILINE)
    remote.stack.shell(start, remote.stack.project)
    wait_until(lambda: healthy(guard), seconds=120)


def test_export(remote: Remote, backup: Path, tmp_path: Path) -> None:
    assert backup
    remote.make("users", DO="export", USER="alice", TO=str(tmp_path / "left"))
    assert json.loads((tmp_path / "left" / "hub.json").read_text())
    listed = ["tar", "-tzf", str(tmp_path / "left" / "home.tar.gz")]
    assert "notes.txt" in subprocess.run(listed, check=True, capture_output=True, text=True).stdout


def test_homes_of_releases_before(remote: Remote) -> None:
    stack, engine = remote.stack, remote.engine
    odd = "$d.o#ra@corp"
    name = f"{stack.prefix}-home-{escaped(odd)}"
    labels = {"zhub.stack": stack.prefix, "zhub.role": "home", "zhub.user": odd}
    engine.volumes.create(name, labels=labels)
    assert f"home 1 of 1: {odd}" in remote.make("homes")
    assert engine.volumes.get(name).attrs["Options"]
    remote.make("users", DO="forget", USER=odd)
    assert name not in [volume.name for volume in engine.volumes.list()]


def test_one_home_comes_back(remote: Remote, backup: Path) -> None:
    said = remote.make("restore", FROM=str(backup), USER="alice")
    assert "alice finds the files of " in said


def test_the_certificate_is_renewed(remote: Remote) -> None:
    entrance = Entrance.of(remote.stack)
    before = served_certificate(entrance.port)
    # What docs/operations.md prints, as far as ssh would not find its key by the shell of a page.
    remote.stack.up("--target-replace", "**SelfSignedCert::certificate", "--target-dependents")
    wait_until(lambda: served_certificate(entrance.port) != before, seconds=60)
    shown = hashlib.sha256(served_certificate(entrance.port)).digest().hex(":").upper()
    assert shown == remote.stack.outputs()["certificateFingerprint"]
    assert logged_in(remote.stack, "alice").server() == {}


def test_a_whole_stack_comes_back(remote: Remote, backup: Path) -> None:
    new = replace(remote, stack=replace(remote.stack, name=f"{remote.stack.name}-new"))
    for empty in up(new):
        assert f"are in stack {empty.stack.name}" in empty.make("restore", FROM=str(backup))
        user = logged_in(empty.stack, "alice")
        user.start_server()
        assert user.read("notes.txt") == "of alice"
        user.stop_server()
