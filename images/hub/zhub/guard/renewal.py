"""Renews what a scrape is told, beside it: a scrape gets what is known, and never waits."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Renewal:
    """Something that is asked anew in a thread of its own, and not while it is fresh.

    So the cost is bounded, whoever scrapes and however often.
    """

    def __init__(
        self, renew: Callable[[], None], fresh: float, name: str, clock: Callable[[], float]
    ) -> None:
        """Prepare to renew.

        Args:
            renew: asks; lets no error out.
            fresh: seconds during which it is not asked again.
            name: of the thread.
            clock: returns seconds.
        """
        self._ask = renew
        self._fresh = fresh
        self._name = name
        self._clock = clock
        self._asking = threading.Lock()
        self._asked: float | None = None

    def when_old(self) -> None:
        """Begin to ask if what is known is old, and nobody asks already."""
        old = self._asked is None or self._clock() - self._asked >= self._fresh
        if old and self._asking.acquire(blocking=False):
            threading.Thread(target=self._renew, name=self._name, daemon=True).start()

    def _renew(self) -> None:
        try:
            self._ask()
        finally:
            self._asked = self._clock()
            self._asking.release()
