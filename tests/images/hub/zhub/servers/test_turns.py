"""Starts of servers wait for their turn."""

from __future__ import annotations

import asyncio

from zhub.servers.turns import Turns


def test_who_comes_first_is_ready_first() -> None:
    """So that in a rush half of the users wait about half as long as the last one."""
    ready: dict[int, float] = {}

    async def rush() -> None:
        turns = Turns(at_a_time=2)
        loop = asyncio.get_running_loop()
        begin = loop.time()

        async def start(number: int) -> None:
            end = await turns.take()
            await asyncio.sleep(0.05)
            end()
            ready[number] = loop.time() - begin

        await asyncio.gather(*map(start, range(20)))

    asyncio.run(rush())
    assert list(ready) == sorted(ready)
    waits = list(ready.values())
    assert waits[9] < 0.75 * waits[-1]


def test_a_start_that_lasts_too_long_gives_its_turn_away() -> None:
    async def second() -> None:
        turns = Turns(at_a_time=1, longest=0.1)
        late = await turns.take()
        end = await asyncio.wait_for(turns.take(), 30)
        # Ended once by its length: this must let nobody else go ahead.
        late()
        end()
        end()
        last = await turns.take()
        assert turns._free.locked()
        last()

    asyncio.run(second())
