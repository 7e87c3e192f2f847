"""Connections to an engine by unix socket, tcp, TLS, ssh; and the errors without one."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from plugins.docker import engine as engines
from plugins.values import UNKNOWN, Secret
from tests import ssh as sshd
from tests.plugins.docker_tools import (
    CONTAINER,
    IMAGE,
    VOLUME,
    certificates,
    debian_tool,
    server,
)
from tests.plugins.plugin_driver import (
    CheckError,
    Plugin,
    PluginError,
    changed,
    running,
    struct,
    urn,
    wait_until,
)
from tests.ports import free_port
from tests.ssh import Ssh

pytestmark = pytest.mark.slow

SOCKET = "/var/run/docker.sock"
#: Unsets this machine's own settings.
CLEAN = {"DOCKER_HOST": "", "DOCKER_CERT_PATH": "", "DOCKER_SSH_OPTS": ""}


def whole_life(plugin: Plugin, name: str, tiny: str) -> None:
    """Create, read and remove a container."""
    made = plugin.create(CONTAINER, {"name": name, "image": tiny})
    assert made.outputs["mustRun"] is True
    assert plugin.read(made) == made
    plugin.delete(made)
    assert plugin.read(made) is None


@contextmanager
def forwarded(listen: str, options: str = "") -> Iterator[int]:
    """Run a server on loopback that forwards to the engine; yields its port."""
    port = free_port()
    socat = debian_tool("socat", "usr/bin/socat")
    address = ",".join(
        filter(None, [f"{listen}:{port}", "bind=127.0.0.1", "reuseaddr", "fork", options])
    )
    with server([socat, address, f"UNIX-CONNECT:{SOCKET}"], port):
        yield port


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with running("plugins.docker", None, CLEAN) as plugin:
        yield plugin


@pytest.mark.engine
class TestUnixAndTcp:
    def test_the_default_socket(self, plugin: Plugin, name: str, tiny: str) -> None:
        plugin.configure()
        whole_life(plugin, name, tiny)

    def test_by_configuration(self, plugin: Plugin, name: str, tiny: str) -> None:
        plugin.configure(host=f"unix://{SOCKET}")
        whole_life(plugin, name, tiny)

    def test_by_tcp(self, plugin: Plugin, name: str, tiny: str) -> None:
        with forwarded("TCP-LISTEN") as port:
            plugin.configure(host=f"tcp://127.0.0.1:{port}")
            whole_life(plugin, name, tiny)

    def test_by_environment_which_configuration_overrides(self, name: str, tiny: str) -> None:
        with forwarded("TCP-LISTEN") as port:
            environment = {**CLEAN, "DOCKER_HOST": f"tcp://127.0.0.1:{port}"}
            with running("plugins.docker", {}, environment) as plugin:
                whole_life(plugin, name, tiny)
        with running("plugins.docker", {"host": f"unix://{SOCKET}"}, environment) as plugin:
            whole_life(plugin, name, tiny)

    def test_docker_desktops_socket_where_the_usual_one_is_not(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / ".docker" / "run"
        folder.mkdir(parents=True)
        (folder / "docker.sock").symlink_to(SOCKET)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.setattr(engines, "DEFAULT_HOST", f"unix://{tmp_path}/nothing.sock")
        assert engines.from_config({}).host == f"unix://{folder}/docker.sock"
        assert engine

    def test_the_engine_gone_in_the_middle(self, plugin: Plugin, name: str, tiny: str) -> None:
        never = {"tests": ["CMD", "false"], "interval": "1s"}
        inputs = {"name": name, "image": tiny, "healthcheck": never, "wait": True}
        with forwarded("TCP-LISTEN") as port:
            plugin.configure(host=f"tcp://127.0.0.1:{port}")
            failures: list[PluginError] = []

            def create() -> None:
                try:
                    plugin.create(CONTAINER, inputs)
                except PluginError as error:
                    failures.append(error)

            worker = threading.Thread(target=create)
            worker.start()
            wait_until(lambda: any("waiting for" in message for message in plugin.messages()))
        worker.join(20)
        assert str(failures[0]) == (
            f"cannot bring up container {name}: the connection to the engine at "
            f"tcp://127.0.0.1:{port} was lost (Connection refused)"
        )
        assert failures[0].init.id


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificates(folder)
    return folder


@pytest.fixture(scope="module")
def port(engine: Any, keys: Path) -> Iterator[int]:
    assert engine
    options = f"cert={keys}/server.pem,key={keys}/server-key.pem,cafile={keys}/ca.pem,verify=1"
    with forwarded("OPENSSL-LISTEN", options) as port:
        yield port


@pytest.mark.engine
class TestAnotherHost:
    """As in the official plugin: it cannot tell another machine from another address of one."""

    def test_updates_the_provider_and_replaces_nothing(
        self, plugin: Plugin, name: str, tiny: str
    ) -> None:
        provider = "pulumi:providers:docker"
        with forwarded("TCP-LISTEN") as port:
            host = f"tcp://127.0.0.1:{port}"
            before, after = struct({"host": f"unix://{SOCKET}"}), struct({"host": host})
            request = provider_pb2.DiffRequest(
                urn=urn(provider, "engine"), olds=before, old_inputs=before, news=after
            )
            answer = plugin.call("DiffConfig", request)
            assert changed(answer) == {"host": "UPDATE"}
            assert not answer.replaces
            # At another address of the same engine, nothing changes.
            plugin.configure(host=f"unix://{SOCKET}")
            inputs = {"name": name, "image": tiny}
            made = plugin.create(CONTAINER, inputs)
            with running("plugins.docker", {"host": host}, CLEAN) as other:
                assert other.read(made) == made
                assert changed(other.diff(made, inputs)) == {}


@pytest.mark.engine
class TestTls:
    def test_by_files(self, plugin: Plugin, keys: Path, port: int, name: str, tiny: str) -> None:
        plugin.configure(host=f"tcp://127.0.0.1:{port}", certPath=str(keys))
        whole_life(plugin, name, tiny)

    def test_by_material(self, plugin: Plugin, keys: Path, port: int, name: str, tiny: str) -> None:
        plugin.configure(
            host=f"tcp://localhost:{port}",
            caMaterial=(keys / "ca.pem").read_text(),
            certMaterial=(keys / "cert.pem").read_text(),
            keyMaterial=Secret((keys / "key.pem").read_text()),
        )
        whole_life(plugin, name, tiny)

    def test_by_environment(self, keys: Path, port: int, name: str, tiny: str) -> None:
        environment = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_CERT_PATH": str(keys)}
        with running("plugins.docker", {}, {**CLEAN, **environment}) as plugin:
            whole_life(plugin, name, tiny)

    def test_another_ca_is_not_trusted(self, plugin: Plugin, port: int, tmp_path: Path) -> None:
        certificates(tmp_path)
        with pytest.raises(PluginError) as failure:
            plugin.configure(host=f"tcp://127.0.0.1:{port}", certPath=str(tmp_path))
        assert f"cannot reach the engine at tcp://127.0.0.1:{port}: " in str(failure.value)
        assert "certificate verify failed" in str(failure.value)

    def test_missing_files(self, plugin: Plugin, port: int, tmp_path: Path) -> None:
        with pytest.raises(PluginError) as failure:
            plugin.configure(host=f"tcp://127.0.0.1:{port}", certPath=str(tmp_path))
        assert f"cannot use the engine's TLS files {tmp_path}/ca.pem" in str(failure.value)


@pytest.fixture(scope="module")
def ssh(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    assert engine
    with sshd.running(tmp_path_factory.mktemp("ssh")) as found:
        yield found


@pytest.mark.engine
class TestSsh:
    def test_a_whole_life(self, plugin: Plugin, ssh: Ssh, name: str, tiny: str) -> None:
        plugin.configure(host=ssh.host, sshOpts=ssh.options)
        whole_life(plugin, name, tiny)

    def test_a_build(self, plugin: Plugin, ssh: Ssh, engine: Any, name: str, context: Path) -> None:
        plugin.configure(host=ssh.host, sshOpts=ssh.options)
        inputs = {"imageName": f"{name}:1", "skipPush": True, "build": {"context": str(context)}}
        made = plugin.create(IMAGE, inputs)
        assert made.outputs["repoDigest"] == engine.inspect_image(f"{name}:1")["Id"]

    def test_another_socket_there(self, plugin: Plugin, ssh: Ssh, tmp_path: Path) -> None:
        plugin.configure(host=f"{ssh.host}{tmp_path}/none.sock", sshOpts=ssh.options)
        with pytest.raises(PluginError, match="cannot reach the engine at ssh://"):
            plugin.create(VOLUME, {"name": "pdk-never"})

    def test_a_wrong_key(self, plugin: Plugin, ssh: Ssh, tmp_path: Path) -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True
        )
        options = ["-i", str(tmp_path / "other"), *ssh.options[2:]]
        plugin.configure(host=ssh.host, sshOpts=options)
        with pytest.raises(PluginError) as failure:
            plugin.create(VOLUME, {"name": "pdk-never"})
        assert str(failure.value).startswith(f"cannot reach the engine at {ssh.host}: ")
        assert "Permission denied (publickey)" in str(failure.value)

    def test_no_process_of_ssh_is_left(self, ssh: Ssh, name: str, tiny: str) -> None:
        with running("plugins.docker", None, CLEAN) as plugin:
            plugin.configure(host=ssh.host, sshOpts=ssh.options)
            whole_life(plugin, name, tiny)
        wait_until(lambda: str(ssh.folder / "client") not in command_lines())


def command_lines() -> str:
    """Return the command lines of all ssh clients of this machine."""
    found = subprocess.run(
        ["pgrep", "-a", "-x", "ssh"], capture_output=True, text=True, check=False
    )
    return found.stdout


class TestPreview:
    """A preview against an `ssh://` engine needs no engine."""

    @pytest.fixture
    def far(self, tmp_path: Path) -> Iterator[Plugin]:
        # A client that records its calls.
        (tmp_path / "ssh").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexit 255\n")
        (tmp_path / "ssh").chmod(0o755)
        environment = {**CLEAN, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        with running("plugins.docker", {"host": "ssh://z.example.invalid"}, environment) as plugin:
            yield plugin
        assert not (tmp_path / "asked").exists()

    def test_of_everything(self, far: Plugin, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text("FROM scratch\n")
        inputs = {"imageName": "pdk-x:1", "skipPush": True, "build": {"context": str(tmp_path)}}
        assert far.create(IMAGE, inputs, preview=True).outputs["repoDigest"] is UNKNOWN
        made = far.create(CONTAINER, {"name": "pdk-x", "image": UNKNOWN}, preview=True)
        assert made.outputs["name"] == "pdk-x"
        assert far.create(VOLUME, {"name": "pdk-x"}, preview=True).outputs["name"] == "pdk-x"


class TestNoEngine:
    @pytest.mark.parametrize(
        ("host", "reason"),
        [
            ("unix:///nowhere.sock", "No such file or directory"),
            ("tcp://127.0.0.1:9", "Connection refused"),
        ],
    )
    def test_fails_at_once(self, plugin: Plugin, host: str, reason: str) -> None:
        with pytest.raises(PluginError) as failure:
            plugin.configure(host=host)
        assert str(failure.value) == f"cannot reach the engine at {host}: {reason}"

    def test_another_server_at_the_address_is_reported(self, plugin: Plugin) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()

            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

            threading.Thread(target=answer, daemon=True).start()
            host = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            with pytest.raises(PluginError, match=f"cannot reach the engine at {host}: "):
                plugin.configure(host=host)


class TestSettings:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (
                {"host": "z.example.org"},
                "docker:host is 'z.example.org': it must start with unix://",
            ),
            (
                {"caMaterial": "x"},
                "docker:caMaterial, docker:certMaterial and docker:keyMaterial go",
            ),
            (
                {"caMaterial": "x", "certMaterial": "x", "keyMaterial": "x", "certPath": "x"},
                "docker:certPath (or DOCKER_CERT_PATH) and docker:caMaterial",
            ),
        ],
        ids=["no scheme", "material in part", "both"],
    )
    def test_contradicting_settings_are_refused(
        self, plugin: Plugin, config: dict[str, str], message: str
    ) -> None:
        with pytest.raises(PluginError) as failure:
            plugin.configure(**config)
        assert message in str(failure.value)

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"context": "remote"}, "docker:context is not supported by this plugin"),
            ({"hosts": "x"}, "docker:hosts is not a property"),
        ],
        ids=["context", "typing error"],
    )
    def test_what_is_refused(self, plugin: Plugin, config: dict[str, str], message: str) -> None:
        with pytest.raises(CheckError) as refusal:
            plugin.configure(**config)
        assert message in str(refusal.value)
