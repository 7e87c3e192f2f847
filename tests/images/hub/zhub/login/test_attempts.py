"""Failed logins slow down only the caller that fails."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from zhub.login import attempts
from zhub.login.attempts import (
    PER_ADDRESS,
    PER_NAME,
    SECONDS,
    Attempts,
    BusyError,
    TooManyFailuresError,
    Turn,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock) -> Attempts:
    return Attempts(clock)


async def one(counted: Attempts, name: str, address: str, becomes: str = "failed") -> float:
    """Log in, which takes the directory a moment; return the seconds to wait if refused."""
    try:
        async with counted.turn(name, address) as turn:
            await asyncio.sleep(0.001)
            end(turn, becomes)
    except TooManyFailuresError as error:
        return error.seconds
    return 0


def end(turn: Turn, becomes: str) -> None:
    if becomes == "right":
        turn.succeeded()
    elif becomes == "not sent":
        turn.was_not_sent()


def wait(counted: Attempts, name: str, address: str) -> float:
    """Return the seconds that the next login would have to wait; does not count as one."""
    return asyncio.run(one(counted, name, address, "not sent"))


def fail(counted: Attempts, name: str, address: str, times: int) -> None:
    for _ in range(times):
        assert asyncio.run(one(counted, name, address)) == 0


def succeed(counted: Attempts, name: str, address: str) -> None:
    assert asyncio.run(one(counted, name, address, "right")) == 0


def test_after_some_failures_one_has_to_wait(counted: Attempts, clock: Clock) -> None:
    fail(counted, "alice", "1.1.1.1", PER_NAME)
    assert wait(counted, "ALICE", "1.1.1.1") == SECONDS
    clock.now += SECONDS - 1
    assert wait(counted, "alice", "1.1.1.1") == 1
    clock.now += 1
    assert wait(counted, "alice", "1.1.1.1") == 0


def test_a_stranger_locks_nobody_out(counted: Attempts) -> None:
    fail(counted, "alice", "6.6.6.6", PER_NAME)
    assert wait(counted, "alice", "6.6.6.6")
    assert wait(counted, "alice", "1.1.1.1") == 0
    assert wait(counted, "bob", "6.6.6.6") == 0


def test_a_right_password_clears_the_failures(counted: Attempts) -> None:
    for _ in range(3):
        fail(counted, "alice", "1.1.1.1", PER_NAME - 1)
        succeed(counted, "alice", "1.1.1.1")


def test_a_password_that_was_not_sent_is_no_failure(counted: Attempts) -> None:
    for _ in range(2 * PER_ADDRESS):
        assert wait(counted, "alice", "1.1.1.1") == 0


def test_guessing_many_names_is_slowed_but_not_for_those_known_there(counted: Attempts) -> None:
    succeed(counted, "alice", "1.1.1.1")
    for number in range(PER_ADDRESS):
        fail(counted, f"guess{number}", "1.1.1.1", 1)
    assert wait(counted, "one-more", "1.1.1.1") > 0
    assert wait(counted, "alice", "1.1.1.1") == 0
    assert wait(counted, "one-more", "1.1.1.2") == 0


@pytest.mark.slow
def test_what_is_remembered_is_limited(counted: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "REMEMBERED", 10)
    for number in range(100):
        fail(counted, f"guess{number}", f"1.1.1.{number}", 1)
        succeed(counted, f"known{number}", "1.1.1.1")
    assert len(counted._failures) <= 10
    assert len(counted._known) == 10
    assert not counted._running
    assert not counted._waiting


def burst(counted: Attempts, names: list[str], becomes: str) -> list[float | BaseException]:
    async def all_at_once() -> list[float | BaseException]:
        return await asyncio.gather(
            *(one(counted, name, "1.1.1.1", becomes) for name in names), return_exceptions=True
        )

    answers = asyncio.run(all_at_once())
    assert not counted._running
    assert not counted._waiting
    assert counted._waiting_in_all == 0
    return answers


@pytest.mark.parametrize("names", [["alice"] * 200, [f"user{n}" for n in range(200)]])
def test_200_right_logins_at_the_same_moment_all_get_in(
    counted: Attempts, names: list[str]
) -> None:
    assert burst(counted, names, "right") == [0] * 200


def test_a_burst_of_guesses_stays_within_the_limits(counted: Attempts) -> None:
    assert burst(counted, ["alice"] * 50, "failed").count(0) == PER_NAME
    guesses = burst(counted, [f"user{n}" for n in range(200)], "failed")
    assert guesses.count(0) == PER_ADDRESS - PER_NAME


def test_guesses_among_right_logins_stay_within_the_limits(counted: Attempts) -> None:
    async def mixed() -> list[float]:
        tries = []
        for number in range(100):
            tries.append(one(counted, f"user{number}", "1.1.1.1", "right"))
            tries.append(one(counted, "alice", "1.1.1.1", "failed"))
        return await asyncio.gather(*tries)

    answers = asyncio.run(mixed())
    assert answers[::2] == [0] * 100
    assert answers[1::2].count(0) == PER_NAME


def test_logins_that_wait_too_long_or_are_too_many_are_refused(
    counted: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PATIENCE", 0.1)
    monkeypatch.setattr(attempts, "WAITING", 3)

    async def held() -> list[float | BaseException]:
        async with AsyncExitStack() as stack:
            for _ in range(PER_NAME):
                await stack.enter_async_context(counted.turn("alice", "1.1.1.1"))
            # Logins of other names at the address do not wait in that queue.
            assert await one(counted, "bob", "1.1.1.1", "right") == 0
            more = (one(counted, "alice", "1.1.1.1") for _ in range(5))
            return await asyncio.gather(*more, return_exceptions=True)

    answers = asyncio.run(held())
    assert [type(answer) for answer in answers] == [BusyError] * 5
    assert not counted._waiting
    assert not counted._running


def test_a_login_cancelled_while_it_waits_holds_nothing(counted: Attempts) -> None:
    async def given_up() -> None:
        async with counted.turn("alice", "1.1.1.1") as first:
            rest = [asyncio.create_task(one(counted, "alice", "1.1.1.1")) for _ in range(8)]
            await asyncio.sleep(0)
            first.was_not_sent()
            await asyncio.sleep(0)
        # One of the waiting logins has its turn now, but has not resumed yet.
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    asyncio.run(given_up())
    assert not counted._running
    assert not counted._waiting


def test_one_ipv6_network_is_one_place(counted: Attempts) -> None:
    for number in range(PER_NAME):
        fail(counted, "alice", f"2001:db8:1:1::{number}", 1)
    assert wait(counted, "alice", "2001:db8:1:1:ffff::1") > 0
    assert wait(counted, "alice", "2001:db8:1:2::1") == 0


@pytest.mark.parametrize("raised", [TimeoutError, asyncio.CancelledError])
def test_a_turn_that_comes_as_the_time_runs_out_is_not_lost(
    counted: Attempts, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    real = asyncio.wait_for

    async def wait_for(start: asyncio.Future[None], _: float) -> None:
        """Like Python 3.12 and later: may time out although the result is there."""
        await real(start, 1)
        raise raised

    monkeypatch.setattr(asyncio, "wait_for", wait_for)

    async def race() -> list[float | BaseException]:
        async with AsyncExitStack() as stack:
            for _ in range(PER_NAME):
                turn = await stack.enter_async_context(counted.turn("alice", "1.1.1.1"))
                turn.was_not_sent()
            late = [asyncio.create_task(one(counted, "alice", "1.1.1.1")) for _ in range(8)]
            await asyncio.sleep(0)
        return await asyncio.gather(*late, return_exceptions=True)

    answers = asyncio.run(race())
    expected = BusyError if raised is TimeoutError else raised
    assert [type(answer) for answer in answers] == [expected] * 8
    assert not counted._running
    assert not counted._waiting
    assert counted._waiting_in_all == 0


def test_the_time_may_run_out_in_the_moment_of_the_turn(
    counted: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this Python's own wait_for, however it behaves then."""
    monkeypatch.setattr(attempts, "PATIENCE", 0.05)

    async def race() -> None:
        first = [Turn(("alice", "1.1.1.1"), counts=False) for _ in range(PER_NAME)]
        assert all(map(counted._may_start, first))

        def end_all() -> None:
            for turn in first:
                counted._end(turn)

        late = asyncio.create_task(one(counted, "alice", "1.1.1.1", "right"))
        asyncio.get_running_loop().call_later(0.03, end_all)
        await asyncio.sleep(0)
        # Then both are due in one iteration of the event loop: the others' end, and the timeout.
        time.sleep(0.1)  # noqa: ASYNC251 - nothing else may run
        await asyncio.gather(late, return_exceptions=True)

    asyncio.run(race())
    assert not counted._running
    assert not counted._waiting


def test_refused_logins_do_not_push_out_the_failures_of_others(
    counted: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "REMEMBERED", 100)
    fail(counted, "alice", "6.6.6.6", PER_NAME)
    for number in range(PER_ADDRESS):
        fail(counted, f"guess{number}", "1.1.1.1", 1)
    for number in range(200):
        assert wait(counted, f"new{number}", "1.1.1.1") > 0
    assert len(counted._failures) == PER_ADDRESS + 3
    assert wait(counted, "alice", "6.6.6.6") > 0
    # Reading them does not make them last longer than later failures.
    assert next(iter(counted._failures)) == ("alice", "6.6.6.6")


def test_addresses_refused_for_want_of_room_leave_no_entry(
    counted: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "WAITING_IN_ALL", 0)

    async def full() -> None:
        for number in range(20):
            async with AsyncExitStack() as stack:
                for _ in range(PER_NAME):
                    await stack.enter_async_context(counted.turn("alice", f"1.1.1.{number}"))
                with pytest.raises(BusyError):
                    await one(counted, "alice", f"1.1.1.{number}")

    asyncio.run(full())
    assert not counted._waiting
