"""What servers use on the machines of a swarm: each machine's guard says it, and the hub's asks.

Only the engine of a server's machine knows its memory and processor time. The guard there has no
network, and a worker's engine writes nothing that managers keep. So it prints a line of JSON now
and then to its standard output, and the guard beside the hub reads the last lines of its log, which
managers fetch from any machine. A line has servers by their tasks, and no names of users. Of a task
that the managers have not placed on a machine, that machine's word does not count.
"""

from __future__ import annotations

import json
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker
import requests.exceptions
from docker.errors import DockerException, NotFound

from zhub import logs
from zhub.contract import Role, labelled
from zhub.guard import measures
from zhub.guard.managers import Managers
from zhub.guard.services import NANO

PERIOD = 60
"""Seconds between two lines of a machine."""

ROUNDS = 10
"""In each such number of lines, the engine adds up once what servers have written elsewhere than in
their homes: it reads their files for it."""

TASK = "com.docker.swarm.task.id"
"""Label of a service's containers, with the task's ID. The engine sets it."""

OLD = 3 * PERIOD
"""Seconds after which a line counts no more, unless there is a new one."""

FRESH = 5
"""Seconds during which the machines are not asked again."""

TAIL = 20
"""Lines that are read: others may be among them."""

MOST = 1 << 20
"""Bytes that are read of a machine's log, and for how many seconds. Longer, no machine is waited
for: the managers may not have noticed yet that it does not answer."""
SECONDS = 5

AT_A_TIME = 16
"""Machines, or servers of one."""

STDOUT = 1

log = logging.getLogger(__name__)

Failure = (DockerException, requests.exceptions.RequestException)


@dataclass(frozen=True)
class Use:
    """What a server uses."""

    memory: int
    """Bytes in use, as in measures.py."""
    limit: int
    """Bytes that it may use."""
    processor: float
    """Seconds since it has started."""
    written: int | None
    """Bytes outside its home; None if they were not added up yet."""


def _print(line: str) -> None:
    print(line, flush=True)


class Reporter:
    """Prints what the servers of a stack use on this machine."""

    def __init__(
        self,
        client: docker.APIClient,
        stack: str,
        printed: Callable[[str], None] = _print,
    ) -> None:
        self._client = client
        self._servers = labelled(stack, Role.SERVER)
        self._print = printed
        self._written: dict[str, int] = {}
        self._rounds = 0

    def keep(self, seconds: float = PERIOD) -> None:
        """Print a line periodically, for as long as the guard runs."""
        while True:
            self.report()
            time.sleep(seconds)

    def report(self) -> None:
        """Print a line; an engine that does not answer leaves it out."""
        try:
            if self._rounds % ROUNDS == 0:
                self._written = self._sizes()
            self._rounds += 1
            found = self._client.containers(filters=self._servers)
            with ThreadPoolExecutor(AT_A_TIME) as threads:
                used = threads.map(self._of_server, found)
            servers = {
                one["Labels"][TASK]: [*numbers, self._written.get(one["Id"])]
                for one, numbers in zip(found, used, strict=True)
                if numbers
            }
            self._print(json.dumps({"time": logs.moment(time.time()), "servers": servers}))
        except (*Failure, KeyError, TypeError, ValueError, OSError) as error:
            log.warning("no numbers of servers: %s", error)

    def _sizes(self) -> dict[str, int]:
        """Return what servers have written; nothing if adding it up takes the engine too long."""
        try:
            found = self._client.containers(filters=self._servers, size=True)
        except Failure as error:
            log.warning("no sizes of servers: %s", error)
            return {}
        return {one["Id"]: one.get("SizeRw", 0) for one in found}

    def _of_server(self, server: Mapping[str, Any]) -> tuple[int, int, float] | None:
        if not (found := measures.of_server(self._client, server["Id"])):
            return None
        used, limit, spent = found
        return used, limit, round(spent, 2)


