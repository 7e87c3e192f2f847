"""A visitor's last answer holds while the hub is away, and in no other case."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.web import HTTPError
from zsingleuser.patience import LONGEST, MOST, patient

ALICE = {"name": "alice"}


class Auth:
    """JupyterHub's class, with a hub whose answers the tests choose."""

    def __init__(self) -> None:
        self.cache: dict[str, Any] = {}
        self.answer: dict[str, Any] | Exception | None = ALICE
        self.asked = 0

    async def check(
        self, url: str, api_token: str, cache_key: str = "", *, use_cache: bool = True
    ) -> dict[str, Any] | None:
        assert url
        assert api_token
        if use_cache and cache_key in self.cache:
            return dict(self.cache[cache_key])
        self.asked += 1
        if isinstance(self.answer, HTTPError):
            raise self.answer
        if isinstance(self.answer, Exception):
            try:
                raise self.answer
            except OSError:
                # As JupyterHub does.
                raise HTTPError(500, "Failed to connect to Hub API")  # noqa: B904
        return self.answer


class Visitor:
    """Asks about visitors, and has a clock."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.auth = Auth()
        self.now = 0.0
        self._run = runner.run
        self._check = patient(Auth.check, lambda: self.now)

    def ask(self, key: str = "a", **more: Any) -> dict[str, Any] | None:
        return self._run(self._check(self.auth, url="u", api_token="t", cache_key=key, **more))


@pytest.fixture
def visitor() -> Iterator[Visitor]:
    with asyncio.Runner() as runner:
        yield Visitor(runner)


AWAY = [ConnectionRefusedError(), TimeoutError(), HTTPError(502)]


@pytest.mark.parametrize("away", AWAY, ids=repr)
def test_the_last_answer_holds_while_the_hub_is_away(visitor: Visitor, away: Exception) -> None:
    assert visitor.ask() == ALICE
    visitor.auth.answer, visitor.now = away, LONGEST
    assert visitor.ask() == ALICE
    visitor.now += 1
    with pytest.raises(HTTPError):
        visitor.ask()


@pytest.mark.parametrize("away", AWAY, ids=repr)
def test_a_visitor_without_an_answer_gets_none(visitor: Visitor, away: Exception) -> None:
    visitor.ask()
    visitor.auth.answer = away
    with pytest.raises(HTTPError):
        visitor.ask("b")


def test_an_answer_of_the_hub_is_final(visitor: Visitor) -> None:
    visitor.ask()
    visitor.auth.answer = None
    assert visitor.ask() is None
    # A visitor who was turned away is not let in because the hub goes away afterwards.
    visitor.auth.answer = ConnectionRefusedError()
    with pytest.raises(HTTPError):
        visitor.ask()


@pytest.mark.parametrize("status", [500, 403])
def test_other_errors_are_passed_on(visitor: Visitor, status: int) -> None:
    visitor.ask()
    visitor.auth.answer = HTTPError(status)
    with pytest.raises(HTTPError):
        visitor.ask()


def test_what_must_be_asked_anew_is(visitor: Visitor) -> None:
    visitor.ask()
    visitor.auth.answer = ConnectionRefusedError()
    with pytest.raises(HTTPError):
        visitor.ask(use_cache=False)


def test_an_answer_from_the_cache_does_not_become_younger(visitor: Visitor) -> None:
    visitor.ask()
    visitor.auth.cache["a"] = ALICE
    visitor.now = LONGEST
    visitor.ask()
    assert visitor.auth.asked == 1
    visitor.auth.cache.clear()
    visitor.auth.answer, visitor.now = ConnectionRefusedError(), LONGEST + 1
    with pytest.raises(HTTPError):
        visitor.ask()


def test_the_oldest_answers_are_forgotten(visitor: Visitor) -> None:
    for number in range(MOST + 1):
        visitor.ask(str(number))
    visitor.auth.answer = ConnectionRefusedError()
    assert visitor.ask(str(MOST)) == ALICE
    with pytest.raises(HTTPError):
        visitor.ask("0")
