"""How much is free where homes are in a folder of the site's choice, on a disk of its own maybe."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import requests.exceptions
from docker.errors import DockerException
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zhub.guard.homes import Homes
from zhub.guard.renewal import Renewal

FRESH = 600
"""Seconds during which a look is not repeated: it needs a container."""

log = logging.getLogger(__name__)

Failure = (RuntimeError, ValueError, DockerException, requests.exceptions.RequestException)


class HomesDisk(Collector):
    """The file system of homesPath, which only the engine's machine can see.

    A scrape gets what is known and never waits. If that is old, a thread looks again, for the next
    scrape; it is not the one that asks the engine, since a file system of the network may hang.
    """

    def __init__(self, homes: Homes, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare to look.

        Args:
            homes: of a stack with homesPath.
            clock: returns seconds.
        """
        self._homes = homes
        self._renewal = Renewal(self._renew, FRESH, "homes disk", clock)
        self._known: tuple[int, int] | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield what is known, and have it renewed when it is old."""
        if self._known:
            size, free = self._known
            yield GaugeMetricFamily(
                "guard_homes_disk_size_bytes", "Size of homesPath's file system", value=size
            )
            yield GaugeMetricFamily("guard_homes_disk_free_bytes", "What is free of it", value=free)
        self._renewal.when_old()

    def _renew(self) -> None:
        try:
            self._known = self._homes.disk()
        except Failure as error:
            # Old numbers would look like new ones.
            self._known = None
            log.warning("what is free in homesPath is not known: %s", error)
