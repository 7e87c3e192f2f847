"""Starts of servers, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

AT_A_TIME = max(4, os.cpu_count() or 1)
"""Starts under way. A start keeps a processor busy for about a second; more of them at a time end
no sooner, and then all together: everybody would wait as long as the last one."""

LONGEST = 30
"""Seconds after which a start counts no more, so that servers that hang do not stop the others."""


class Turns:
    """Lets a number of starts go ahead at a time, first come, first served."""

    def __init__(self, at_a_time: int = AT_A_TIME, longest: float = LONGEST) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self._longest = longest

    async def take(self) -> Callable[[], None]:
        """Wait for a turn; return what ends it, which may be called more than once."""
        await self._free.acquire()
        taken = True

        def end() -> None:
            nonlocal taken
            if taken:
                taken = False
                late.cancel()
                self._free.release()

        late = asyncio.get_running_loop().call_later(self._longest, end)
        return end
