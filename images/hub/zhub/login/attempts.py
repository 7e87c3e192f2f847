"""Slows password guessing down, without letting anyone lock other users out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from zhub.front.origin import network

SECONDS = 300
"""How long a failed login counts."""

PER_NAME = 5
"""Failed logins allowed for one name from one address."""

PER_ADDRESS = 50
"""Failed logins allowed from one address for names that have not logged in from there before."""

REMEMBERED = 10_000
"""Names and addresses remembered: those whose last login or failure is the most recent."""

WAITING = 500
"""Logins from one address that may wait for their turn; a class that logs in at once has far
fewer."""

WAITING_IN_ALL = 2_000
"""Logins that may wait for their turn, from all addresses together."""

PATIENCE = 180
"""Seconds a login waits for its turn: a slow directory needs most of it for two hundred logins."""


class TooManyFailuresError(Exception):
    """After too many failures, the next login has to wait; `seconds` says how long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many failed logins: {seconds:.0f} s")
        self.seconds = seconds


class BusyError(Exception):
    """Too many logins are waiting, or this one's turn did not come in time."""


@dataclass(eq=False)
class Turn:
    """One login, from the moment it may ask the directory until the answer.

    It counts as failed unless one of the two methods is called.
    """

    pair: tuple[str, str]
    """Name in lower case, and where it comes from."""
    limits: dict[Hashable, int] = field(default_factory=dict)
    """The keys it counts for, and how many failures each may have."""
    right: bool = False
    counts: bool = True

    def succeeded(self) -> None:
        """Record that the password was right."""
        self.right, self.counts = True, False

    def was_not_sent(self) -> None:
        """Record that the password was not sent to a server, so that this is not a failure."""
        self.counts = False


class Attempts:
    """Counts failed logins for each name and address, or browser (`zhub.front.origin`).

    Failures of a stranger count for the stranger's address, so the owner of the name can still log
    in.

    Logins under way are counted as well: no more of them run at a time than may still fail. So a
    burst of guesses stays within the limits, and a class that logs in at the same moment from one
    address gets in, one after the other.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._running: Counter[Hashable] = Counter()
        self._waiting: dict[str, dict[Turn, asyncio.Future[None]]] = {}
        self._waiting_in_all = 0

    @asynccontextmanager
    async def turn(self, name: str, address: str) -> AsyncIterator[Turn]:
        """Wait until a login may be tried, and count its outcome.

        Raises:
            TooManyFailuresError: too many logins have failed to try this one now.
            BusyError: too many are waiting already, or its turn has not come within PATIENCE.
        """
        turn = Turn((name.lower(), network(address)))
        if not self._may_start(turn):
            await self._wait(turn)
        try:
            yield turn
        finally:
            self._end(turn)

    def _may_start(self, turn: Turn) -> bool:
        """Start a login if it and all logins under way may still fail; return whether it started.

        Raises:
            TooManyFailuresError: it must not start before some failures have expired.
        """
        turn.limits = {turn.pair: PER_NAME}
        if turn.pair not in self._known:
            turn.limits[turn.pair[1]] = PER_ADDRESS
        now = self._clock()
        recent = {key: self._recent(key, now) for key in turn.limits}
        seconds = max(
            failures[-turn.limits[key]] + SECONDS - now
            if len(failures) >= turn.limits[key]
            else 0.0
            for key, failures in recent.items()
        )
        if seconds > 0:
            raise TooManyFailuresError(seconds)
        if any(
            len(failures) + self._running[key] >= turn.limits[key]
            for key, failures in recent.items()
        ):
            return False
        self._running.update(turn.limits.keys())
        return True

    async def _wait(self, turn: Turn) -> None:
        address = turn.pair[1]
        # A refused login must not add an entry: there is no limit to the number of addresses.
        if self._waiting_in_all >= WAITING_IN_ALL or len(self._waiting.get(address, ())) >= WAITING:
            raise BusyError
        waiting = self._waiting.setdefault(address, {})
        start = waiting[turn] = asyncio.get_running_loop().create_future()
        self._waiting_in_all += 1
        try:
            await asyncio.wait_for(start, PATIENCE)
        except (TimeoutError, asyncio.CancelledError) as error:
            # Either may come just after the turn was started (a timeout only since Python 3.12):
            # then it must be ended here. Otherwise it must not be started afterwards.
            if not start.cancel() and not start.cancelled() and not start.exception():
                turn.was_not_sent()
                self._end(turn)
            if isinstance(error, TimeoutError):
                raise BusyError from None
            raise
        finally:
            self._waiting_in_all -= 1
            del waiting[turn]
            if not waiting and self._waiting.get(address) is waiting:
                del self._waiting[address]

    def _end(self, turn: Turn) -> None:
        self._running.subtract(turn.limits.keys())
        for key in turn.limits:
            if not self._running[key]:
                del self._running[key]
        if turn.right:
            self._failures.pop(turn.pair, None)
            self._known[turn.pair] = None
            self._known.move_to_end(turn.pair)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        elif turn.counts:
            now = self._clock()
            for key in turn.limits:
                self._failures[key] = failures = self._recent(key, now)
                failures.append(now)
                # Ordered by the last failure, so that the oldest is forgotten first.
                self._failures.move_to_end(key)
                if len(self._failures) > REMEMBERED:
                    self._failures.popitem(last=False)
        self._start_waiting(turn.pair[1])

    def _start_waiting(self, address: str) -> None:
        """Start the logins of an address whose turn has come, in their order."""
        for turn, start in self._waiting.get(address, {}).items():
            if start.done():
                continue
            try:
                if self._may_start(turn):
                    start.set_result(None)
            except TooManyFailuresError as error:
                start.set_exception(error)

    def _recent(self, key: Hashable, now: float) -> deque[float]:
        """Return the failures that still count.

        Adds no entry: refused logins cost the caller nothing, and with a new name each they would
        push out the failures of others.
        """
        failures = self._failures.get(key)
        if failures is None:
            return deque()
        while failures and failures[0] <= now - SECONDS:
            failures.popleft()
        if not failures:
            del self._failures[key]
        return failures
