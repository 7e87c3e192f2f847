"""The proxy's own image: its connections, a changed certificate, a hub that is away, its end."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from components.settings import machine, parsing
from tests.built import bridge_address, build, wait_until
from tests.pki import Identity
from toolchain import base

# An image of its own, and waits: beside all others.
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("proxy")]

TOKEN = "of-this-test"
IMAGE = "zhub-test-proxy:latest"


class Backend:
    """A hub, or a user's server: answers, and closes the connection right after that.

    It may do so at any time. It takes no notice of what a request says about connections.
    """

    def __init__(self, address: str) -> None:
        self._listener = socket.create_server((address, 0), backlog=128)
        self.url = f"http://{address}:{self._listener.getsockname()[1]}"
        self.bodies: list[int] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with ThreadPoolExecutor(32) as threads:
            while True:
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    return
                threads.submit(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as sent:
            method, path, _ = sent.readline().decode().split()
            headers = http.client.parse_headers(sent)
            if headers.get("Upgrade"):
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                    b"Upgrade: websocket\r\n\r\n"
                )
                while data := connection.recv(100):
                    connection.sendall(data)
                return
            if method == "PUT":
                self.bodies.append(len(sent.read(int(headers["Content-Length"]))))
            time.sleep(float(path.partition("sleep=")[2] or 0))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        """Listen no more."""
        # Closing alone does not end the thread's wait.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Proxy:
    """A container of the image, published on a port of loopback."""

    def __init__(self, container: Container, folder: Path, authority: Path) -> None:
        self.container = container
        self.folder = folder
        self._context = ssl.create_default_context(cafile=str(authority))

    @property
    def port(self) -> int:
        """The published port; another one after each start."""
        self.container.reload()
        published: dict[str, Any] = dict(self.container.ports)
        return int(published["11119/tcp"][0]["HostPort"])

    def wait(self) -> None:
        """Wait until it works."""
        wait_until(lambda: self.container.exec_run(["proxy-health"]).exit_code == 0, seconds=30)

    def connect(self, timeout: float = 30) -> http.client.HTTPSConnection:
        """A connection that is kept."""
        return http.client.HTTPSConnection(
            "localhost", self.port, timeout=timeout, context=self._context
        )

    def get(self, path: str = "/", **headers: str) -> http.client.HTTPResponse:
        """Send a request on a connection of its own."""
        connection = self.connect()
        connection.request("GET", path, headers=headers)
        return connection.getresponse()

    def serial(self) -> int:
        """Number of the certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            found = connection.getpeercert()
        assert found
        return int(str(found["serialNumber"]), 16)

    def api(self, method: str, path: str = "", token: str = TOKEN, **data: Any) -> int:
        """Ask the proxy's API, from inside; return the status."""
        script = (
            "const [method, path, token, body] = process.argv.slice(1);"
            "const asked = { method, headers: { authorization: `token ${token}` } };"
            "if (method === 'POST') asked.body = body;"
            "fetch(`http://127.0.0.1:8001/api/routes${path}`, asked)"
            ".then((answer) => console.log(answer.status))"
        )
        done = self.container.exec_run(
            ["node", "-e", script, method, path, token, json.dumps(data)]
        )
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output
        return int(done.output)

    def log(self) -> str:
        """What it has logged."""
        return self.container.logs().decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Path]:
    made = Identity.create("Test authority", authority=True)
    folder = tmp_path_factory.mktemp("authority")
    made.write(folder, "ca")
    return made, folder / "ca.crt"


@pytest.fixture
def hub(engine: docker.DockerClient) -> Iterator[Backend]:
    made = Backend(bridge_address(engine.api))
    yield made
    made.close()


@pytest.fixture
def server(engine: docker.DockerClient) -> Iterator[Backend]:
    made = Backend(bridge_address(engine.api))
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    """Natively: what is tested here does not depend on the platform."""
    platform = f"linux/{engine.version()['Arch']}"
    args: dict[str, str | None] = {
        "BASE_IMAGE": base.BUILD,
        "BUILD_IMAGE": base.BUILD,
        "EXTRA_CA": parsing.ca_certificates(machine.ca_certificates()),
        "NPM_REGISTRY": machine.npm_registry(),
    }
    build("proxy", IMAGE, args, platform)
    return IMAGE


