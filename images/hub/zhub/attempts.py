"""Slows guessing of passwords down, without a way to lock somebody else out."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from ipaddress import ip_address, ip_network

SECONDS = 300
"""How long a failed login counts."""

PER_NAME = 5
"""Failed logins for one name from one address."""

PER_ADDRESS = 50
"""Failed logins from one address for names that have not logged in from there before."""

REMEMBERED = 10_000
"""Names and addresses kept in mind, the latest of them."""


class Attempts:
    """Counts failed logins for each name and address, or browser (`zhub.origin`).

    A stranger elsewhere has an address of their own, so that the owner of the name can log in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, name: str, address: str) -> float:
        """Seconds until another login may be tried; 0 for now, and then it counts as failed.

        To count it at once keeps a burst of logins at the same time within the limits.
        """
        address = _origin(address)
        pair = (name.lower(), address)
        limits: list[tuple[Hashable, int]] = [(pair, PER_NAME)]
        if pair not in self._known:
            limits.append((address, PER_ADDRESS))
        now = self._clock()
        waits = [self._wait(key, limit, now) for key, limit in limits]
        if not any(waits):
            for key, _ in limits:
                self._recent(key, now).append(now)
        return max(waits)

    def succeeded(self, name: str, address: str) -> None:
        """Forget failed logins of somebody who then knew the password."""
        pair = (name.lower(), _origin(address))
        self.undo(name, address)
        self._failures.pop(pair, None)
        self._known[pair] = None
        self._known.move_to_end(pair)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def undo(self, name: str, address: str) -> None:
        """Take the latest login back: the directory did not say that it had failed."""
        address = _origin(address)
        pair = (name.lower(), address)
        for key in (pair,) if pair in self._known else (pair, address):
            if failures := self._failures.get(key):
                failures.pop()

    def _recent(self, key: Hashable, now: float) -> deque[float]:
        failures = self._failures.setdefault(key, deque())
        self._failures.move_to_end(key)
        while failures and failures[0] <= now - SECONDS:
            failures.popleft()
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return failures

    def _wait(self, key: Hashable, limit: int, now: float) -> float:
        failures = self._recent(key, now)
        return failures[-limit] + SECONDS - now if len(failures) >= limit else 0


def _origin(address: str) -> str:
    """What stands for one place: of IPv6 the network, in which one machine has any address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else address
