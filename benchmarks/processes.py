"""Processor seconds and memory of the processes on this machine, by what they are a part of."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.running import PROXIES

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

#: Programs of the engine, by the beginning of their names (15 characters, as the kernel has them).
ENGINE = {"dockerd": "engine", "containerd-shim": "shims", "containerd": "engine", "runc": "shims"}

#: Of containers that have ended: those that set packet filters, unless something else runs.
ENDED = "filters"

_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Process:
    """One process, as it was last seen."""

    number: int
    name: str
    command: str
    container: str
    """ID of its container; empty for none."""
    seconds: float
    """Of the processor, with its children that have ended."""
    resident: int
    """Bytes."""


def running() -> Iterator[tuple[tuple[int, str], Process]]:
    """Yield all processes but the kernel's; the key of each is its number and when it began."""
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            groups = (folder / "cgroup").read_text()
        except OSError:
            continue  # it has ended meanwhile
        name, _, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()
        found = _CONTAINER.search(groups)
        if command:
            yield (
                (int(folder.name), fields[19]),
                Process(
                    int(folder.name),
                    name,
                    command,
                    found[0] if found else "",
                    sum(map(int, fields[11:15])) / TICKS,
                    int(fields[21]) * PAGE,
                ),
            )


def part(process: Process, containers: Mapping[str, str]) -> str:
    """Return what a process is a part of; "other work" for everything else on the machine.

    Args:
        process: as it was seen.
        containers: the parts of containers, by their IDs.
    """
    if process.command == _own():
        return "browsers"
    if process.container:
        known = containers.get(process.container)
        if known == "hub" and any(name in process.command for name in PROXIES):
            return "proxy"
        return known or "other work"
    if process.number == 1:
        return ENDED
    return next((p for name, p in ENGINE.items() if process.name.startswith(name)), "other work")


def _own() -> str:
    return (PROC / "self/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


@dataclass(frozen=True)
class Watch:
    """Processor seconds since the watch began."""

    before: dict[tuple[int, str], float] = field(
        default_factory=lambda: {key: process.seconds for key, process in running()}
    )

    def seconds(self, containers: Mapping[str, str]) -> Counter[str]:
        """Processor seconds by part; what has ended is its parent's.

        The shims of containers that have ended, and their processes, have process 1 as parent.
        """
        found: dict[str, float] = defaultdict(float)
        for key, process in running():
            found[part(process, containers)] += process.seconds - self.before.get(key, 0.0)
        return Counter(found)


def memory(containers: Mapping[str, str]) -> Counter[str]:
    """Resident memory in MiB, by part; shared pages count for each process."""
    found: Counter[str] = Counter()
    for _, process in running():
        found[part(process, containers)] += process.resident >> 20
    return found


def available() -> float:
    """Memory in MiB that programs could still take."""
    (kib,) = re.findall(r"^MemAvailable:\s+(\d+) kB", (PROC / "meminfo").read_text(), re.MULTILINE)
    return int(kib) / 1024
