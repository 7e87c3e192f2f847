"""Ends a process that hangs. Docker starts containers again that end, not those that hang."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

SILENCE = 90
"""Seconds without a sign of life after which a process counts as hung. Its event loop gives one
every few seconds, and is never busy that long with anything else."""

BEAT_SECONDS = 5

log = logging.getLogger(__name__)


def watched(silence: float = SILENCE) -> Callable[[], None]:
    """Go on in a child process, and return the function by which it says that it lives.

    The watch begins with the first sign of life: how long a start takes depends on the machine. The
    present process only waits, passes signals on, and ends as the child ends.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    child = os.fork()
    if child:
        os.close(writing)
        _wait(child, reading, silence / 2)
        _, status = os.waitpid(child, 0)
        sys.stdout.flush()
        os._exit(abs(os.waitstatus_to_exitcode(status)))
    os.close(reading)

    def lives() -> None:
        with suppress(BlockingIOError):
            try:
                os.write(writing, b".")
            except BrokenPipeError:
                # Nobody would notice if this hangs, and nobody passes signals on.
                log.critical("what watches this process has ended, and so does this")
                os.kill(os.getpid(), signal.SIGTERM)

    return lives


def _wait(child: int, reading: int, half: float) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(child, number))
    began, missed = False, 0
    # Twice half the time: after a pause of the whole container, the child gets to speak first.
    while missed < 2:
        ready, _, _ = select.select([reading], [], [], half if began else None)
        if not ready:
            missed += 1
        elif os.read(reading, 4096):
            began, missed = True, 0
        else:
            return
    log.critical("hangs: no sign of life for %d s; ended, to be started again", 2 * half)
    os.kill(child, signal.SIGKILL)


async def beat(lives: Callable[[], None]) -> None:
    """Say that the process lives, for as long as its event loop runs."""
    while True:
        lives()
        await asyncio.sleep(BEAT_SECONDS)
