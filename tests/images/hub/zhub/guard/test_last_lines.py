"""What is left of the log of a user's server."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import requests.exceptions
from docker.errors import APIError, NotFound
from zhub.guard import last_lines
from zhub.guard.last_lines import KEPT, LENGTH

SERVER = {"Id": "abc", "Config": {"Labels": {"zhub.user": "alice"}}}


class Engine:
    """Has the log of one server, or fails."""

    def __init__(self, log: bytes = b"", error: Exception | None = None) -> None:
        self._log = log
        self._error = error

    def logs(self, container: str, *, tail: int) -> bytes:
        assert container == "abc"
        if self._error:
            raise self._error
        return b"".join(self._log.splitlines(keepends=True)[-tail:])


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def kept(engine: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    last_lines.keep(engine, SERVER)
    return caplog.messages


def test_the_last_lines_are_logged_with_the_user(caplog: pytest.LogCaptureFixture) -> None:
    log = b"".join(b"line %d\n" % number for number in range(KEPT + 2))
    assert kept(Engine(log), caplog) == [f"server of alice: line {n}" for n in range(2, KEPT + 2)]


def test_they_forge_no_lines_and_are_not_endless(caplog: pytest.LogCaptureFixture) -> None:
    lines = kept(Engine(b"a\x1b[31m\rroot: hello\xff\n" + b"x" * 100_000), caplog)
    assert lines == [
        "server of alice: a [31m",
        "server of alice: root: hello\N{REPLACEMENT CHARACTER}",
        f"server of alice: {'x' * LENGTH}",
    ]


def test_a_server_on_a_machine_that_does_not_answer_has_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert kept(Engine(error=NotFound("no such container")), caplog) == []


@pytest.mark.parametrize(
    "error", [APIError("the driver cannot read"), requests.exceptions.ReadTimeout("60 s")]
)
def test_a_log_that_cannot_be_read_is_said(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    [line] = kept(Engine(error=error), caplog)
    assert line == f"the last lines of the server of alice cannot be read: {error}"
