"""The published port: TLS, headers and cookies; the image's proxy with a scripted hub."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.models.containers import Container

from tests.built import Site, wait_until

pytestmark = pytest.mark.engine

HSTS = 31536000

#: Answers with the request's headers, and with those that a hostile user's server would send.
BACKEND = """
import http.server, json

class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        for line in self.headers.get("X-Answer", "").split("|"):
            if line:
                self.send_header(*line.split(": ", 1))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

http.server.ThreadingHTTPServer(("", 8000), Backend).serve_forever()
"""


@dataclass(frozen=True)
class Proxy:
    """A proxy of the image, published on a port of loopback."""

    port: int
    authority: Path
    container: Container

    def get(self, path: str = "/", **headers: str) -> requests.Response:
        """Get a page; trusts only the authority."""
        url = f"https://localhost:{self.port}{path}"
        return requests.get(url, headers=headers, verify=str(self.authority), timeout=60)

    def route(self, path: str, target: str) -> None:
        """Add a route to a user's server, as the hub does."""
        code = (
            "import json, sys, urllib.request as r; r.urlopen(r.Request("
            "'http://127.0.0.1:8001/api/routes' + sys.argv[1], method='POST',"
            " headers={'Authorization': 'token of-this-test'},"
            " data=json.dumps({'target': sys.argv[2]}).encode()))"
        )
        command = ["/opt/jupyter/bin/python3", "-c", code, path, target]
        done = self.container.exec_run(command)
        assert done.exit_code == 0, done.output

    def cookies(self, path: str, *cookies: str, **headers: str) -> list[str]:
        """Return which of the cookies set at a path reach the browser."""
        answer = "|".join(f"Set-Cookie: {cookie}" for cookie in cookies)
        arrived: list[str] = self.get(path, **{"X-Answer": answer}, **headers).raw.headers.getlist(
            "Set-Cookie"
        )
        return [cookie.removesuffix("; Secure; SameSite=Lax") for cookie in arrived]

    def handshake(self, context: ssl.SSLContext) -> tuple[str, str]:
        """Return the protocol and cipher that client and proxy negotiate."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            cipher = connection.cipher()
            assert cipher
            return str(connection.version()), cipher[0]

    def client(self, version: ssl.TLSVersion, ciphers: str = "ALL") -> ssl.SSLContext:
        """Return a client of one protocol version that accepts even broken ciphers."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        return context


#: More than all tests but one need.
MOST = 60


def start(site: Site, hsts_seconds: int, *trusted: str, host_routing: bool = False) -> Proxy:
    options = {
        "port": 11119,
        "apiPort": 8001,
        "key": "/certs/hub.key",
        "certificate": "/certs/hub.crt",
        "hub": "http://backend:8000",
        "errors": "http://backend:8000/error",
        "hostRouting": host_routing,
        "hstsSeconds": hsts_seconds,
        "trustedProxies": trusted,
        "mostConnections": MOST,
    }
    container = site.start(
        f"proxy-{hsts_seconds}-{host_routing}".lower(),
        site.images.hub,
        site.certificate("hub", "localhost"),
        entrypoint=["node", "/opt/proxy/proxy.mjs", json.dumps(options)],
        environment={"CONFIGPROXY_AUTH_TOKEN": "of-this-test"},
        ports={11119: 0},
    )
    published: dict[str, Any] = dict(container.ports)
    proxy = Proxy(int(published["11119/tcp"][0]["HostPort"]), site.ca_file, container)

    def answers() -> bool:
        try:
            return proxy.get().ok
        except requests.ConnectionError:
            return False

    wait_until(answers, seconds=120)
    return proxy


@pytest.fixture(scope="module")
def backend(site: Site) -> None:
    site.start(
        "backend",
        site.images.hub,
        site.certificate("backend", "backend"),
        entrypoint=["/opt/jupyter/bin/python3", "-c", BACKEND],
    )


@pytest.fixture(scope="module")
def proxy(site: Site, backend: None) -> Proxy:
    return start(site, HSTS)


