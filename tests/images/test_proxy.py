"""The published port: TLS, headers and cookies; the image's proxy before a scripted hub."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.images.conftest import Site, wait_until

pytestmark = pytest.mark.engine

HSTS = 31536000

#: Answers with the request's headers, and as a user's server would that means harm.
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
    """A proxy of the image, published at a port of loopback."""

    port: int
    authority: Path

    def get(self, path: str = "/", **headers: str) -> requests.Response:
        """Ask for a page, trusting nothing but the authority."""
        url = f"https://localhost:{self.port}{path}"
        return requests.get(url, headers=headers, verify=str(self.authority), timeout=60)

    def handshake(self, context: ssl.SSLContext) -> tuple[str, str]:
        """Protocol and cipher that client and proxy agree on."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            cipher = connection.cipher()
            assert cipher
            return str(connection.version()), cipher[0]

    def client(self, version: ssl.TLSVersion, ciphers: str = "ALL") -> ssl.SSLContext:
        """A client of one protocol version, which would take what has long been broken."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        return context


def start(site: Site, hsts_seconds: int, *trusted: str) -> Proxy:
    told = {
        "port": 11119,
        "apiPort": 8001,
        "key": "/certs/hub.key",
        "certificate": "/certs/hub.crt",
        "hub": "http://backend:8000",
        "errors": "http://backend:8000/error",
        "hostRouting": False,
        "hstsSeconds": hsts_seconds,
        "trustedProxies": trusted,
    }
    container = site.start(
        f"proxy-{hsts_seconds}",
        site.images.hub,
        site.certificate("hub", "localhost"),
        entrypoint=["node", "/opt/proxy/proxy.mjs", json.dumps(told)],
        environment={"CONFIGPROXY_AUTH_TOKEN": "of this test"},
        ports={11119: 0},
    )
    published: dict[str, Any] = dict(container.ports)
    proxy = Proxy(int(published["11119/tcp"][0]["HostPort"]), site.ca_file)

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
    # An alert comes from the other side: it was not the client that would not.
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


def test_without_hsts_nobody_sets_it(site: Site, backend: None) -> None:
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


@pytest.mark.parametrize("upgrade", [{}, UPGRADE], ids=["page", "websocket"])
def test_a_client_cannot_choose_its_address(proxy: Proxy, upgrade: dict[str, str]) -> None:
    seen: dict[str, Any] = proxy.get(**SPOOFED, **upgrade).json()
    assert seen["x-forwarded-proto"] in {"https", "wss"}
    assert "192.0.2." not in json.dumps(seen)
    assert "x-real-ip" not in seen
    assert "x-scheme" not in seen


def test_a_trusted_proxy_says_who_is_calling_and_nothing_else(site: Site, backend: None) -> None:
    # From here, a published port is reached from the engine's own address in the network.
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