@pytest.fixture
def proxy(
    engine: docker.DockerClient,
    image: str,
    hub: Backend,
    authority: tuple[Identity, Path],
    tmp_path: Path,
) -> Iterator[Proxy]:
    """A proxy as the program declares it, before the hub has written the token."""
    Identity.create("localhost", issuer=authority[0]).write(tmp_path, "hub")
    options = {
        "port": 11119,
        "apiPort": 8001,
        "tokenFile": "/run/proxy/token",
        "routesFile": "/run/proxy/routes.json",
        "key": "/run/proxy/hub.key",
        "certificate": "/run/proxy/hub.crt",
        "hub": hub.url,
        "errors": f"{hub.url}/hub/error",
        "awaitRoutes": True,
        "heartbeat": True,
        "mostConnections": 100,
        "hostRouting": False,
        "hstsSeconds": 0,
        "trustedProxies": [],
    }
    container = engine.containers.run(
        image,
        [json.dumps(options)],
        name=f"zhub-test-proxy-{uuid.uuid4().hex[:8]}",
        detach=True,
        ports={"11119/tcp": ("127.0.0.1", 0)},
        volumes=[f"{tmp_path}:/run/proxy:ro"],
        tmpfs={"/tmp": ""},  # noqa: S108 - inside the container
        read_only=True,
        cap_drop=["ALL"],
    )
    made = Proxy(container, tmp_path, authority[1])
    try:
        made.wait()
        yield made
    finally:
        container.remove(force=True)


@pytest.fixture
def routed(proxy: Proxy, hub: Backend, server: Backend) -> Proxy:
    """With a token, and with the routes of the hub and of one user's server."""
    (proxy.folder / "token").write_text(TOKEN)
    assert proxy.api("POST", "/site", target=hub.url, hub=True) == HTTPStatus.CREATED
    assert proxy.api("POST", "/site/user/bob", target=server.url) == HTTPStatus.CREATED
    return proxy


def test_without_routes_everybody_is_told_to_wait(proxy: Proxy, hub: Backend) -> None:
    for accept, kind in (("text/html,*/*", "text/html"), ("application/json", "text/plain")):
        answer = proxy.get("/site/user/bob/api", Accept=accept)
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.headers["Retry-After"] == "3"
        assert answer.headers["Content-Type"].startswith(kind)
    (proxy.folder / "token").write_text(TOKEN)
    # A user's route alone does not mean that the others are there.
    assert proxy.api("POST", "/site/user/bob", target=hub.url) == HTTPStatus.CREATED
    assert proxy.get("/site/user/bob/api").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert proxy.api("GET", "/site") == HTTPStatus.NOT_FOUND
    assert proxy.api("POST", "/site", target=hub.url, hub=True) == HTTPStatus.CREATED
    assert proxy.get("/site/user/bob/api").status == HTTPStatus.OK
    assert proxy.api("GET", "/site") == HTTPStatus.OK


def test_it_begins_with_the_routes_that_the_hub_has_kept(
    proxy: Proxy, hub: Backend, server: Backend
) -> None:
    routes = {
        "/": {"target": hub.url},
        "/site": {"target": hub.url, "hub": True, "last_activity": "2030-01-01T00:00:00Z"},
        "/site/user/a b": {"target": server.url},
    }
    hub.close()
    (proxy.folder / "routes.json").write_text(json.dumps(routes))
    proxy.container.restart(timeout=10)
    proxy.wait()
    assert proxy.get("/site/user/a%20b/api").status == HTTPStatus.OK
    assert proxy.get("/site/hub/home").status == HTTPStatus.SERVICE_UNAVAILABLE
    # One that makes no sense is as good as none.
    (proxy.folder / "routes.json").write_text("{")
    proxy.container.restart(timeout=10)
    proxy.wait()
    assert proxy.get("/site/user/a%20b/api").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "the routes in /run/proxy/routes.json are of no use" in proxy.log()


def test_only_the_token_in_the_file_opens_the_api(proxy: Proxy) -> None:
    for token in (TOKEN, "", "undefined"):
        assert proxy.api("GET", token=token) == HTTPStatus.FORBIDDEN
    (proxy.folder / "token").write_text(TOKEN)
    assert proxy.api("GET") == HTTPStatus.OK
    (proxy.folder / "token").write_text("another")
    assert proxy.api("GET") == HTTPStatus.FORBIDDEN


