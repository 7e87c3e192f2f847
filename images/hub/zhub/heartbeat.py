"""Says whether the engine answers: to health checks by a file, to people by a line in the log.

A health check that asked itself would start Python each time, which takes seconds under emulation.
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
"""Between two questions; zhub-health takes an answer for too old after 30."""

ANSWER_SECONDS = 10
"""How long an answer may take."""

HUB_FILE = Path("/tmp/zhub-heartbeat")  # noqa: S108 - the hub's container has no other user
GUARD_FILE = Path("/run/guard/heartbeat")

log = logging.getLogger(__name__)

Failure = (DockerException, requests.exceptions.RequestException, OSError)


class Heartbeat(threading.Thread):
    """Asks again and again, and writes down when there was an answer last."""

    def __init__(self, path: Path, ask: Callable[[], object], who: str) -> None:
        """Prepare to ask; the file must be writable for this user.

        Args:
            path: of the file: seconds since the machine started, as /proc/uptime counts them. A
                clock that is set changes nothing.
            ask: raises what docker does when nobody answers.
            who: is asked, as the log names it.
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
        """Ask once. What changes is said once, not each time."""
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
        # Where it cannot be written, by hand, nobody has asked for a health check.
        with suppress(OSError):
            self._path.write_text(f"{int(time.clock_gettime(time.CLOCK_BOOTTIME))}\n")


class OneLine(logging.Filter):
    """Leaves the tracebacks of polls to the one line that the heartbeat writes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(
            error, requests.exceptions.ConnectionError | requests.exceptions.Timeout
        )


def of_hub(prefix: str, *, guarded: bool) -> Heartbeat:
    """Return the heartbeat of a hub, which asks what DOCKER_HOST names: its guard, or an engine."""
    client = docker.APIClient(version="1.24", timeout=ANSWER_SECONDS, **kwargs_from_env())
    who = (
        f"the guard (docker logs {prefix}-guard), without which no server starts or stops,"
        if guarded
        else "the engine, without which no server starts or stops,"
    )
    return Heartbeat(HUB_FILE, lambda: client.version(api_version=False), who)


def of_guard(socket: Path) -> Heartbeat:
    """Return the heartbeat of the guard: a call of its own, which goes on to the engine."""
    client = docker.APIClient(f"unix://{socket}", version="1.24", timeout=ANSWER_SECONDS)
    return Heartbeat(GUARD_FILE, lambda: client.version(api_version=False), "the engine")
