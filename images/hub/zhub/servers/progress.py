"""What the page shows while a server starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

SLOWLY = 70
"""Percent from which on the bar creeps: nobody knows how long JupyterLab will take to load."""

ALMOST = 95
"""Percent at which it stops until the server answers."""

PERCENT_SECONDS = 1.0
"""Seconds for each percent in between."""


class Progress:
    """The steps of one start. A page that is opened late gets them all."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()

    @property
    def now(self) -> str:
        """What the last step says."""
        return str(self._events[-1]["message"]) if self._events else ""

    async def reached(self, percent: int, message: str) -> None:
        """Note that a step begins."""
        async with self._changed:
            self._events.append({"progress": percent, "message": message})
            self._changed.notify_all()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the steps as they come; JupyterHub ends this when the server answers or fails."""
        shown = 0
        percent = 0
        while True:
            for event in self._events[shown:]:
                percent = event["progress"]
                yield event
            shown = len(self._events)
            try:
                async with asyncio.timeout(PERCENT_SECONDS), self._changed:
                    await self._changed.wait_for(lambda: len(self._events) > shown)  # noqa: B023
            except TimeoutError:
                if SLOWLY <= percent < ALMOST:
                    percent += 1
                    yield {"progress": percent}
