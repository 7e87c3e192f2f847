"""A client key in the docker plugin's configuration works, and never stays in a file."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from plugins.docker.material import TlsMaterial, Unreachable
from plugins.values import Secret
from tests.plugins.docker_tools import certificates
from tests.plugins.plugin_driver import Plugin, PluginError, running, wait_until

pytestmark = pytest.mark.slow

#: The client certificate's subject, in the form of `ssl`.
CLIENT = ((("commonName", "client"),),)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificates(folder)
    return folder


class Listener(ThreadingHTTPServer):
    """Answers a version request like an engine, only to a client with a known certificate."""

    def __init__(self, keys: Path) -> None:
        super().__init__(("127.0.0.1", 0), Version)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=keys / "ca.pem")
        self.context.load_cert_chain(keys / "server.pem", keys / "server-key.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.held = threading.Event()
        self.going = threading.Event()
        self.going.set()
        self.clients: list[Any] = []

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake in the connection's own thread, once the test allows it."""
        self.held.set()
        self.going.wait(30)
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                self.clients.append(secured.getpeercert())
                super().finish_request(secured, client_address)
        except OSError:
            return  # the client went, as some tests want it


class Version(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": "1.41"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def listener(keys: Path) -> Iterator[Listener]:
    with Listener(keys) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.going.set()
        server.shutdown()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder for the plugin's temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def config(keys: Path, listener: Listener, **more: str) -> dict[str, Any]:
    material = {
        "caMaterial": (keys / "ca.pem").read_text(),
        "certMaterial": (keys / "cert.pem").read_text(),
        "keyMaterial": (keys / "key.pem").read_text(),
        **more,
    }
    key = Secret(material.pop("keyMaterial"))
    return {"host": f"tcp://127.0.0.1:{listener.server_port}", "keyMaterial": key, **material}


def environment(temporary: Path) -> Mapping[str, str]:
    cleared = dict.fromkeys(("DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_SSH_OPTS"), "")
    return {**cleared, "TMPDIR": str(temporary)}


def end(plugin: Plugin, number: int) -> None:
    plugin.process.send_signal(number)
    plugin.process.wait(30)


def files(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_plugin_that_shook_hands_leaves_no_file(
    keys: Path, listener: Listener, temporary: Path, number: int
) -> None:
    with running("plugins.docker", None, environment(temporary)) as plugin:
        plugin.configure(**config(keys, listener))
        assert listener.clients[0]["subject"] == CLIENT
        assert files(temporary) == []
        end(plugin, number)
        assert files(temporary) == []


def test_a_plugin_that_is_cancelled_leaves_no_file(
    keys: Path, listener: Listener, temporary: Path
) -> None:
    with running("plugins.docker", config(keys, listener), environment(temporary)) as plugin:
        plugin.cancel()
    assert files(temporary) == []


def test_a_plugin_killed_while_it_connects_leaves_no_file(
    keys: Path, listener: Listener, temporary: Path
) -> None:
    listener.going.clear()
    with running("plugins.docker", None, environment(temporary)) as plugin:

        def configure() -> None:
            with pytest.raises(PluginError):
                plugin.configure(**config(keys, listener))

        calling = threading.Thread(target=configure)
        calling.start()
        wait_until(listener.held.is_set)
        assert files(temporary) == []
        end(plugin, signal.SIGKILL)
        calling.join(30)
    assert files(temporary) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"keyMaterial": "no key"}, "caMaterial, certMaterial, keyMaterial: "),
        ({"certMaterial": "no certificate"}, "caMaterial, certMaterial, keyMaterial: "),
        ({"caMaterial": "no certificate"}, "caMaterial, certMaterial, keyMaterial: "),
    ],
    ids=["key", "certificate", "CA"],
)
def test_invalid_material_is_refused_and_leaves_no_file(
    keys: Path, listener: Listener, temporary: Path, more: dict[str, str], message: str
) -> None:
    with running("plugins.docker", None, environment(temporary)) as plugin:
        with pytest.raises(PluginError) as failure:
            plugin.configure(**config(keys, listener, **more))
        assert f"cannot use the engine's {message}" in str(failure.value)
        assert "PRIVATE KEY" not in str(failure.value)
        assert files(temporary) == []


def test_another_ca_is_not_trusted_and_no_file_is_left(
    keys: Path, listener: Listener, temporary: Path, tmp_path: Path
) -> None:
    certificates(tmp_path)
    other = (tmp_path / "ca.pem").read_text()
    with running("plugins.docker", None, environment(temporary)) as plugin:
        with pytest.raises(PluginError, match="certificate verify failed"):
            plugin.configure(**config(keys, listener, caMaterial=other))
        assert files(temporary) == []


def test_a_bundle_longer_than_a_pipe_is_read_whole(keys: Path) -> None:
    ca, cert, key = ((keys / f"{name}.pem").read_text() for name in ("ca", "cert", "key"))
    comments = "# a line of a bundle, such as the name of a CA\n" * 10000
    context = TlsMaterial(comments + ca, cert, key).context()
    assert len(context.get_ca_certs()) == 1


def test_a_bundle_that_is_not_read_to_its_end_stops_nothing(keys: Path) -> None:
    bad = "-----BEGIN PRIVATE KEY-----\n!\n" + "x" * 1000000
    ca, cert = ((keys / f"{name}.pem").read_text() for name in ("ca", "cert"))
    with pytest.raises(Unreachable, match="cannot use the engine's caMaterial"):
        TlsMaterial(ca, cert, bad).context()


def test_the_key_does_not_show_in_what_is_printed() -> None:
    assert "secret" not in repr(TlsMaterial("ca", "cert", "the secret"))
