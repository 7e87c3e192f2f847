"""Calls to the engine: their order, and what is asked again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError, DockerException, NotFound
from zhub.contract import FULL, UPDATING
from zhub.servers import calls
from zhub.servers.calls import Calls, answered, undecided


@pytest.fixture(autouse=True)
def nobody_has_waited_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Calls, "_away", False)


def answer(status: int, kind: type[APIError] = APIError) -> APIError:
    response: Any = SimpleNamespace(status_code=status, reason="x", url="/")
    return kind("x", response, "said")


def test_one_users_calls_wait_for_each_other_and_nobody_elses() -> None:
    order = []
    free = threading.Event()

    def slow() -> None:
        free.wait(30)
        order.append("slow")

    async def run() -> None:
        alice, bob = Calls(), Calls()
        waiting = [
            asyncio.ensure_future(alice.make(call)) for call in (slow, lambda: order.append("next"))
        ]
        await asyncio.wait_for(bob.make(order.append, "bob"), 30)
        free.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert order == ["bob", "slow", "next"]


@pytest.mark.slow
def test_a_call_that_nobody_waits_for_comes_before_the_next_one() -> None:
    """Such as that of a start that took too long, before the clean-up."""
    order = []
    free = threading.Event()

    def create() -> None:
        free.wait(30)
        order.append("create")

    async def run() -> None:
        alice = Calls()
        start = asyncio.ensure_future(alice.make(create))
        await asyncio.sleep(0.1)
        start.cancel()
        removed = asyncio.ensure_future(alice.make(order.append, "remove"))
        await asyncio.sleep(0.1)
        assert not order
        free.set()
        await removed
        assert start.cancelled()

    asyncio.run(run())
    assert order == ["create", "remove"]


def nobody() -> docker.APIClient:
    return docker.APIClient("unix:///nowhere/engine.sock", version="1.41")


def test_silence_and_failures_decide_nothing() -> None:
    with pytest.raises(requests.exceptions.ConnectionError) as refused:
        nobody().version()
    silent: list[Exception] = [
        refused.value,
        requests.exceptions.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        TimeoutError(),
        DockerException("Error while fetching server API version"),
        answer(500),
        answer(502),
        answer(503),
    ]
    decided = [answer(404, NotFound), answer(403), answer(409), answer(FULL), ValueError()]
    assert all(map(undecided, silent))
    assert not any(map(undecided, decided))


@pytest.mark.slow
def test_a_call_waits_for_a_guard_that_is_replaced_and_for_the_next_hub(
    monkeypatch: pytest.MonkeyPatch, short_folder: Path
) -> None:
    """As during an `up`: whoever wants a server then gets it some seconds later."""
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.01)
    path = short_folder / "engine.sock"
    client = docker.APIClient(f"unix://{path}", version="1.41")
    updating = answer(503)
    updating.explanation = UPDATING
    said: list[Exception | None] = [updating, None]

    def listen() -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        return listener

    def call() -> str:
        try:
            client.version(api_version=False)
        except requests.exceptions.ConnectionError:
            # First there is no socket, then one at which nobody listens, then a guard.
            if path.exists():
                monkeypatch.setattr(client, "version", lambda **_: None)
            else:
                listen().close()
            raise
        if busy := said.pop(0):
            raise busy
        return "done"

    assert asyncio.run(Calls().make(call)) == "done"
    assert not said


def test_what_comes_after_a_call_that_was_given_up_does_not_wait_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A start that fails is cleaned up behind: its user would hear nothing for twice as long."""
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(calls, "AWAY_SECONDS", 0.02)
    there = False
    made = 0

    def call() -> None:
        nonlocal made
        made += 1
        if not there:
            raise requests.exceptions.ConnectionError(ConnectionRefusedError())

    async def tries() -> int:
        nonlocal made
        made = 0
        with contextlib.suppress(requests.exceptions.ConnectionError):
            await Calls().make(call)
        return made

    async def run() -> None:
        nonlocal there
        assert await tries() > 1
        assert await tries() == 1
        there = True
        assert await tries() == 1
        there = False
        assert await tries() > 1

    asyncio.run(run())


def test_only_a_call_that_was_not_carried_out_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(calls, "AWAY_SECONDS", 0.01)
    away = requests.exceptions.ConnectionError(ConnectionRefusedError())
    lost = requests.exceptions.ConnectionError(ConnectionResetError())
    for error, again in ((lost, False), (answer(503), False), (answer(403), False), (away, True)):
        made: list[Exception] = []

        def call(error: Exception = error, made: list[Exception] = made) -> None:
            made.append(error)
            raise error

        with pytest.raises(type(error)):
            asyncio.run(Calls().make(call))
        assert (len(made) > 1) is again


def test_what_must_be_decided_is_asked_until_it_is_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.01)
    said = [answer(500), requests.exceptions.ReadTimeout(), answer(502), None]

    async def ask() -> str:
        if error := said.pop(0):
            raise error
        return "gone"

    caplog.set_level(logging.INFO, "zhub")
    assert asyncio.run(answered(ask, "stopping alice")) == "gone"
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert texts[0].startswith("stopping alice: no answer of the engine, asking again: ")
    assert texts[1] == "stopping alice: the engine has answered"


def test_a_decision_is_not_asked_again() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise answer(403)

    with pytest.raises(APIError):
        asyncio.run(answered(ask, "x"))
    assert asked == 1
