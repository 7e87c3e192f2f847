"""A server whose network is there first waits for its packet filter, and does not run without."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
from zhub.contract import AWAIT_FILTER
from zsingleuser import filtered

LOOPBACK = "127.0.0.1"


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Answers:
    """What connecting comes to, try by try; the last one stays."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.tries = 0

    def __call__(self, _: socket.socket, address: tuple[str, int]) -> int:
        assert address == (LOOPBACK, 9)
        self.tries += 1
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]


def waits(monkeypatch: pytest.MonkeyPatch, answers: Answers, seconds: float = 10) -> None:
    class Socket(socket.socket):
        def connect_ex(self, address: tuple[str, int]) -> int:  # type: ignore[override]
            return answers(self, address)

    monkeypatch.setattr(socket, "socket", Socket)
    environment = {filtered.VARIABLE: f"{LOOPBACK}:9", "HOME": "/home/jovyan"}
    filtered.wait(environment, seconds)
    # The user's programs need not know.
    assert environment == {"HOME": "/home/jovyan"}


def test_a_port_that_is_closed_or_open_is_no_filter(closed: int, listening: int) -> None:
    assert not filtered.stands(LOOPBACK, closed)
    assert not filtered.stands(LOOPBACK, listening)


def test_it_waits_until_the_filter_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(
        errno.ENETUNREACH, errno.ECONNREFUSED, errno.EAGAIN, errno.EPERM, errno.EHOSTUNREACH
    )
    waits(monkeypatch, answers)
    assert answers.tries == 5


@pytest.mark.parametrize("code", [0, errno.ECONNREFUSED, errno.ENETUNREACH, errno.EPERM])
def test_without_a_filter_it_does_not_run(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with pytest.raises(SystemExit, match=r"no packet filter was set for this server in 0\.1 s"):
        waits(monkeypatch, Answers(code), seconds=0.1)


def test_the_guard_names_the_address_by_the_same_variable() -> None:
    assert filtered.VARIABLE == AWAIT_FILTER


def test_where_the_filter_comes_first_nothing_is_waited_for() -> None:
    filtered.wait({})
