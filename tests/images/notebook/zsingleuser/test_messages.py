"""How a server asks its hub for messages; with a real hub, in tests/images/hub/test_people.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
from zsingleuser import messages
from zsingleuser.messages import FRESH, Messages


@dataclass
class Hub:
    """What a hub answers, and what it was asked."""

    body: bytes = b'{"messages": [{"id": "alice:1", "text": "Hello."}]}'
    status: int = 200
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    port: int = 0

    def messages(self, clock: SimpleNamespace) -> Messages:
        url = f"http://127.0.0.1:{self.port}/hub/api/users/alice/activity"
        return Messages(
            {"JUPYTERHUB_ACTIVITY_URL": url, "JUPYTERHUB_API_TOKEN": "t"}, lambda: clock.now
        )


@contextmanager
def serving(hub: Hub) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tag = self.headers["If-None-Match"]
            hub.asked.append((self.path, self.headers["Authorization"], tag))
            same = tag == '"1"' and hub.status == 200
            self.send_response(304 if same else hub.status)
            self.send_header("Etag", '"1"')
            self.send_header("Content-Length", "0" if same else str(len(hub.body)))
            self.end_headers()
            if not same:
                self.wfile.write(hub.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.port = server.server_port
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that says one thing, which is not behind the proxy that the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    found = Hub()
    with serving(found):
        yield found


HELLO = [{"id": "alice:1", "text": "Hello."}]


def test_the_hub_is_asked_with_the_servers_token_and_not_for_each_page(hub: Hub) -> None:
    clock = SimpleNamespace(now=1000.0)
    server = hub.messages(clock)
    assert asyncio.run(server.now()) == HELLO
    assert asyncio.run(server.now()) == HELLO
    path = "/hub/api/users/alice/messages"
    assert hub.asked == [(path, "token t", None)]
    clock.now += FRESH
    assert asyncio.run(server.now()) == HELLO
    assert hub.asked[1:] == [(path, "token t", '"1"')]


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, b""), (403, b"{}"), (200, b"<html>"), (200, b"[]"), (200, json.dumps({}).encode())],
)
def test_a_hub_that_does_not_answer_takes_nothing_back(hub: Hub, status: int, body: bytes) -> None:
    clock = SimpleNamespace(now=1000.0)
    server = hub.messages(clock)
    assert asyncio.run(server.now()) == HELLO
    server._tag = ""
    hub.status, hub.body = status, body
    clock.now += FRESH
    assert asyncio.run(server.now()) == HELLO
    assert asyncio.run(hub.messages(clock).now()) is None, "a server that has just started"


def test_a_hub_that_is_away_takes_nothing_back() -> None:
    hub, clock = Hub(), SimpleNamespace(now=1000.0)
    with serving(hub):
        server = hub.messages(clock)
        assert asyncio.run(server.now()) == HELLO
    clock.now += FRESH
    assert asyncio.run(server.now()) == HELLO


def test_without_a_hub_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_ACTIVITY_URL", raising=False)
    app = SimpleNamespace()  # it is not even looked at
    messages._load_jupyter_server_extension(app)
