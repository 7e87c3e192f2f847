"""What the guard counts, and what it asks the engine about users' servers and the machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import docker
import requests.exceptions
from docker.errors import DockerException
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from zhub.contract import USER, Role, labelled
from zhub.guard.renewal import Renewal

FOLDER = Path("/run/guard")
"""A volume on the engine's disk, as homes and images are."""

FRESH = 10
"""Seconds during which the engine is not asked again, however often the hub asks the guard."""

LAYERS_FRESH = 600
"""The same for what servers have written outside their homes: the engine adds up files for it."""

BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of a call's time, in seconds."""

READERS = 32
"""Servers that the engine is asked about at a time. Docker 20.10 answers only once a second, about
all of them at once."""

UNKNOWN = "unknown"
"""Stands for all calls that there are not: the hub must not make up labels."""

log = logging.getLogger(__name__)

Failure = (DockerException, requests.exceptions.RequestException)


def memory_in_use(stats: Mapping[str, Any]) -> int:
    """Return the bytes that a server cannot do without, as `docker stats` counts them.

    Files in the page cache that nobody uses do not count: the kernel drops them when it needs room.
    The key depends on the version of control groups.
    """
    memory = stats["memory_stats"]
    details = memory.get("stats", {})
    unused = details.get("inactive_file", details.get("total_inactive_file", 0))
    used = int(memory["usage"])
    return used - int(unused) if unused < used else used


def of_server(client: docker.APIClient, container: str) -> tuple[int, int, float] | None:
    """Return a server's bytes in use, those allowed, and its seconds; None when it has ended."""
    try:
        # Not two measurements, for a percentage, with a second between them.
        stats = client.stats(container, stream=False, one_shot=True)
        spent = stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        return memory_in_use(stats), int(stats["memory_stats"]["limit"]), spent
    except (*Failure, KeyError):
        return None


