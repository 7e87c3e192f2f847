"""Slows guessing of passwords down, without a way to lock somebody else out."""

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
"""Failed logins for one name from one address."""

PER_ADDRESS = 50
"""Failed logins from one address for names that have not logged in from there before."""

REMEMBERED = 10_000
"""Names and addresses kept in mind, those that failed or logged in last."""

WAITING = 500
"""Logins from one address that wait for their turn; a class that logs in at once is well below."""

WAITING_IN_ALL = 2_000
"""Logins that wait for their turn, wherever they come from."""

PATIENCE = 180
"""Seconds a login waits for its turn: two hundred take a slow directory most of that."""


class TooManyFailuresError(Exception):
    """So many have failed that the next login has to wait; `seconds` says how long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many failed logins: {seconds:.0f} s")
        self.seconds = seconds


class BusyError(Exception):
    """Too many logins are under way from there, and this one's turn does not come."""


@dataclass(eq=False)
class Turn:
    """One login, from when it may ask the directory until that has answered.

    It counts as failed unless one of the two methods says otherwise.
    """

    pair: tuple[str, str]
    """Name in lower case, and where it comes from."""
    limits: dict[Hashable, int] = field(default_factory=dict)
    """What it counts for, with how many failures each may have."""
    right: bool = False
    counts: bool = True

    def succeeded(self) -> None:
        """The password was right."""
        self.right, self.counts = True, False

    def was_not_sent(self) -> None:
        """Nobody has been asked, so nothing was tried."""
        self.counts = False


class Attempts:
    """Counts failed logins for each name and address, or browser (`zhub.front.origin`).

    A stranger elsewhere has an address of their own, so that the owner of the name can log in.

    Logins under way are counted apart from those that have failed: no more of them run at a time
    than might still fail. So a burst of guesses stays within the limits, and a class that logs in
    at the same moment from one address gets in, one after the other.
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
        """Wait until a login may be tried, and count what becomes of it.

        Raises:
            TooManyFailuresError: so many have failed that this one must not be tried now.
            BusyError: too many wait already, or its turn has not come within PATIENCE.
        """
        turn = Turn((name.lower(), network(address)))
        if not self._may_start(turn):
            await self._wait(turn)
        try:
            yield turn
        finally:
            self._end(turn)

    def _may_start(self, turn: Turn) -> bool:
        """Start a login, if as many may still fail as are under way; say whether it has started.

        Raises:
            TooManyFailuresError: it must not start before some failures are forgotten.
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
        # Nothing is made for who is refused: addresses have no end.
        if self._waiting_in_all >= WAITING_IN_ALL or len(self._waiting.get(address, ())) >= WAITING:
            raise BusyError
        waiting = self._waiting.setdefault(address, {})
        start = waiting[turn] = asyncio.get_running_loop().create_future()
        self._waiting_in_all += 1
        try:
            await asyncio.wait_for(start, PATIENCE)
        except (TimeoutError, asyncio.CancelledError) as error:
            # Either may come in the very moment in which the turn has been started (the first since
            # Python 3.12): nobody else would end it. Otherwise nothing may start it afterwards.
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
                # In the order of the last failures: what is forgotten is what counts the shortest.
                self._failures.move_to_end(key)
                if len(self._failures) > REMEMBERED:
                    self._failures.popitem(last=False)
        self._start_waiting(turn.pair[1])

    def _start_waiting(self, address: str) -> None:
        """Start those of an address whose turn has come, in their order."""
        for turn, start in self._waiting.get(address, {}).items():
            if start.done():
                continue
            try:
                if self._may_start(turn):
                    start.set_result(None)
            except TooManyFailuresError as error:
                start.set_exception(error)

    def _recent(self, key: Hashable, now: float) -> deque[float]:
        """What still counts.

        To look leaves nothing behind: refused tries are free, and with a new name each they would
        push the failures of others out.
        """
        failures = self._failures.get(key)
        if failures is None:
            return deque()
        while failures and failures[0] <= now - SECONDS:
            failures.popleft()
        if not failures:
            del self._failures[key]
        return failures
