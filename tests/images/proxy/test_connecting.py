"""How long the proxy tries to connect to a user's server, and that answers may take longer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.images.proxy.node import printed
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MODULE = ROOT / "images" / "proxy" / "connecting.mjs"

#: Milliseconds.
LIMIT = 500

SCRIPT = """
import http from "node:http";
import {{ Connecting }} from {module};
const agent = new Connecting({limit});
const get = () => new Promise((resolve) => {{
  const begin = Date.now();
  const end = (answer) => resolve([answer, Date.now() - begin]);
  const request = http.get({{ host: "127.0.0.1", port: {port}, agent }}, (response) => {{
    response.resume();
    response.on("end", () => end(`${{response.statusCode}} ${{response.headers.port}}`));
  }});
  request.on("error", (error) => end(error.code));
}});
console.log(JSON.stringify([await get(), await get()]));
"""


def asked_twice(port: int) -> list[tuple[str, int]]:
    """Ask a server on loopback twice: status and own port, or error; and the milliseconds taken."""
    script = SCRIPT.format(module=json.dumps(MODULE.as_uri()), limit=LIMIT, port=port)
    return [(answer, took) for answer, took in json.loads(printed(script))]


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose queue is full, so that the kernel answers nobody."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port: int = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        yield port
        for one in waiting:
            one.close()


class Slow(BaseHTTPRequestHandler):
    """Takes twice the limit for an answer, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(2 * LIMIT / 1000)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("Port", str(self.client_address[1]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def slow() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_who_does_not_accept_a_connection_is_given_up(deaf: int) -> None:
    for answer, took in asked_twice(deaf):
        assert answer == "ETIMEDOUT"
        assert took >= LIMIT


def test_an_answer_may_take_longer_and_no_connection_is_used_twice(slow: int) -> None:
    answers = asked_twice(slow)
    assert all(answer.startswith("200 ") and took >= 2 * LIMIT for answer, took in answers)
    assert answers[0][0] != answers[1][0]