@pytest.mark.parametrize(
    ("version", "cipher"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_3, "TLS_AES_128_GCM_SHA256"),
    ],
)
def test_current_protocols_are_spoken(proxy: Proxy, version: ssl.TLSVersion, cipher: str) -> None:
    context = proxy.client(version)
    assert proxy.handshake(context) == (version.name.replace("_", "."), cipher)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_outdated_protocols_are_refused(proxy: Proxy, version: ssl.TLSVersion) -> None:
    # An alert comes from the proxy: so it was not the client that refused.
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        proxy.handshake(proxy.client(version))


def test_ciphers_without_forward_secrecy_or_authentication_are_refused(proxy: Proxy) -> None:
    ciphers = "ALL:COMPLEMENTOFALL:!ECDHE+AESGCM:!ECDHE+CHACHA20"
    with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        proxy.handshake(proxy.client(ssl.TLSVersion.TLSv1_2, ciphers))


def test_plain_http_is_told_to_use_https(proxy: Proxy) -> None:
    answer = requests.get(f"http://localhost:{proxy.port}/hub/login", timeout=60)
    assert answer.status_code == 400
    assert answer.text == "This port speaks HTTPS only: put https:// in front of the address.\n"


def test_every_answer_has_security_headers(proxy: Proxy) -> None:
    headers = proxy.get().headers
    assert headers["Strict-Transport-Security"] == f"max-age={HSTS}"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self'"


def test_a_server_may_be_stricter_with_itself_but_not_speak_for_others(proxy: Proxy) -> None:
    answer = (
        "Content-Security-Policy: frame-ancestors 'none'|Referrer-Policy: no-referrer"
        "|Strict-Transport-Security: max-age=0|X-Content-Type-Options: sniff"
    )
    headers = proxy.get(**{"X-Answer": answer}).headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Strict-Transport-Security"] == f"max-age={HSTS}"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_without_the_setting_no_server_can_set_hsts(site: Site, backend: None) -> None:
    proxy = start(site, 0)
    headers = proxy.get(**{"X-Answer": "Strict-Transport-Security: max-age=1"}).headers
    assert "Strict-Transport-Security" not in headers


def test_cookies_are_for_https_and_this_site_only(proxy: Proxy) -> None:
    cookies = ("a=secure; Path=/", "b=1; HttpOnly;secure; SameSite=Strict")
    answer = proxy.get(**{"X-Answer": "|".join(f"Set-Cookie: {cookie}" for cookie in cookies)})
    assert answer.raw.headers.getlist("Set-Cookie") == [
        "a=secure; Path=/; Secure; SameSite=Lax",
        "b=1; HttpOnly;secure; SameSite=Strict",
    ]


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


def test_a_refused_websocket_is_an_answer_like_others(proxy: Proxy) -> None:
    answer = "Set-Cookie: a=1|Strict-Transport-Security: max-age=0"
    headers = proxy.get(**UPGRADE, **{"X-Answer": answer}).headers
    assert headers["Set-Cookie"] == "a=1; Secure; SameSite=Lax"
    assert headers["Strict-Transport-Security"] == f"max-age={HSTS}"
    assert headers["X-Content-Type-Options"] == "nosniff"


SPOOFED = {
    "X-Real-Ip": "192.0.2.1",
    "X-Forwarded-For": "192.0.2.2",
    "X-Forwarded-Proto": "http",
    "X-Scheme": "http",
    "Forwarded": "for=192.0.2.3",
}


#: Opens connections that begin with TLS, and prints how many of them got an answer.
OTHERS = """
import socket, ssl, sys
host, count = sys.argv[1], int(sys.argv[2])
context = ssl._create_unverified_context()
kept = []
for number in range(count):
    try:
        one = socket.create_connection((host, 11119), timeout=30)
        kept.append(context.wrap_socket(one))
    except OSError:
        pass
print(len(kept))
"""


def let_in(container: Container, host: str, count: int) -> int:
    """Open connections from a container to a proxy; return how many of them were taken."""
    python = ["/opt/jupyter/bin/python3", "-c", OTHERS]
    done = container.exec_run([*python, host, str(count)])
    assert isinstance(done.output, bytes)
    return int(done.output)