class Usage(Collector):
    """Memory and processor of users' servers, and the engine's machine.

    A scrape gets what is known and never waits for the engine. If that is old, a thread asks the
    engine anew, for the next scrape. So the cost is bounded, whoever asks and however often.
    """

    def __init__(
        self,
        client: docker.APIClient,
        stack: str,
        limit: int = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        swarm: bool = False,
    ) -> None:
        """Prepare to ask.

        Args:
            client: of the engine.
            stack: the prefix of its names.
            limit: bytes that all servers may take together (usersMemory); 0 for any number.
            clock: returns seconds.
            swarm: whether servers run on several machines, and the client is one of their managers.
        """
        self._client = client
        self._stack = stack
        self._limit = limit
        self._swarm = swarm
        self._labels = ["user", "node"] if swarm else ["user"]
        self._clock = clock
        self._renewal = Renewal(self._renew, FRESH, "usage", clock)
        self._known: list[Metric] = []
        self._layers_asked: float | None = None
        self._layers: dict[str, tuple[list[str], int]] = {}
        self._running: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Yield what is known, and have it renewed when it is old."""
        yield from self._known
        layer = GaugeMetricFamily(
            "guard_server_layer_bytes",
            "What a user's server has written outside home and shared folders, such as in /tmp",
            labels=self._labels,
        )
        # That of a server that has ended is gone from the disk.
        for one in self._layers.keys() & self._running:
            layer.add_metric(*self._layers[one])
        yield layer
        if self._limit:
            yield GaugeMetricFamily(
                "guard_users_memory_limit_bytes",
                "How much memory users' servers may take together (usersMemory)",
                value=self._limit,
            )
        disk = os.statvfs(FOLDER)
        for name, help_, blocks in (
            ("size", "Size of the engine's disk", disk.f_blocks),
            ("free", "What is free of it", disk.f_bavail),
        ):
            yield GaugeMetricFamily(
                f"guard_engine_disk_{name}_bytes", help_, value=blocks * disk.f_frsize
            )
        self._renewal.when_old()

    def _renew(self) -> None:
        try:
            self.renew()
            now, asked = self._clock(), self._layers_asked
            # On a swarm, each machine's guard adds up by itself.
            if asked is None or self._swarm or now - asked >= LAYERS_FRESH:
                self._layers_asked = now
                self.renew_layers()
        except Exception:
            # An answer that cannot be read. The next scrape asks again; old numbers would look like
            # new ones.
            log.exception("no metrics of the engine")
            self._known, self._running = [], set()

    def renew(self) -> None:
        """Ask the engine; what it does not answer is left out."""
        began = time.monotonic()
        up = GaugeMetricFamily("guard_engine_up", "Whether the engine answers the guard")
        try:
            machines = self._machines()
            servers = self._client.containers(filters=labelled(self._stack, Role.SERVER))
        except Failure as error:
            log.warning("no metrics of the engine: %s", error)
            up.add_metric([], 0)
            self._known, self._running = [up], set()
            return
        up.add_metric([], 1)
        total = GaugeMetricFamily(
            "guard_engine_memory_bytes",
            "Memory of the engine's machine; on a swarm, of each one that servers may run on",
            labels=self._labels[1:],
        )
        for labels, memory in machines:
            total.add_metric(labels, memory)
        count = GaugeMetricFamily(
            "guard_servers", "Containers of users' servers that run", value=len(servers)
        )
        used = list(self._servers(servers))
        took = GaugeMetricFamily(
            "guard_usage_seconds",
            "How long the engine took for the numbers of all servers",
            value=time.monotonic() - began,
        )
        self._known = [up, total, count, *used, took]
        self._running = {server["Id"] for server in servers}

    def _machines(self) -> list[tuple[list[str], int]]:
        """Return the memory of machines, with their labels."""
        if self._swarm:
            # Of a manager's client (swarm.py); docker's own has no such method.
            machines: Mapping[str, int] = self._client.machines()  # type: ignore[attr-defined]
            return [([name], memory) for name, memory in machines.items()]
        # The engine says 0 if it cannot find out (memInfo of moby's daemon/info.go).
        memory = self._client.info().get("MemTotal")
        return [([], memory)] if memory else []

    def _labelled(self, server: Mapping[str, Any]) -> list[str]:
        return [server["Labels"][USER], *([server["Node"]] if self._swarm else [])]

    def renew_layers(self) -> None:
        """Ask the engine what servers have written outside their homes, such as in /tmp."""
        try:
            servers = self._client.containers(filters=labelled(self._stack, Role.SERVER), size=True)
        except Failure as error:
            log.warning("no sizes of servers: %s", error)
            servers = []
        self._layers = {
            server["Id"]: (self._labelled(server), server.get("SizeRw", 0)) for server in servers
        }

    def _servers(self, servers: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "guard_server_memory_bytes",
            "Memory in use by a user's server, without the page cache",
            labels=self._labels,
        )
        limit = GaugeMetricFamily(
            "guard_server_memory_limit_bytes",
            "Memory that a user's server may take",
            labels=self._labels,
        )
        processor = CounterMetricFamily(
            "guard_server_cpu_seconds", "Processor time of a user's server", labels=self._labels
        )
        with ThreadPoolExecutor(READERS, thread_name_prefix="usage") as threads:
            asked = threads.map(partial(of_server, self._client), [one["Id"] for one in servers])
            for labels, numbers in zip(map(self._labelled, servers), asked, strict=True):
                if numbers:
                    used, allowed, spent = numbers
                    memory.add_metric(labels, used)
                    limit.add_metric(labels, allowed)
                    processor.add_metric(labels, spent)
        yield from (memory, limit, processor)


class Measures:
    """All that the guard counts; each guard has its own."""

    def __init__(self, usage: Usage) -> None:
        # They would be a third of all lines, and Prometheus does not need them in this format.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "guard_calls",
            "Calls of the hub: done, refused, outdated (refused, of a hub that an up replaces),"
            " full (no more servers), engine (an error of it), silent (no answer of it), or failed"
            " (an error of the guard)",
            ["call", "outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "guard_call_seconds",
            "How long a call takes that the guard knows",
            ["call"],
            buckets=BOUNDS,
            registry=self.registry,
        )
        self.expect(UNKNOWN)
        ProcessCollector(namespace="guard", registry=self.registry)
        self.registry.register(usage)

    def expect(self, *calls: str) -> None:
        """Count refusals of these calls from zero, so that an alert sees the first as an increase.

        To Prometheus, a series that begins with 1 has not increased.
        """
        for call in calls:
            self.calls.labels(call, "refused")

    def ended(self, call: str, outcome: str, seconds: float) -> None:
        """Count a call."""
        self.calls.labels(call, outcome).inc()
        if call != UNKNOWN:
            self.seconds.labels(call).observe(seconds)

    def text(self) -> str:
        """Return all in Prometheus' text format."""
        return generate_latest(self.registry).decode()
