"""Requests of strangers to the login cost the hub very little, however they are sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
import requests

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS, Slapd

pytestmark = pytest.mark.slow

LONG = "A" * 50_000
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def hub(directory: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    ldap = directory.everybody()
    more = """
    from tornado.httpserver import HTTPServer
    from zhub.front.limits import BODY_SIZE, HEADER_SIZE, LimitedServer

    HTTPServer.configure(LimitedServer, max_body_size=BODY_SIZE, max_header_size=HEADER_SIZE)
    """
    with real_hub.running(tmp_path_factory.mktemp("hub"), ldap, more=more) as hub:
        hub.browser("bob", PASSWORDS["bob"])
        yield hub


def send(hub: RealHub, body: bytes | str, headers: dict[str, str], query: str = "") -> int:
    """Send a login as a browser with the form would; return the status."""
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"{hub.url}hub/login", timeout=30)
        headers = {**headers, "X-XSRFToken": session.cookies["_xsrf"]}
        url = f"{hub.url}hub/login{query}"
        try:
            return session.post(
                url, data=body, headers=headers, timeout=30, allow_redirects=False
            ).status_code
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            # Closed before the whole request was read.
            return 400


BODIES = {
    "a long password": urlencode({"username": "bob", "password": LONG}),
    "every sign percent-encoded": "username=bob&password=" + "%41" * 20_000,
    "what is two bytes in UTF-8": urlencode({"username": "bob", "password": "ü" * 10_000}),
    "NUL characters": "username=bob&password=" + "%00" * 20_000,
    "a long name": urlencode({"username": LONG, "password": "x"}),
    "a name of blanks": "username=" + "+" * 60_000 + "&password=x",
    "15000 fields": "a=b&" * 15_000,
    "one field many times": "username=bob" + "&password=x" * 5_000,
    "a megabyte": urlencode({"username": "bob", "password": LONG * 20}),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_oversized_forms(hub: RealHub, directory: Slapd, body: str) -> None:
    before = len(directory.binds())
    begin = time.monotonic()
    assert send(hub, body, FORM) in {400, 403}
    assert time.monotonic() - begin < 2
    assert len(directory.binds()) == before


def test_forms_in_parts(hub: RealHub, directory: Slapd) -> None:
    def form(fields: list[tuple[str, str]]) -> bytes:
        parts = (
            f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields
        )
        return ("".join(parts) + "--x--\r\n").encode()

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    before = len(directory.binds())
    assert send(hub, form([("username", "bob"), ("password", LONG)]), headers) == 403
    assert send(hub, form([("a", "b")] * 10_000), headers) == 400
    assert len(directory.binds()) == before
    # With the right password this is a login: the others were not refused for their format.
    right = form([("username", "bob"), ("password", PASSWORDS["bob"])])
    assert send(hub, right, headers) == 302
    assert len(directory.binds()) == before + 1


def test_json(hub: RealHub, directory: Slapd) -> None:
    before = len(directory.binds())
    for password in (LONG, "\0" * 2_000, "ü" * 513):
        assert hub.token("bob", password).status_code in {403, 413}
    for auth in ("x", ["bob"], {"username": "bob"}, {"username": {"a": 1}, "password": []}):
        assert hub.api("POST", "users/bob/tokens", json={"auth": auth}).status_code == 403
    deep = "[" * 15_000
    assert hub.api("POST", "users/bob/tokens", data=deep).status_code in {400, 403, 500}
    assert len(directory.binds()) == before
    assert hub.token("bob", PASSWORDS["bob"]).status_code == 201


def test_long_addresses_and_cookies(hub: RealHub) -> None:
    for query, headers in (
        (f"?next={'A' * 100_000}", {}),
        ("", {"Cookie": "a=" + "b" * 100_000}),
        ("", {"Cookie": "a=b;" * 10_000}),
    ):
        assert send(hub, "username=bob&password=x", FORM | headers, query) in {400, 403, 431}


def test_others_pages_while_long_passwords_come_in(hub: RealHub) -> None:
    """Sixteen at a time once blocked the hub for seconds."""
    with ThreadPoolExecutor(17) as threads:
        tries = [
            threads.submit(send, hub, urlencode({"username": f"s{n}", "password": LONG}), FORM)
            for n in range(64)
        ]
        longest = 0.0
        while not all(one.done() for one in tries):
            begin = time.monotonic()
            requests.get(f"{hub.url}hub/health", timeout=30).raise_for_status()
            longest = max(longest, time.monotonic() - begin)
            time.sleep(0.01)
        assert {one.result() for one in tries} == {403}
    assert longest < 1
