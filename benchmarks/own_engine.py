"""An engine for one benchmark alone: what it uses, and what it is asked, can be counted.

The machine's own engine may be busy with something else, and what has ended counts nowhere. This
one, its shims and its containers are in control groups of their own, also those that have ended. It
logs each call that it gets.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes
from tests.engine.namespaces import entered
from tests.engine.second_engine import SecondEngine, able, second_engine
from toolchain.engine import client as docker_command

#: Where groups are made that count processor time, and the file with it: version 1, version 2.
GROUPS = (
    (Path("/sys/fs/cgroup/cpuacct"), "cpuacct.usage"),
    (Path("/sys/fs/cgroup/cpu,cpuacct"), "cpuacct.usage"),
    (Path("/sys/fs/cgroup"), "cpu.stat"),
)

#: The group of an engine with its shims, and the one of its containers.
ENGINE, CONTAINERS = (f"zhub-bench-{os.getpid()}-{what}" for what in ("engine", "containers"))

#: Microseconds in which a limited group gets its share; the kernel's own default.
PERIOD = 100_000

#: Seconds that a call may take: a container in hundreds of networks is restarted in minutes.
PATIENCE = 900

#: What the engine's log has of each call but those that ask whether it lives; Docker 20.10 says
#: "Calling GET /v1.41/info", Docker 28 "handling GET request", with the address after it.
_CALL = re.compile(
    r"Calling (?:GET|POST|DELETE|PUT) (?!/_ping)/"
    r"|handling (?:GET|POST|DELETE|PUT) request(?!.* request-url=\"?/_ping)"
)


def unable() -> str:
    """Why this machine cannot run one; empty if it can."""
    if not able():
        return "an engine of its own needs root, ip, iptables, nsenter and dockerd"
    return "" if _root() else "no control group counts processor time"


def _root() -> Path | None:
    return next((root for root, file in GROUPS if (root / file).exists()), None)


def _used(group: Path) -> float:
    """Processor seconds of a group and all below it, with what has ended."""
    if (old := group / "cpuacct.usage").exists():
        return int(old.read_text()) / 1e9
    found = re.search(r"^usage_usec (\d+)$", (group / "cpu.stat").read_text(), re.MULTILINE)
    return int(found[1]) / 1e6 if found else 0.0


def calls(log: Iterable[str]) -> int:
    """How many calls lines of an engine's log have."""
    return sum(1 for line in log if _CALL.search(line))


@dataclass(frozen=True)
class OwnEngine:
    """The engine, and what it has used."""

    engine: SecondEngine
    root: Path
    """Of the groups."""

    def calls(self) -> int:
        """How many calls it got so far."""
        with (self.engine.folder / "dockerd.log").open(errors="replace") as log:
            return calls(log)

    def memory(self) -> float:
        """Resident memory in MiB of engine and shims; shared pages count for each process."""
        group = (self.root / ENGINE / "cgroup.procs").read_text().split()
        own = {int(process) for process in group}
        return sum(one.resident for _, one in processes.running() if one.number in own) / (1 << 20)

    def used(self) -> dict[str, float]:
        """Processor seconds of each group."""
        return {name: _used(self.root / name) for name in (ENGINE, CONTAINERS)}

    def slow_down(self, share: float) -> None:
        """Give the engine, and what it runs outside of containers, this share of one processor."""
        group, limit = self.root / ENGINE, "cpu.max"
        if (old := Path("/sys/fs/cgroup/cpu")).exists():
            group, limit = old / ENGINE, "cpu.cfs_quota_us"
            group.mkdir(exist_ok=True)
            _move(self.engine.process.pid, group)
        (group / limit).write_text(str(int(share * PERIOD)))

    def end(self) -> None:
        """Kill all its processes: to stop hundreds of containers in order takes minutes."""
        for name in (CONTAINERS, ENGINE):
            for file in (self.root / name).glob("**/cgroup.procs"):
                for process in file.read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)


@dataclass(frozen=True)
class Watch:
    """What is used since the watch began."""

    own: OwnEngine
    before: Mapping[str, float]
    processes: processes.Watch = field(default_factory=processes.Watch)

    @classmethod
    def of(cls, own: OwnEngine) -> Watch:
        """Begin to watch."""
        return cls(own, own.used())

    def seconds(self, containers: Mapping[str, str]) -> Counter[str]:
        """Processor seconds by part; the shims are the engine's, what has ended is filters'."""
        parts = {*containers.values(), "proxy"}
        found = self.processes.seconds(containers)
        used = {name: now - self.before[name] for name, now in self.own.used().items()}
        alive = {part: found[part] for part in parts}
        ended = max(used[CONTAINERS] - sum(alive.values()), 0.0)
        return Counter({**alive, "engine": used[ENGINE], "filters": ended})


@contextmanager
def own_engine(folder: Path, images: Sequence[str]) -> Iterator[OwnEngine]:
    """Run one with some of the machine's images; this thread is in its network meanwhile.

    So are threads that are started in it.
    """
    root = _root()
    if not root:
        raise RuntimeError(unable())
    (root / ENGINE).mkdir()
    options = ("--debug", "--exec-opt=native.cgroupdriver=cgroupfs")
    try:
        with second_engine(folder, *options, f"--cgroup-parent=/{CONTAINERS}") as engine:
            own = OwnEngine(engine, root)
            engine.client.api.timeout = PATIENCE
            _move(engine.process.pid, root / ENGINE)
            try:
                _load(engine, images)
                with entered(engine.apart.name):
                    yield own
            finally:
                own.end()
    finally:
        for group in (ENGINE, CONTAINERS):
            for one in sorted(Path("/sys/fs/cgroup").glob(f"**/{group}/**/"), reverse=True):
                with suppress(OSError):
                    one.rmdir()


def _load(engine: SecondEngine, images: Sequence[str]) -> None:
    command = docker_command()
    with subprocess.Popen([command, "save", *images], stdout=subprocess.PIPE) as save:
        load = [command, "--host", engine.address, "load"]
        subprocess.run(load, stdin=save.stdout, stdout=subprocess.DEVNULL, check=True)
    if save.returncode:
        raise RuntimeError(f"the images could not be saved: {' '.join(images)}")


def _move(engine: int, group: Path) -> None:
    """Move an engine's process and its children, such as its containerd, into a group."""
    children = Path(f"/proc/{engine}/task").glob("*/children")
    for process in (str(engine), *(one for file in children for one in file.read_text().split())):
        (group / "cgroup.procs").write_text(process)