def test_no_address_takes_all_connections(proxy: Proxy, site: Site) -> None:
    """Each takes memory of the hub's container, even if it sends nothing.

    If the proxy did not get through to itself, it would count as hung, and be ended.
    """
    opened = [
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) for _ in range(MOST + 20)
    ]

    def kept(connection: socket.socket) -> bool:
        connection.settimeout(0.2)
        try:
            return connection.recv(1) != b""
        except TimeoutError:
            return True
        except OSError:
            return False

    assert 0.6 * MOST <= sum(map(kept, opened)) <= 0.8 * MOST
    backend = site.engine.containers.get(f"{site.prefix}-backend")
    name = str(proxy.container.name).removeprefix(f"{site.prefix}-")
    # Another address gets what is left, and no more.
    assert let_in(backend, name, 5) == 5
    assert 0 < let_in(backend, name, MOST) < 0.4 * MOST
    assert let_in(proxy.container, "127.0.0.1", 3) == 3
    for connection in opened:
        connection.close()

    def answers() -> bool:
        try:
            return proxy.get().ok
        except requests.ConnectionError:
            return False  # it has not noticed yet that the connections are closed

    wait_until(answers, seconds=30)


def test_whom_the_proxy_sends_away_counts_no_more(proxy: Proxy) -> None:
    """Otherwise an address would be kept out in the end, whatever it does."""

    def sent_away(*, secure: bool) -> bytes:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as plain:
            context = ssl.create_default_context(cafile=str(proxy.authority))
            client = context.wrap_socket(plain, server_hostname="localhost") if secure else plain
            with client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                begin = client.recv(12)
                while client.recv(4096):
                    pass
        return begin

    for secure, answer in ((True, b"HTTP/1.1 200"), (False, b"HTTP/1.1 400")):
        assert {sent_away(secure=secure) for _ in range(MOST)} == {answer}
    assert proxy.get().ok


@pytest.mark.parametrize("upgrade", [{}, UPGRADE], ids=["page", "websocket"])
def test_a_client_cannot_choose_its_address(proxy: Proxy, upgrade: dict[str, str]) -> None:
    seen: dict[str, Any] = proxy.get(**SPOOFED, **upgrade).json()
    assert seen["x-forwarded-proto"] in {"https", "wss"}
    assert "192.0.2." not in json.dumps(seen)
    assert "x-real-ip" not in seen
    assert "x-scheme" not in seen


@pytest.fixture(scope="module")
def users(site: Site, proxy: Proxy) -> Proxy:
    """The proxy with a user's server: the same backend, by a name that is not the hub's."""
    proxy.route("/site/user/bob", f"http://{site.prefix}-backend:8000")
    proxy.route("/site/user/b@c", f"http://{site.prefix}-backend:8000")
    return proxy


WHOLE_ORIGIN = {
    "Accept-CH": "DPR",
    "Alt-Svc": 'h2=":8443"',
    "Clear-Site-Data": '"*"',
    "NEL": "{}",
    "Origin-Agent-Cluster": "?1",
    "Public-Key-Pins": "x",
    "Report-To": "{}",
    "Reporting-Endpoints": 'a="https://elsewhere"',
    "Service-Worker-Allowed": "/",
    "Set-Login": "logged-out",
    "Speculation-Rules": '"/rules"',
    "WWW-Authenticate": 'Basic realm="hub"',
}


@pytest.mark.parametrize("upgrade", [{}, UPGRADE], ids=["page", "websocket"])
def test_a_users_server_cannot_set_headers_for_the_origin(
    users: Proxy, upgrade: dict[str, str]
) -> None:
    answer = "|".join(f"{name}: {value}" for name, value in WHOLE_ORIGIN.items())
    headers = users.get(
        "/site/user/bob/x", **{"X-Answer": f"{answer}|Link: <x>"}, **upgrade
    ).headers
    assert not {name.lower() for name in WHOLE_ORIGIN} & {name.lower() for name in headers}
    assert headers["Link"] == "<x>"
    # The hub does.
    headers = users.get("/site/hub/x", **{"X-Answer": answer}, **upgrade).headers
    assert {name.lower() for name in WHOLE_ORIGIN} <= {name.lower() for name in headers}


