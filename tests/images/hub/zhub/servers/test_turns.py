"""Starts of servers wait for their turn."""

from __future__ import annotations

import asyncio

import pytest
from zhub.servers.turns import Turns


def test_who_comes_first_is_ready_first() -> None:
    """So that in a rush half of the users wait about half as long as the last one."""
    ready: list[int] = []
    under_way = most = 0

    async def rush() -> None:
        turns = Turns(at_a_time=2)

        async def start(number: int) -> None:
            nonlocal under_way, most
            turn = await turns.take()
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            ready.append(number)
            under_way -= 1
            turn.end()

        await asyncio.gather(*map(start, range(20)))

    asyncio.run(rush())
    assert ready == list(range(20))
    assert most == 2


def test_a_start_that_lasts_too_long_gives_its_turn_away() -> None:
    async def second() -> None:
        turns = Turns(at_a_time=1, longest=0.1)
        late = await turns.take()
        other = await asyncio.wait_for(turns.take(), 30)
        # Ended once by its length: this must let nobody else go ahead.
        late.goes_on()
        late.end()
        other.end()
        other.end()
        last = await turns.take()
        assert turns._free.locked()
        last.end()

    asyncio.run(second())


@pytest.mark.slow
def test_a_start_that_goes_on_keeps_its_turn_however_long_it_takes() -> None:
    """On a busy machine all starts would be under way otherwise, and none would end in time."""

    async def slow() -> None:
        turns = Turns(at_a_time=1, longest=0.5)
        turn = await turns.take()
        for _ in range(6):
            await asyncio.sleep(0.2)
            assert turns._free.locked()
            turn.goes_on()
        await asyncio.wait_for(turns.take(), 30)

    asyncio.run(slow())
