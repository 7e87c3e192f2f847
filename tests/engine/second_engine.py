"""A second Docker engine on this machine, in a network of its own: neither sees the other.

It is the machine's `dockerd`, or the one that the variable ZHUB_SECOND_DOCKERD names: another
version, with its `docker-proxy` beside it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from tests.engine.namespaces import entered

DOCKERD = os.environ.get("ZHUB_SECOND_DOCKERD", "dockerd")

NAMESPACE = "zhub-test-engine"
OUTER, INNER = "10.222.1.1", "10.222.1.2"
LINK = "zhub-test"

TRIES = 3
"""How often an engine is started that ends at once."""


def unmount_below(folder: Path) -> None:
    """Unmount what an engine that has ended left mounted, such as its data's folder on itself."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if (mounted := line.split()[1]).startswith(f"{folder}/"):
            subprocess.run(["umount", mounted], check=True)


@dataclass
class SecondEngine:
    """An engine without images, containers and volumes."""

    folder: Path
    options: tuple[str, ...]
    """Of `dockerd`."""

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "dockerd.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    *("nsenter", f"--net=/var/run/netns/{NAMESPACE}", DOCKERD),
                    *("--data-root", self.folder / "data", "--exec-root", self.folder / "run"),
                    *("--pidfile", self.folder / "pid", "--host", self.address),
                    *_own_proxy(),
                    *self.options,
                ],
                stdout=log,
                stderr=log,
            )
        self.client = _answering(self.socket, self.process)

    def restart(self, *, kill: bool = False) -> None:
        """Stop it, or end it with SIGKILL, and start it again."""
        self.client.close()
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(timeout=120)
        for left in reversed(range(TRIES)):
            # An engine that was killed leaves its containerd, which may be ending only now. systemd
            # also starts an engine again that ends.
            try:
                self.start()
            except docker.errors.DockerException:
                if not left:
                    raise
                time.sleep(1)
            else:
                return

    @property
    def address(self) -> str:
        """As docker:host takes it."""
        return f"unix://{self.socket}"

    @contextmanager
    def machine(self) -> Iterator[None]:
        """Be on the engine's machine for connections of this thread, such as to its loopback."""
        with entered(NAMESPACE):
            yield


def _own_proxy() -> list[str]:
    """The option with the program that publishes ports, which must be of the engine's version."""
    beside = Path(DOCKERD).with_name("docker-proxy")
    return ["--userland-proxy-path", str(beside)] if beside.exists() else []


def _run(command: str, *, check: bool = True) -> None:
    subprocess.run(command.split(), check=check, capture_output=not check)


#: The way out of the network, with which images are built; then the way back.
_FILTERS = (
    ("filter", f"FORWARD -i {LINK} -j ACCEPT"),
    ("filter", f"FORWARD -o {LINK} -j ACCEPT"),
    ("nat", f"POSTROUTING -s {INNER}/32 ! -d {OUTER}/24 -j MASQUERADE"),
)


@contextmanager
def second_engine(folder: Path, *options: str) -> Iterator[SecondEngine]:
    """Run an engine whose data is in the folder; needs root."""
    _run(f"ip netns add {NAMESPACE}")
    engine = SecondEngine(folder, options)
    try:
        _run(f"ip link add {LINK} type veth peer name eth0 netns {NAMESPACE}")
        _run(f"ip addr add {OUTER}/24 dev {LINK}")
        _run(f"ip link set {LINK} up")
        for line in (
            "link set lo up",
            f"addr add {INNER}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {OUTER}",
        ):
            _run(f"ip -n {NAMESPACE} {line}")
        for table, rule in _FILTERS:
            _run(f"iptables -t {table} -I {rule}")
        engine.start()
        yield engine
        engine.client.close()
    finally:
        if process := getattr(engine, "process", None):
            process.terminate()
            process.wait(timeout=60)
        unmount_below(folder)
        for table, rule in _FILTERS:
            _run(f"iptables -t {table} -D {rule}", check=False)
        _run(f"ip netns delete {NAMESPACE}")
        shutil.rmtree(folder / "data", ignore_errors=True)


def _answering(socket: Path, process: subprocess.Popen[bytes]) -> docker.DockerClient:
    end = time.monotonic() + 60
    while True:
        try:
            client = docker.DockerClient(f"unix://{socket}", version="auto")
        except docker.errors.DockerException:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return client


def able() -> bool:
    """Whether this machine and user can run one."""
    tools = ("ip", "iptables", "nsenter", DOCKERD)
    return os.geteuid() == 0 and all(map(shutil.which, tools))
