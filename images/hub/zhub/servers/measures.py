"""What the hub counts of the starts of users' servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus

from docker.errors import APIError, ImageNotFound
from prometheus_client import Counter, Histogram

from zhub.contract import FULL
from zhub.heartbeat import unanswered
from zhub.servers.last_words import EndedError

BOUNDS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
"""Upper bounds of a stage's time, in seconds."""


class Stage(StrEnum):
    """Where a start is, in this order."""

    TURN = "turn"
    """Waits, since many start at once."""
    FILES = "files"
    """What is left of the last server goes, and the home is found."""
    CONTAINER = "container"
    """Makes and starts the container, and the network meanwhile."""
    NETWORK = "network"
    """The container gets its filter, and its network."""
    SERVER = "server"
    """Waits until JupyterLab listens."""


class Outcome(StrEnum):
    """How a start ends."""

    SUCCESS = "success"
    FULL = "full"
    """No more servers are allowed."""
    IMAGE = "image_missing"
    SILENT = "engine_silent"
    """Engine or guard does not answer."""
    ENDED = "ended"
    """The server has ended by itself."""
    CANCELLED = "cancelled"
    """Nobody waits for it any more: it took longer than allowed, or the hub ends."""
    FAILED = "failed"


STARTS = Counter(
    "zhub_server_starts",
    "Starts of users' servers by outcome, and the stage in which they ended",
    ["outcome", "stage"],
)
SECONDS = Histogram(
    "zhub_server_start_stage_seconds",
    "How long the stages of a start take, also of one that fails",
    ["stage"],
    buckets=BOUNDS,
)

# From the start on, so that an alert sees the first of a kind as an increase.
for _stage in Stage:
    SECONDS.labels(_stage)
    for _outcome in Outcome if _stage is not Stage.TURN else ():
        STARTS.labels(_outcome, _stage)


def outcome(error: BaseException) -> Outcome:
    """Return what an error means for a start."""
    if isinstance(error, ImageNotFound):
        return Outcome.IMAGE
    status = error.status_code if isinstance(error, APIError) else None
    if status == FULL:
        return Outcome.FULL
    if status == HTTPStatus.BAD_GATEWAY or unanswered(error):
        return Outcome.SILENT
    if isinstance(error, EndedError):
        return Outcome.ENDED
    if isinstance(error, asyncio.CancelledError):
        return Outcome.CANCELLED
    return Outcome.FAILED


class Measure:
    """One start: its stages with their times, and its end."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._began = 0.0
        self.outcome = Outcome.CANCELLED
        """Of the last start."""

    def reached(self, stage: Stage) -> None:
        """End the stage before, and begin one."""
        self._over()
        self._stage, self._began = stage, time.monotonic()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the start when it ends."""
        result = Outcome.SUCCESS
        try:
            yield
        except BaseException as error:
            result = outcome(error)
            raise
        finally:
            self.outcome = result
            if self._stage:
                STARTS.labels(result, self._stage).inc()
            self._over()

    def _over(self) -> None:
        if self._stage:
            SECONDS.labels(self._stage).observe(time.monotonic() - self._began)
        self._stage = None
