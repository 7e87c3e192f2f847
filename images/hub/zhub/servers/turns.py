"""Starts of servers, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import os

AT_A_TIME = max(4, os.cpu_count() or 1)
"""Starts under way. A start keeps a processor busy for about a second; more of them at a time end
no sooner, and then all together: everybody would wait as long as the last one."""

LONGEST = 30
"""Seconds without a next step after which a start gives up its turn, so that servers that hang do
not delay the others."""


class Turn:
    """One start that goes ahead, until it has ended or hangs."""

    def __init__(self, free: asyncio.Semaphore, longest: float) -> None:
        self._free = free
        self._longest = longest
        self._taken = True
        self._late = self._soon()

    def _soon(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._longest, self.end)

    def goes_on(self) -> None:
        """Note that the start has come to its next step.

        Where the machine has too much to do, each step takes long. If starts then gave their turns
        away, all of them would soon be under way at the same time, and none would end.
        """
        if self._taken:
            self._late.cancel()
            self._late = self._soon()

    def end(self) -> None:
        """Let the next one go ahead; may be called more than once."""
        if self._taken:
            self._taken = False
            self._late.cancel()
            self._free.release()


class Turns:
    """Lets a number of starts go ahead at a time, first come, first served."""

    def __init__(self, at_a_time: int = AT_A_TIME, longest: float = LONGEST) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self._longest = longest

    async def take(self) -> Turn:
        """Wait for a turn."""
        await self._free.acquire()
        return Turn(self._free, self._longest)
