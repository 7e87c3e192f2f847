"""What the hub's page says of a home that is nearly full, or full."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from zhub.servers.home_limit import ask, warnings

GIB = 1 << 30


@pytest.mark.parametrize("taken", [None, 0, 8 * GIB - 1])
def test_nothing_is_said_below_four_fifths(taken: int | None) -> None:
    assert warnings(taken, 10 * GIB) == []


def test_one_that_is_nearly_full_is_named_with_both_sizes() -> None:
    assert warnings(8 * GIB, 10 * GIB) == ["Your home is nearly full: 8.0 of 10.0 GiB"]


@pytest.mark.parametrize(("taken", "shown"), [(10 * GIB, "10.0"), (25 * GIB, "25.0")])
def test_who_has_a_full_one_is_asked_to_clean_up(taken: int, shown: str) -> None:
    said, advice = warnings(taken, 10 * GIB)
    assert said == f"Your home is full: {shown} of 10.0 GiB"
    assert advice == "Please delete what you do not need"


def client(answer: Any) -> Any:
    def get(url: str, **_: Any) -> Any:
        assert url == "http://guard/v1.41/zhub/homes/site-home-alice"
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(base_url="http://guard", api_version="1.41", get=get)


def answer(status: int, content: bytes) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = content
    return made


def test_the_guard_is_asked() -> None:
    full = answer(200, b'{"Bytes": 11}')
    assert len(ask(client(full), "site-home-alice", 10)) == 2
    assert ask(client(answer(200, b'{"Bytes": null}')), "site-home-alice", 10) == []


@pytest.mark.parametrize(
    "failure",
    [
        requests.exceptions.ConnectTimeout("silent"),
        answer(403, b"{}"),
        answer(404, b"page not found"),
        answer(200, b"not json"),
    ],
)
def test_a_server_starts_without_an_answer(failure: Any) -> None:
    assert ask(client(failure), "site-home-alice", 10) == []