KEPT = (
    "a=1; Path=/site/user/bob",
    "a=1; path=/site/user/bob/",
    "a=1;  PATH = /site/user/bob/lab ; HttpOnly",
    "a=1; Path=/site/user/%62ob/",
)

DROPPED = (
    "a=1",
    "a=1; Path",
    "a=1; Path=",
    "a=1; Path=/",
    "a=1; Path=/site",
    "a=1; Path=/site/user/",
    "a=1; Path=/site/user/bobby",
    "a=1; Path=/site/user/alice/",
    "a=1; Path=/site/hub/",
    "a=1; pAtH=/site/hub/",
    "a=1; Path=/site/user/bob/; Path=/site/hub/",
    "a=1; Path=/site/hub/; Path=/site/user/bob/",
    "a=1; Path=/site/user/bob/; path",
    'a=1; Path="/site/user/bob/"',
    "a=1; Path=site/user/bob/",
    "a=1; Path=/site/user/bob%2f",
    "a=1; Path=/site%2fuser/bob/",
    "a=1; Path=/site/user/%zz",
    "a=1; Path=//site/user/bob/",
    "a=1; Path=/site/user/../user/bob",
    "a=1; \xa0Path=/site/user/bob/",
    "a=1; Path=/site/user/bob/; Domain=localhost",
    "a=1; Path=/site/user/bob/; domain=",
    "__Host-a=1; Path=/; Secure",
    "=__Host-a=1; Path=/",
)


@pytest.mark.parametrize("upgrade", [{}, UPGRADE], ids=["page", "websocket"])
def test_cookies_of_a_users_server_stay_with_it(users: Proxy, upgrade: dict[str, str]) -> None:
    assert users.cookies("/site/user/bob/x", *KEPT, *DROPPED, **upgrade) == list(KEPT)
    # For any path of the request, and also for a user name that is percent-encoded.
    assert users.cookies("/site/user/bob", *KEPT, *DROPPED, **upgrade) == list(KEPT)
    assert users.cookies("/site/user/bob%2fx", *KEPT, *DROPPED, **upgrade) == list(KEPT)
    names = ["a=1; Path=/site/user/b%40c/", "a=1; Path=/site/user/b@c/x"]
    assert users.cookies("/site/user/b%40c/", *names, *KEPT, **upgrade) == names
    assert not users.cookies("/site/user/bob/", *DROPPED, **upgrade)
    # The hub's own cookies are not restricted.
    assert len(users.cookies("/site/hub/", *DROPPED, **upgrade)) == len(DROPPED)


def test_on_its_own_host_a_server_has_all_paths_and_no_other_host(
    site: Site, backend: None
) -> None:
    proxy = start(site, 1, host_routing=True)
    proxy.route("/bob.localhost/site/user/bob", f"http://{site.prefix}-backend:8000")
    kept = ("__Host-a=1; Path=/", "a=1; Path=/site/user/bob/")
    dropped = ("a=1; Path=/; Domain=localhost", "a=1; Path=/; domain=bob.localhost", "a=1")
    arrived = proxy.cookies("/site/user/bob/", *kept, *dropped, Host="bob.localhost")
    assert arrived == list(kept)


def test_a_trusted_proxy_says_who_is_calling_and_nothing_else(site: Site, backend: None) -> None:
    # Connections from here to a published port come from the engine's address in the network.
    proxy = start(site, 1, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")
    headers = {
        "X-Forwarded-For": "192.0.2.66, 198.51.100.7, 10.1.2.3",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example.com",
        "X-Real-Ip": "192.0.2.66",
    }
    seen = proxy.get(**headers).json()
    assert seen["x-forwarded-for"] == "198.51.100.7"
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-host"] == f"localhost:{proxy.port}"
    assert "x-real-ip" not in seen