def test_a_hub_that_is_away_is_said_to_be_and_servers_go_on(routed: Proxy, hub: Backend) -> None:
    assert routed.get("/site/hub/home").status == HTTPStatus.OK
    hub.close()
    answer = routed.get("/site/hub/home", Accept="text/html")
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    page = answer.read().decode()
    assert '<meta http-equiv="refresh" content="3">' in page
    assert "JupyterHub is restarting" in page
    form = routed.connect()
    form.request("POST", "/site/hub/login", body="x=1", headers={"Accept": "text/html"})
    page = form.getresponse().read().decode()
    assert "refresh" not in page, "a form must not be sent again by itself"
    assert "go back and try again" in page
    assert routed.get("/site/user/bob/").status == HTTPStatus.OK


def test_a_connection_that_is_kept_is_not_dropped(routed: Proxy) -> None:
    """Neither because it was idle, nor because the server behind has closed its own."""
    connection = routed.connect()
    own = None
    for number in range(300):
        connection.request("GET", f"/site/user/bob/{number}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (HTTPStatus.OK, b"ok"), number
        own = own or connection.sock
        assert connection.sock is own, "it has been closed"
        if number == 150:
            # Longer than Node keeps connections by default.
            time.sleep(6.5)


def test_another_certificate_is_served_and_no_connection_ends(
    routed: Proxy, authority: tuple[Identity, Path]
) -> None:
    first = routed.serial()
    kept = routed.connect()
    kept.request("GET", "/site/user/bob/")
    assert kept.getresponse().read() == b"ok"
    other = Identity.create("localhost", issuer=authority[0])
    other.write(routed.folder / "other", "hub")
    # Only one of the files, as when somebody is just copying them.
    (routed.folder / "hub.crt").write_bytes((routed.folder / "other" / "hub.crt").read_bytes())
    wait_until(lambda: "the certificate stays as it is" in routed.log(), seconds=10)
    assert "the key is not that of the certificate" in routed.log()
    assert routed.serial() == first
    (routed.folder / "hub.key").write_bytes((routed.folder / "other" / "hub.key").read_bytes())
    wait_until(lambda: routed.serial() == other.certificate.serial_number, seconds=10)
    kept.request("GET", "/site/user/bob/")
    assert kept.getresponse().read() == b"ok"
    # What is no certificate at all, or is gone, changes nothing.
    (routed.folder / "hub.crt").write_text("half a cert")
    wait_until(lambda: routed.log().count("the certificate stays as it is") == 2, seconds=10)
    (routed.folder / "hub.key").unlink()
    wait_until(lambda: routed.log().count("the certificate stays as it is") == 3, seconds=10)
    time.sleep(2.5)
    assert routed.log().count("the certificate stays as it is") == 3, "said once for each change"
    assert routed.serial() == other.certificate.serial_number


def test_at_its_end_it_lets_requests_finish(routed: Proxy) -> None:
    idle = routed.connect()
    idle.request("GET", "/site/user/bob/")
    assert idle.getresponse().read() == b"ok"
    socket_ = routed.connect()
    socket_.request(
        "GET", "/site/user/bob/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket"}
    )
    slow = routed.connect()
    slow.request("GET", "/site/user/bob/?sleep=4")
    time.sleep(1)
    begin = time.monotonic()
    threading.Thread(target=routed.container.stop, kwargs={"timeout": 30}, daemon=True).start()
    wait_until(lambda: "ending, after 1 requests under way" in routed.log(), seconds=3)
    other = routed.get("/site/user/bob/")
    assert (other.status, other.read()) == (HTTPStatus.OK, b"ok"), "nobody else waits for it"
    answer = slow.getresponse()
    assert (answer.status, answer.read()) == (HTTPStatus.OK, b"ok")
    assert answer.headers["Connection"] == "close"
    wait_until(lambda: _status(routed.container) == "exited", seconds=10)
    assert time.monotonic() - begin < 10, "it waits for requests, and not for websockets"
    assert routed.container.wait()["StatusCode"] == 0


def _status(container: Container) -> str:
    container.reload()
    return str(container.status)


@pytest.mark.long
def test_a_request_may_take_as_long_as_it_takes(routed: Proxy, server: Backend) -> None:
    """Longer than the five minutes and a bit after which Node ends one by default."""
    connection = routed.connect(timeout=60)
    connection.putrequest("PUT", "/site/user/bob/upload")
    connection.putheader("Content-Length", "36")
    connection.endheaders()
    for _ in range(36):
        connection.send(b"x")
        time.sleep(10)
    assert connection.getresponse().status == HTTPStatus.OK
    assert server.bodies[-1] == 36
