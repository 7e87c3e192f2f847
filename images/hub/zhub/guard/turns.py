"""Turns of calls that start or connect one container: in the midst of one, no other may begin."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class Turns:
    """Lets one call at a time start or connect a container; others of the same one wait.

    Nothing is kept of a container when no call has its turn or waits for it.
    """

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    @contextmanager
    def of(self, container: str) -> Iterator[None]:
        """Wait for the turn, and have it until the caller is done.

        Args:
            container: its whole ID: names and beginnings of IDs would be other containers.
        """
        with self._looking:
            lock = self._locks.setdefault(container, threading.Lock())
        with lock:
            yield

    def __len__(self) -> int:
        """Return of how many containers somebody has a turn, or waits for it."""
        return len(self._locks)
