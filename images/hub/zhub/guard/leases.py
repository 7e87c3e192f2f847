"""When servers on machines that do not answer have ended all the same."""

from __future__ import annotations

import time

from zhub.contract import LEASE_SECONDS

OVER_SECONDS = LEASE_SECONDS + 30
"""How long after its removal a server on a machine that does not answer may run on: a request may
be under way, the hub forgets the token a moment later, and the server looks every five seconds."""

KEPT_SECONDS = 24 * 3600
"""After that time, the swarm itself gives up tasks of machines that do not answer."""


class Leases:
    """When servers that were removed have certainly ended, wherever they were.

    The hub forgets a server's token when it stops the server. From then on the server has no answer
    that counts, and ends itself when its lease is over (zsingleuser/lease.py).
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._held: dict[str, float] = {}

    def end(self, task: str) -> None:
        """Note that a server was removed."""
        now = time.monotonic()
        self._since = {one: at for one, at in self._since.items() if now - at < KEPT_SECONDS}
        self._since.setdefault(task, now)

    def left(self, task: str) -> float:
        """Return the seconds that a server which was removed may still run.

        One that is not known was removed before this guard has started.
        """
        self.end(task)
        return _left_since(self._since[task])

    def hold(self, user: str) -> None:
        """Note that a user's server was removed of which nobody will say when it has ended.

        Its task is gone from the managers with its service, so it is known by the user.
        """
        self._held[user] = time.monotonic()

    def held(self, user: str) -> float:
        """Return the seconds that such a server may still run."""
        return _left_since(self._held[user]) if user in self._held else 0


def _left_since(removed: float) -> float:
    return max(0, removed + OVER_SECONDS - time.monotonic())


def in_words(seconds: float) -> str:
    """Return seconds as a text for users, rounded up to minutes."""
    minutes = -(-int(seconds) // 60)
    return f"{minutes} minutes" if minutes > 1 else "a minute"
