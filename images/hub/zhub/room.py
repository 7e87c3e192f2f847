"""Room for so many lines at once, and then for so many a second."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000
"""Users and addresses whose rooms are remembered, those that were asked for last."""


class Room:
    """What is left of it."""

    def __init__(self, most: int, per_second: float, clock: Callable[[], float]) -> None:
        self._most, self._per_second, self._clock = most, per_second, clock
        self._left, self._since = float(most), clock()

    def take(self) -> bool:
        """Take room for a line, if there is any."""
        now = self._clock()
        # A clock that is set back must not take room away.
        passed = max(0.0, now - self._since)
        self._left = min(self._most, self._left + passed * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Rooms:
    """A room for each user or address."""

    def __init__(self, most: int, per_second: float, clock: Callable[[], float]) -> None:
        self._each = most, per_second, clock
        self._known: OrderedDict[str, Room] = OrderedDict()

    def take(self, whose: str) -> bool:
        """Take room for a line, if there is any."""
        room = self._known.setdefault(whose, Room(*self._each))
        self._known.move_to_end(whose)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return room.take()
