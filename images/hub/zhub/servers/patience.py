"""How long a start may take: as long as it makes progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from zhub.servers.unavailable import NoServerError


class Patience:
    """Ends a start that has not reached its next step within a number of seconds.

    It does not end a start that is slow as a whole. On an overloaded machine each step takes long,
    and a start that is given up has only cost time that the others need.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit: asyncio.Timeout | None = None

    @asynccontextmanager
    async def limited(self, step: Callable[[], str]) -> AsyncIterator[None]:
        """Limit the steps of a start; `step` returns the words for the present one.

        Raises:
            NoServerError: when a step has taken too long.
        """
        try:
            async with asyncio.timeout(self._seconds) as self._limit:
                yield
        except TimeoutError:
            if not (self._limit and self._limit.expired()):
                raise
            raise NoServerError(
                f"The start of your server made no progress for {self._seconds:.0f} seconds, so it"
                f" was given up ({step()}). Please try again. If this happens again, tell your"
                " administrator: startTimeout is how long a step may take."
            ) from None
        finally:
            self._limit = None

    def goes_on(self) -> None:
        """Note that the start has come to its next step."""
        if self._limit:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
