"""Waits until a server that has just been started listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE = 0.05
"""Seconds between two attempts to connect. Later pauses are a twentieth of the time so far: in a
rush a start takes many seconds, and attempts every 50 ms took about a tenth of the hub's time."""

POLL_SECONDS = 2
"""Seconds after which the engine is asked whether a server that does not listen has ended."""

ATTEMPT_SECONDS = 8
"""Seconds that one attempt may take, as in the proxy. Where a server has just ended, nothing
answers, and the system would go on trying for two minutes."""


async def ended(host: str, port: int, poll: Callable[[], Awaitable[T | None]]) -> T | None:
    """Return None when the server listens, or the first other answer of `poll`."""
    begin = asked = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                _, connection = await asyncio.open_connection(host, port)
        except OSError:
            pass
        else:
            connection.close()
            return None
        now = time.monotonic()
        if now - asked >= POLL_SECONDS:
            if (answer := await poll()) is not None:
                return answer
            asked = now
        await asyncio.sleep(max(FIRST_PAUSE, (now - begin) / 20))