class Reports:
    """What the machines have said last, by the IDs by which the hub knows servers."""

    def __init__(
        self,
        client: docker.APIClient,
        managers: Managers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to ask.

        Args:
            client: of a manager.
            managers: the same, for what there is.
            clock: returns seconds.
        """
        self._client = client
        self._managers = managers
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: float | None = None
        self._known: dict[str, Use] = {}
        self._lines: dict[str, tuple[str, float]] = {}
        """The last line of each machine, and when it was first seen: clocks may differ."""

    def stats(self, server: str) -> dict[str, Any]:
        """Return what a server uses, as an engine would say it.

        Raises:
            docker.errors.NotFound: its machine has not said it, or there is no such server.
        """
        if not (use := self._all().get(server)):
            raise NotFound("no numbers")
        return {
            "memory_stats": {"usage": use.memory, "limit": use.limit},
            "cpu_stats": {"cpu_usage": {"total_usage": use.processor * NANO}},
        }

    def sized(self, servers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of the servers with what they have written, of which that is known."""
        used = self._all()
        sizes = {one: use.written for one, use in used.items() if use.written is not None}
        return [one | {"SizeRw": sizes[one["Id"]]} for one in servers if one["Id"] in sizes]

    def _all(self) -> dict[str, Use]:
        with self._lock:
            if self._asked is None or self._clock() - self._asked >= FRESH:
                # Managers that do not answer are not asked again for each server.
                self._known, self._asked = {}, self._clock()
                self._known = self._found()
                self._asked = self._clock()
            return self._known

    def _found(self) -> dict[str, Use]:
        guards = self._managers.guards()
        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="usage") as threads:
            texts = list(threads.map(self._log, guards.values()))
        self._lines = {node: line for node, line in self._lines.items() if node in guards}
        said = {node: self._newest(node, text) for node, text in zip(guards, texts, strict=True)}
        found = {}
        for server in self._managers.all_shown():
            if use := said.get(server["Node"], {}).get(server["Task"]):
                found[server["Id"]] = use
        return found

    def _newest(self, node: str, text: str) -> dict[str, Use]:
        """Return what the newest line of a machine says, unless it is an old one."""
        line = next((one for one in reversed(text.splitlines()) if one.startswith("{")), None)
        last, since = self._lines.get(node, ("", 0.0))
        if line is not None and line != last:
            last, since = self._lines[node] = line, self._clock()
        return dict(read(last)) if self._clock() - since < OLD else {}

    def _log(self, task: str) -> str:
        """Return the last lines that a task has printed; none if its machine does not answer."""
        address = f"{self._client.base_url}/v{self._client.api_version}/tasks/{task}/logs"
        options: dict[str, str | int] = {"stdout": 1, "tail": TAIL}
        try:
            with self._client.get(address, params=options, stream=True, timeout=SECONDS) as answer:
                answer.raise_for_status()
                return b"".join(_printed(self._bounded(answer))).decode(errors="replace")
        except (*Failure, OSError) as error:
            log.warning("no numbers of the servers on a machine: %s", error)
            return ""

    def _bounded(self, answer: requests.Response) -> bytes:
        """Return what is answered, but no more than is read of one machine."""
        received, end = bytearray(), time.monotonic() + SECONDS
        for part in answer.iter_content(1 << 16):
            received += part
            if len(received) > MOST or time.monotonic() > end:
                break
        return bytes(received)


def read(line: str) -> Iterator[tuple[str, Use]]:
    """Yield the tasks that a line names, and what they use; nothing of one that is no such line."""
    try:
        for task, (memory, limit, processor, written) in json.loads(line)["servers"].items():
            if _fits(memory, limit, processor, written or 0):
                yield task, Use(int(memory), int(limit), float(processor), written)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


def _fits(*numbers: float) -> bool:
    return all(0 <= number < 1 << 63 for number in numbers)


def _printed(log_: bytes) -> Iterator[bytes]:
    """Yield what was printed to standard output, out of an answer as the engine multiplexes it.

    https://docs.docker.com/reference/api/engine/version/v1.44/#tag/Container/operation/ContainerAttach
    """
    header = struct.Struct(">BxxxL")
    at = 0
    while at + header.size <= len(log_):
        stream, size = header.unpack_from(log_, at)
        at += header.size
        if stream == STDOUT:
            yield log_[at : at + size]
        at += size
