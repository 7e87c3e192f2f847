"""Waits until the container's packet filter stands, where the container starts with its network.

A service of a swarm has its interfaces before any of its processes runs, and the guard of its node
sets the filter only when it hears of the start. A process without capabilities cannot read the
filter. But the filter refuses one address of the container's own loopback in a way that nothing
else does: without a filter nobody listens there, and the kernel says so (ECONNREFUSED). What
answers is the network namespace itself, so nobody outside can pretend it; and a container that is
started again, in a new namespace, waits again.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import MutableMapping

VARIABLE = "ZHUB_AWAIT_FILTER"
"""HOST:PORT of that address; not set where the filter comes first, as on a single engine."""

SECONDS = 60
"""How long a guard may take, which also starts a container for it."""

PAUSE = 0.02
ANSWER = 0.2
"""Seconds between two tries, and for each: the kernel limits how often it says that something is
prohibited."""


def stands(host: str, port: int) -> bool:
    """Return whether the filter refuses the address, as no missing listener does."""
    with socket.socket() as probe:
        # With a limit, connecting does not block. A call that blocks gets the kernel's error only
        # when it tries again, after a second: the error comes while it holds the socket.
        probe.settimeout(ANSWER)
        return probe.connect_ex((host, port)) == errno.EHOSTUNREACH


def wait(environment: MutableMapping[str, str], seconds: float = SECONDS) -> None:
    """Wait for the filter if the environment says so; the variable is then gone.

    Exits when the seconds have passed: a server must not run without a filter.
    """
    where = environment.pop(VARIABLE, "")
    if not where:
        return
    host, _, port = where.rpartition(":")
    end = time.monotonic() + seconds
    while not stands(host, int(port)):
        if time.monotonic() > end:
            sys.exit(f"no packet filter was set for this server in {seconds:g} s: it does not run")
        time.sleep(PAUSE)
