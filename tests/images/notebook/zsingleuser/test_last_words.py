"""What the hub is told of a server that ends before it listens."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from zsingleuser import last_words


@pytest.fixture
def hub() -> Iterator[tuple[dict[str, str], list[Any]]]:
    """The environment of a server of a hub, and what the hub has been told."""
    told: list[Any] = []

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.path, self.headers["Authorization"], json.loads(body)["lines"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/site/hub/api/users/alice/activity"
        yield {"JUPYTERHUB_ACTIVITY_URL": url, "JUPYTERHUB_API_TOKEN": "t"}, told
        server.shutdown()


@pytest.fixture(autouse=True)
def stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", sys.stderr)


def told_of(start: Callable[[], None], own: socket.socket, environment: dict[str, str]) -> None:
    with last_words.reported(own, environment):
        start()


@pytest.fixture
def own() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def test_the_hub_is_told_the_last_lines_and_the_reason(
    hub: tuple[dict[str, str], list[Any]], own: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    environment, told = hub

    def start() -> None:
        for number in range(30):
            print(f"line {number}", file=sys.stderr)
        raise OSError(28, "No space left on device", "/home/jovyan/x")

    with pytest.raises(SystemExit) as ended:
        told_of(start, own, environment)
    assert ended.value.code == 1
    [(path, authorization, lines)] = told
    assert (path, authorization) == ("/site/hub/api/users/alice/last-words", "token t")
    assert len(lines) == last_words.KEPT
    assert lines[-1] == "OSError: [Errno 28] No space left on device: '/home/jovyan/x'"
    assert "line 29" in lines
    assert "line 0" in capsys.readouterr().err, "the container's own log has everything"


def test_an_exit_keeps_its_status(
    hub: tuple[dict[str, str], list[Any]], own: socket.socket
) -> None:
    environment, told = hub

    def start() -> None:
        print("x" * 1000, file=sys.stderr)
        sys.exit(3)

    with pytest.raises(SystemExit) as ended:
        told_of(start, own, environment)
    assert ended.value.code == 3
    assert told[0][2] == ["x" * last_words.LENGTH]


def test_what_an_exit_says_is_told_too(
    hub: tuple[dict[str, str], list[Any]], own: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    environment, told = hub
    with pytest.raises(SystemExit) as ended:
        told_of(lambda: sys.exit("no packet filter was set"), own, environment)
    assert ended.value.code == 1
    assert told[0][2] == ["no packet filter was set"]
    assert capsys.readouterr().err == "no packet filter was set\n", "once"


def test_a_server_that_ends_before_it_has_a_network_tells_it_then(
    hub: tuple[dict[str, str], list[Any]],
    own: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment, told = hub
    connect, tries = socket.create_connection, iter(range(10))

    def attached_later(*given: Any, **named: Any) -> socket.socket:
        if next(tries) < 3:
            raise OSError(101, "Network is unreachable")
        return connect(*given, **named)

    monkeypatch.setattr(socket, "create_connection", attached_later)
    with pytest.raises(SystemExit):
        told_of(lambda: sys.exit("too early"), own, environment)
    assert told[0][2] == ["too early"]


def test_nothing_is_told_once_the_server_listens(
    hub: tuple[dict[str, str], list[Any]], own: socket.socket
) -> None:
    environment, told = hub
    own.listen()
    with pytest.raises(SystemExit):
        told_of(sys.exit, own, environment)
    assert told == []


def test_a_hub_that_does_not_answer_changes_nothing(
    own: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_words, "ATTACHED", 0.1)
    nowhere = f"http://127.0.0.1:{own.getsockname()[1]}/hub/api/users/alice/activity"
    environment = {"JUPYTERHUB_ACTIVITY_URL": nowhere, "JUPYTERHUB_API_TOKEN": "t"}
    with pytest.raises(SystemExit) as ended:
        told_of(lambda: sys.exit(5), own, environment)
    assert ended.value.code == 5
