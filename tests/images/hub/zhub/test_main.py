"""What is not there yet when a role starts: one line, and another start."""

from __future__ import annotations

import logging
import sys

import pytest
import requests
from docker.errors import APIError
from zhub import __main__ as command
from zhub import logs, privileges

RESET = requests.ConnectionError("Connection reset by peer")
BAD_GATEWAY = requests.Response()
BAD_GATEWAY.status_code = 502
FAILED = APIError("502", response=BAD_GATEWAY, explanation="the engine does not answer")


@pytest.mark.parametrize("error", [RESET, FAILED], ids=["reset", "failed"])
def test_an_engine_that_is_lost_during_a_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def lost(_: object) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["zhub"])
    monkeypatch.setattr(command, "run_hub", lost)
    monkeypatch.setattr(privileges, "leave_no_dumps", lambda: None)
    monkeypatch.setattr(logs, "begin", lambda _: None)
    with caplog.at_level(logging.CRITICAL), pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert [record.exc_info for record in caplog.records] == [None]
    assert "ended, to be started again" in caplog.text


def test_a_mistake_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: object) -> None:
        raise APIError("404", response=requests.Response())

    monkeypatch.setattr(sys, "argv", ["zhub"])
    monkeypatch.setattr(command, "run_hub", wrong)
    monkeypatch.setattr(privileges, "leave_no_dumps", lambda: None)
    monkeypatch.setattr(logs, "begin", lambda _: None)
    with pytest.raises(APIError):
        command.main()
