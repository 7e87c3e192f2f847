"""Health checks of a hub beside a benchmark."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks import health

pytestmark = pytest.mark.slow

NO_FILE = Path("of-no-use-without-tls")


@contextmanager
def hub(status: int) -> Iterator[str]:
    """What answers like a hub: its root leads to the login page, and its health has a status."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/": 302, "/hub/health": status}.get(self.path, 200))
            self.send_header("Location", "/hub/login")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_each_check_has_its_seconds() -> None:
    took: list[float] = []
    with hub(200) as url, health.health_of(url, NO_FILE, took):
        time.sleep(0.5)
    assert 2 < len(took) < 15
    assert max(took) < health.GIVEN_UP


def test_a_check_that_fails_counts_as_one_that_was_given_up() -> None:
    took: list[float] = []
    with hub(503) as url, health.health_of(url, NO_FILE, took):
        time.sleep(0.2)
    assert set(took) == {health.GIVEN_UP}
