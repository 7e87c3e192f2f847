"""A second Docker engine on this machine, in a network of its own: neither sees the other.

It is the machine's `dockerd`, or the one that the variable ZHUB_SECOND_DOCKERD names: another
version, with its `docker-proxy` beside it.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
from docker.models.images import Image

from tests.engine import subnets
from tests.engine.namespaces import entered
from tests.plugins.docker_tools import debian_tool

DOCKERD = os.environ.get("ZHUB_SECOND_DOCKERD", "dockerd")

E = TypeVar("E", bound="SecondEngine")

TRIES = 3
"""How often an engine is started that ends at once."""


def unmount_below(folder: Path) -> None:
    """Unmount what an engine that has ended left mounted, such as its data's folder on itself."""
    # The last first: they may be in one that was mounted before.
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if (mounted := line.split()[1]).startswith(f"{folder}/"):
            subprocess.run(["umount", mounted], check=True)


@dataclass(frozen=True)
class Apart:
    """A network namespace with a way out, by a link of its own.

    Nobody else may have its addresses, such as another run of these tests: the answers to what the
    engine sends would go there, and already names would not be resolved.
    """

    name: str
    """Of the namespace and the link."""
    subnet: IPv4Network

    @property
    def outer(self) -> str:
        """The machine's address on the link."""
        return str(self.subnet[1])

    @property
    def inner(self) -> str:
        """The engine's address."""
        return str(self.subnet[2])

    @property
    def filters(self) -> list[tuple[str, str]]:
        """The way out of the network, with which images are built; then the way back."""
        return [
            ("filter", f"FORWARD -i {self.name} -j ACCEPT"),
            ("filter", f"FORWARD -o {self.name} -j ACCEPT"),
            # Engines see each other's own addresses: VXLAN between them does not work otherwise.
            ("nat", f"POSTROUTING -s {self.inner}/32 ! -d {subnets.POOL} -j MASQUERADE"),
        ]


@dataclass
class SecondEngine:
    """An engine without images, containers and volumes."""

    apart: Apart
    folder: Path
    options: tuple[str, ...]
    """Of `dockerd`."""
    mounts: Path | None = None
    """A file that stands for the mount namespace in which it runs; None for the machine's."""
    program: str = DOCKERD

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def listens(self) -> str:
        """The socket's path on the engine's machine."""
        return str(self.socket)

    @property
    def command(self) -> list[str]:
        """What runs it in its network."""
        return [
            *("nsenter", f"--net=/var/run/netns/{self.apart.name}"),
            *([f"--mount={self.mounts}"] if self.mounts else []),
            self.program,
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "run")),
            *("--pidfile", str(self.folder / "pid"), "--host", f"unix://{self.listens}"),
            *_own_proxy(self.program),
            *self.options,
        ]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.began = time.monotonic()
        with (self.folder / "dockerd.log").open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.client = _answering(self.socket, self.process)

    def take(self, image: Image) -> None:
        """Load an image of another engine, with its names."""
        self.client.images.load(b"".join(image.save(named=True)))

    def tiny_image(self) -> str:
        """Make an image with a single program; return its ID: a task's image is then not pulled."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(debian_tool("busybox-static", "bin/busybox"), "busybox")
        api: Any = self.client.api
        api.import_image_from_data(packed.getvalue(), repository="zhub-tiny", tag="1")
        return str(self.client.images.get("zhub-tiny:1").id)

    @property
    def containerd(self) -> int:
        """The number of its containerd's process."""
        return int((self.folder / "run" / "containerd" / "containerd.pid").read_text())

    def restart(self, *, kill: bool = False, containerd: bool = False) -> None:
        """Stop it, or end it with SIGKILL, perhaps with its containerd, and start it again."""
        self.client.close()
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        if containerd:
            os.kill(self.containerd, signal.SIGKILL)
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
        with entered(self.apart.name):
            yield


def _own_proxy(program: str) -> list[str]:
    """The option with the program that publishes ports, which must be of the engine's version."""
    beside = Path(program).with_name("docker-proxy")
    return ["--userland-proxy-path", str(beside)] if beside.exists() else []


def _run(command: str, *, check: bool = True) -> None:
    subprocess.run(command.split(), check=check, capture_output=not check)


@contextmanager
def apart(number: int = 0) -> Iterator[Apart]:
    """Make a network namespace with a way out, and remove it; needs root.

    Args:
        number: of this one, where a test has several; one digit.
    """
    made = Apart(f"ztest{number}-{os.getpid()}", subnets.free(29))
    _run(f"ip netns add {made.name}")
    try:
        _run(f"ip link add {made.name} type veth peer name eth0 netns {made.name}")
        _run(f"ip addr add {made.outer}/{made.subnet.prefixlen} dev {made.name}")
        _run(f"ip link set {made.name} up")
        for line in (
            "link set lo up",
            f"addr add {made.inner}/{made.subnet.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {made.outer}",
        ):
            _run(f"ip -n {made.name} {line}")
        for table, rule in made.filters:
            _run(f"iptables -t {table} -I {rule}")
        yield made
    finally:
        for table, rule in made.filters:
            _run(f"iptables -t {table} -D {rule}", check=False)
        # At once: the namespace itself stays while a process is in it.
        _run(f"ip link delete {made.name}", check=False)
        _run(f"ip netns delete {made.name}")


@contextmanager
def second_engine(
    folder: Path, *options: str, mounts: Path | None = None
) -> Iterator[SecondEngine]:
    """Run an engine whose data is in the folder; needs root."""
    with apart() as network, running(SecondEngine(network, folder, options, mounts)) as engine:
        yield engine


@contextmanager
def running(engine: E) -> Iterator[E]:
    """Run an engine, and remove its data."""
    try:
        engine.start()
        yield engine
        engine.client.close()
    finally:
        if process := getattr(engine, "process", None):
            process.terminate()
            process.wait(timeout=60)
        unmount_below(engine.folder)
        shutil.rmtree(engine.folder / "data", ignore_errors=True)


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
