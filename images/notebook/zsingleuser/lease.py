"""Ends a server that cannot reach its hub: its user may have another one elsewhere by then.

On a swarm, a machine that is cut off goes on running its servers, and the swarm cannot end them. So
a server may use its home for a time only, the lease. It asks the hub for something every half
minute. When there was no answer for the time of the lease, its first process ends everything in the
container. The user's programs can neither end nor stop that process (first.py), and it needs
neither the engine nor the network for it. The hub forgets a server's token when it stops the
server. So the guard knows when the lease is over, and lets the user start elsewhere only then
(zhub/guard/leases.py).

The time is since the machine started, also while it was suspended, and no other machine's.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from urllib.request import Request, urlopen

VARIABLE = "ZHUB_LEASE"
"""Seconds; not set where there is one machine, and so no second server."""

RENEWAL = 30
"""Seconds between two requests."""

ANSWER = 60
"""Seconds that the hub may take for one: where processors are short it may take long, and no server
is to end for that."""

SENT = struct.Struct("d")
"""What the server sends to the first process: when it sent a request that was then answered. An
answer counts from when its request was sent, not from when it arrived."""

LOOK = 5
"""Seconds between two looks of the first process. For so long, a server may still write after its
lease is over."""


def boottime() -> float:
    """Return seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """What the server sends to the first process, which ends the server by it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = boottime) -> None:
        """Begin now; before the server's process is forked from the first one."""
        self._seconds = seconds
        self._clock = clock
        self._renewed = clock()
        # Not inherited by what the server starts: only the server itself can renew it.
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def renew(self, sent: float) -> None:
        """Say, in the server, that the hub has answered what was sent at that time."""
        with suppress(BlockingIOError):  # enough has been said
            os.write(self._writing, SENT.pack(sent))

    def over(self) -> bool:
        """Return, in the first process, whether the hub has not answered for too long."""
        with suppress(BlockingIOError):
            # Whole ones: a pipe takes all of so few bytes or none.
            for (sent,) in SENT.iter_unpack(os.read(self._reading, SENT.size << 9)):
                self._renewed = max(self._renewed, sent)
        return self._clock() - self._renewed > self._seconds

    def watch(self, server: int) -> None:
        """End the server, from the first process, when the lease is over."""

        def look(*_: object) -> None:
            if self.over():
                print(
                    f"the hub has not answered for {self._seconds:g} s, so this server ends:"
                    " its user may have another one by now",
                    file=sys.stderr,
                    flush=True,
                )
                # The first process then ends, and all others with it.
                os.kill(server, signal.SIGKILL)

        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)

    def unwatch(self) -> None:
        """Look no more, since the server has ended.

        At its own end, Python stops handling signals: the next one would end the first process, and
        its exit status would not be the server's.
        """
        signal.setitimer(signal.ITIMER_REAL, 0)

    def keep(self, environment: Mapping[str, str]) -> None:
        """Renew it, in the server, for as long as the hub answers.

        In a thread of its own: a server that is busy is not one that is cut off.
        """
        request = Request(
            f"{environment['JUPYTERHUB_API_URL']}/user",
            headers={"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"},
        )

        def keep() -> None:
            while True:
                sent = self._clock()
                # Not of an error, such as of a hub that does not know the token any more.
                with suppress(OSError, HTTPException), urlopen(request, timeout=ANSWER):
                    self.renew(sent)
                time.sleep(RENEWAL)

        threading.Thread(target=keep, name="lease", daemon=True).start()


def of(environment: Mapping[str, str]) -> Lease | None:
    """Return the lease that the environment asks for; None for none."""
    seconds = float(environment.get(VARIABLE) or 0)
    return Lease(seconds) if seconds else None
