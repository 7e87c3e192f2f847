"""Reports whether the engine answers: to health checks in a file, to operators in the log.

A health check that asked the engine itself would start Python each time, which takes seconds under
emulation.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import docker
import requests.exceptions
from docker.errors import DockerException
from docker.utils import kwargs_from_env

SECONDS = 5
"""Seconds between two requests; zhub-health fails when the last answer is older than 30."""

ANSWER_SECONDS = 10
"""Timeout of a request."""

HUB_FILE = Path("/tmp/zhub-heartbeat")  # noqa: S108 - the hub's container has no other user
GUARD_FILE = Path("/run/guard/heartbeat")

log = logging.getLogger(__name__)

Failure = (DockerException, requests.exceptions.RequestException, OSError)


class Heartbeat(threading.Thread):
    """Asks periodically, and writes the time of the last answer to a file."""

    def __init__(self, path: Path, ask: Callable[[], object], who: str) -> None:
        """Prepare to ask; the file must be writable for this user.

        Args:
            path: of the file, which holds seconds since the machine started, as in /proc/uptime:
                setting the clock does not affect it.
            ask: sends the request; raises docker's errors when there is no answer.
            who: name of the one asked, for the log.
        """
        super().__init__(name="heartbeat", daemon=True)
        self._path = path
        self._ask = ask
        self._who = who
        self._answered = True

    def run(self) -> None:
        """Ask until the process ends."""
        while True:
            self.beat()
            time.sleep(SECONDS)

    def beat(self) -> None:
        """Ask once; log only changes."""
        try:
            self._ask()
        except Failure as error:
            if self._answered:
                log.error("%s does not answer: %s", self._who, error)  # noqa: TRY400 - one line
            self._answered = False
            return
        if not self._answered:
            log.info("%s answers again", self._who)
        self._answered = True
        # Not writable in some containers that are run by hand, which have no health check.
        with suppress(OSError):
            self._path.write_text(f"{int(time.clock_gettime(time.CLOCK_BOOTTIME))}\n")


def unanswered(error: BaseException | None) -> bool:
    """Return whether an error of docker's client means that there was no answer."""
    silence = requests.exceptions.ConnectionError | requests.exceptions.Timeout
    # A client that asks for the engine's version first raises an error of its own from these.
    return isinstance(error, silence) or (
        isinstance(error, DockerException) and isinstance(error.__cause__, silence)
    )


class OneLine(logging.Filter):
    """Drops tracebacks of lost connections, which the heartbeat reports in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        return not (record.exc_info and unanswered(record.exc_info[1]))


def of_hub(prefix: str, *, guarded: bool) -> Heartbeat:
    """Return the heartbeat of a hub, which asks DOCKER_HOST: the guard, or an engine."""
    client = docker.APIClient(version="1.24", timeout=ANSWER_SECONDS, **kwargs_from_env())
    who = (
        f"the guard (docker logs {prefix}-guard), without which no server starts or stops,"
        if guarded
        else "the engine, without which no server starts or stops,"
    )
    return Heartbeat(HUB_FILE, lambda: client.version(api_version=False), who)


def of_engine(socket: Path) -> Heartbeat:
    """Return the heartbeat of the guard of a node, which nobody asks: it asks its engine."""
    client = docker.APIClient(f"unix://{socket}", version="1.24", timeout=ANSWER_SECONDS)
    return Heartbeat(GUARD_FILE, lambda: client.version(api_version=False), "the engine")


def of_guard(socket: Path) -> Heartbeat:
    """Return the heartbeat of the guard, which calls its own socket and through it the engine."""
    client = docker.APIClient(f"unix://{socket}", version="1.24", timeout=ANSWER_SECONDS)
    return Heartbeat(GUARD_FILE, lambda: client.version(api_version=False), "the engine")
