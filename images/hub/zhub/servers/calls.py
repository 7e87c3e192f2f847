"""Calls to the engine: side by side for different users, one after the other for the same one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

from docker.errors import APIError, DockerException

from zhub.contract import FULL, UPDATING
from zhub.heartbeat import unanswered

T = TypeVar("T")

CALLING = ThreadPoolExecutor(16, thread_name_prefix="engine")
"""Threads of all calls but one. The guard has as many."""

STOPPING = ThreadPoolExecutor(16, thread_name_prefix="stop")
"""Threads of the call that stops a server: it lasts until the server has ended, ten seconds if the
server ignores the signal, which a user can arrange. All other calls would wait meanwhile."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10
"""Seconds between two attempts of a call that must get an answer; each pause is twice the last."""

AWAY_SECONDS = 8
"""How long a call waits for a guard that an `up` or the engine restarts, or that is already the one
of the next hub. A new guard takes three seconds, and more under emulation. Meanwhile a browser has
the page of the start, which then says why it failed. A client of the API that waited longer than
ten seconds (`slow_spawn_timeout`) would have to ask for that."""

log = logging.getLogger(__name__)


class Calls:
    """The calls of one user's server.

    Each waits for the one before, even for one that nobody waits for any more: what a cancelled
    start has asked for may still happen, and must not happen after the clean-up.
    """

    _away: ClassVar[bool] = False
    """Whether the last call of anybody was given up: those after it, such as the clean-up behind a
    start that has failed, do not wait once more."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def make(
        self, call: Callable[..., Any], *arguments: Any, threads: ThreadPoolExecutor = CALLING
    ) -> Any:
        """Make a call in a thread and return its answer."""
        return await asyncio.shield(self._made(call, arguments, threads))

    async def _made(
        self, call: Callable[..., Any], arguments: tuple[Any, ...], threads: ThreadPoolExecutor
    ) -> Any:
        loop = asyncio.get_running_loop()
        async with self._turn:
            end = loop.time() + (0 if Calls._away else AWAY_SECONDS)
            while True:
                try:
                    answer = await loop.run_in_executor(threads, call, *arguments)
                except Exception as error:
                    heard = not unheard(error)
                    if heard or loop.time() >= end:
                        Calls._away = not heard
                        raise
                else:
                    Calls._away = False
                    return answer
                await asyncio.sleep(FIRST_PAUSE)


def unheard(error: BaseException | None) -> bool:
    """Return whether a call was certainly not carried out, and can be made again.

    Nobody has listened at the guard's socket, or the guard is already that of the next hub.
    """
    if isinstance(error, APIError):
        return bool(error.explanation == UPDATING)
    if not unanswered(error):
        return False
    # requests and urllib3 each wrap the system's error.
    inner: list[Any] = [error]
    while inner:
        one = inner.pop()
        if isinstance(one, (ConnectionRefusedError, FileNotFoundError)):
            return True
        if isinstance(one, BaseException):
            inner += [*one.args, one.__cause__]
    return False


def undecided(error: BaseException) -> bool:
    """Return whether an error says nothing about the container, so that one has to ask again.

    That is any silence, and any failure of engine or guard themselves.
    """
    if isinstance(error, APIError):
        return bool(error.is_server_error()) and error.status_code != FULL
    return isinstance(error, (DockerException, OSError))


async def answered(ask: Callable[[], Awaitable[T]], what: str) -> T:
    """Ask until the engine has decided, however long it takes; `what` is for the log."""
    pause = FIRST_PAUSE
    silent = False
    while True:
        try:
            answer = await ask()
        except Exception as error:
            if not undecided(error):
                raise
            if not silent:
                log.warning("%s: no answer of the engine, asking again: %s", what, error)
            silent = True
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            if silent:
                log.info("%s: the engine has answered", what)
            return answer
