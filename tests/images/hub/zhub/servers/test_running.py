"""All servers share one question about who runs."""

from __future__ import annotations

import asyncio
import threading

import pytest
from zhub.servers import running
from zhub.servers.running import Running


def test_many_servers_make_one_call() -> None:
    asked = []

    def ask() -> set[str]:
        asked.append(1)
        return {"a", "b"}

    async def looked() -> list[bool | None]:
        shared = Running(ask)
        return await asyncio.gather(*(shared.has(name) for name in "abc" * 100))

    assert asyncio.run(looked()) == [True, True, False] * 100
    assert len(asked) == 1


def test_an_answer_is_used_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"a"}, set[str]()]

    async def looked() -> list[bool | None]:
        shared = Running(lambda: answers.pop(0))
        said = [await shared.has("a"), await shared.has("a")]
        monkeypatch.setattr(running, "FRESH", 0)
        return [*said, await shared.has("a")]

    assert asyncio.run(looked()) == [True, True, False]


def test_an_engine_that_fails_says_nothing_and_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "FRESH", 0)
    fails = [True, False]

    def ask() -> set[str]:
        if fails.pop(0):
            raise OSError("no engine")
        return {"a"}

    async def looked() -> list[bool | None]:
        shared = Running(ask)
        return [await shared.has("a"), await shared.has("a")]

    assert asyncio.run(looked()) == [None, True]


def test_nobody_waits_long_for_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's first page asks, too."""
    monkeypatch.setattr(running, "POLL_SECONDS", 0.01)
    answers = threading.Event()

    def ask() -> set[str]:
        answers.wait(30)
        return {"a"}

    async def looked() -> list[bool | None]:
        shared = Running(ask)
        said = [await shared.has("a")]
        answers.set()
        while said[-1] is None and len(said) < 1000:
            said.append(await shared.has("a"))
        return said

    said = asyncio.run(looked())
    assert (said[0], said[-1]) == (None, True)


@pytest.mark.slow
def test_an_engine_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "FRESH", 0)
    answers, asked = threading.Event(), []

    def ask() -> set[str]:
        asked.append(1)
        answers.wait(30)
        return {"a"}

    async def looked() -> list[bool | None]:
        shared = Running(ask)
        waiting = [asyncio.create_task(shared.has("a")) for _ in range(3)]
        await asyncio.sleep(0.1)
        waiting[0].cancel()
        waiting.append(asyncio.create_task(shared.has("b")))
        await asyncio.sleep(0.1)
        answers.set()
        return [await one for one in waiting[1:]]

    assert asyncio.run(looked()) == [True, True, False]
    assert len(asked) == 1
