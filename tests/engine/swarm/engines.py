"""Three Docker engines that are one swarm, on this machine: each has a network of its own.

Their version is that of the program that the variable ZHUB_SWARM_DOCKERD names, with its
`docker-proxy` beside it: the machine's own may be too old for services with the walls that users'
servers need.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docker.errors import APIError, NotFound
from docker.models.nodes import Node
from docker.types import Resources

from components.settings.swarm_facts import ENGINE
from tests.built import wait_until
from tests.engine.conftest import CONFIG
from tests.engine.second_engine import Apart, SecondEngine, able, apart, running
from tests.engine.subnets import POOL
from tests.plugins.docker_tools import debian_tool
from tests.ports import free_port

DOCKERD = os.environ.get("ZHUB_SWARM_DOCKERD", "dockerd")

LEFT = 256 << 20
"""Bytes that an engine without room for servers has left."""

LABELS = {"zhub": "servers"}
"""Of the engines that get servers: at first, all of them."""

SIZE = 3
"""How many engines; the first is the manager."""

#: Makes the folder of its own one that all of them have, since the engines' sockets must have the
#: same path on all machines. Also what the engine mounts is then its own, and gone with it.
OWN_MACHINE = """\
import ctypes, os, socket, sys
name, own, common, *command = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUTS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x4000000, 0x1000, 0x4000, 1 << 18
def done(failed):
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
done(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS))
done(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
done(libc.mount(own.encode(), common.encode(), None, MS_BIND, None))
socket.sethostname(name)
os.execvp(command[0], command)
"""


@dataclass
class NodeEngine(SecondEngine):
    """One of the engines, with its own host name, and its socket at the same path as the others."""

    name: str = ""
    common: Path = Path("/")

    @property
    def socket(self) -> Path:
        return self.folder / "socket" / "docker.sock"

    @property
    def listens(self) -> str:
        return str(self.common / "docker.sock")

    @property
    def command(self) -> list[str]:
        own = (self.name, str(self.folder / "socket"), str(self.common))
        return [sys.executable, "-I", "-c", OWN_MACHINE, *own, *super().command]

    def lose(self) -> None:
        """End the machine for good, as where its power fails: engine and containers at once."""
        inside = [int(one.attrs["State"]["Pid"]) for one in self.client.containers.list()]
        shims = {int(_stat(process)[1]) for process in inside}
        subprocess.run(["ip", "-n", self.apart.name, "link", "set", "eth0", "down"], check=True)
        for process in (self.process.pid, self.containerd, *shims, *inside):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait(timeout=60)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Take the machine off the network, engine and containers."""
        # In its own namespace: this thread may be in another one.
        own = ["ip", "-n", self.apart.name]
        subprocess.run([*own, "link", "set", "eth0", "down"], check=True)
        try:
            yield
        finally:
            subprocess.run([*own, "link", "set", "eth0", "up"], check=True)
            # Routes are gone with the interface.
            subprocess.run([*own, "route", "add", "default", "via", self.apart.outer], check=True)

    @contextmanager
    def without(self, folder: Path) -> Iterator[None]:
        """Have nothing in a folder of this machine, as where its file system is not mounted."""
        inside = ["nsenter", f"--target={self.process.pid}", "--mount"]
        subprocess.run([*inside, "mount", "-t", "tmpfs", "none", folder], check=True)
        try:
            yield
        finally:
            subprocess.run([*inside, "umount", folder], check=True)


@dataclass(frozen=True)
class SwarmEngines:
    """The engines, and a registry that all of them reach."""

    nodes: tuple[NodeEngine, ...]
    registry: str
    """As HOST:PORT."""
    homes: Path
    """A folder that all of them have."""

    @property
    def manager(self) -> NodeEngine:
        return self.nodes[0]

    @contextmanager
    def only(self, *nodes: NodeEngine) -> Iterator[None]:
        """Have new services start on some of the engines only; what runs is left alone.

        The manager's is not paused but full: on a paused one, no container is connected to networks
        of the swarm any more, and so the hub would not be.
        """
        kept = {self.manager.name, *(node.name for node in nodes)}
        others = [one for one in self.listed() if _name(one) not in kept]
        with nullcontext() if self.manager in nodes else self._manager_is_full():
            for other in others:
                other.update(other.attrs["Spec"] | {"Availability": "pause"})
            try:
                yield
            finally:
                for other in others:
                    other.reload()
                    other.update(other.attrs["Spec"] | {"Availability": "active"})

    @contextmanager
    def _manager_is_full(self) -> Iterator[None]:
        [manager] = [one for one in self.listed() if _name(one) == self.manager.name]
        memory = manager.attrs["Description"]["Resources"]["MemoryBytes"]
        there = {"node": manager.id, "desired-state": "running"}
        for task in self.manager.client.api.tasks(filters=there):  # type: ignore[no-untyped-call]
            reserved = task["Spec"]["Resources"].get("Reservations") or {}
            memory -= reserved.get("MemoryBytes", 0)
        # By its ID, a task's image is not pulled.
        image = self.manager.client.images.get(CONFIG["buildImage"])
        service = self.manager.client.services.create(  # type: ignore[no-untyped-call]
            image.id,
            command=["sleep", "infinity"],
            constraints=[f"node.id=={manager.id}"],
            resources=Resources(mem_reservation=memory - LEFT),
            stop_grace_period=0,
        )
        try:
            wait_until(
                lambda: any(one["Status"]["State"] == "running" for one in service.tasks()),
                seconds=60,
            )
            yield
        finally:
            service.remove()

    def change(self, node: NodeEngine, **spec: Any) -> None:
        """Give a machine labels or another availability, as an operator does."""

        def changed() -> bool:
            [found] = [one for one in self.listed() if _name(one) == node.name]
            try:
                found.update(found.attrs["Spec"] | spec)
            except APIError as error:
                # The managers have noted something else of it meanwhile.
                if "update out of sequence" not in str(error.explanation):
                    raise
                return False
            return True

        wait_until(changed, seconds=30)

    def state(self, node: NodeEngine) -> str:
        """What the managers say of a machine: ready, or down."""
        [found] = [one for one in self.listed() if _name(one) == node.name]
        return str(found.attrs["Status"]["State"])

    def listed(self) -> list[Node]:
        """The machines, as the manager knows them."""
        return self.manager.client.nodes.list()


def _stat(process: int) -> list[str]:
    """What the kernel says of a process after its name: its state, its parent, and so on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _name(node: Node) -> str:
    return str(node.attrs["Description"]["Hostname"])


def fit() -> str:
    """Why no swarm can be had here; empty if one can."""
    if not able() or not shutil.which(DOCKERD):
        return "a swarm needs root, ip, iptables, nsenter and dockerd"
    said = subprocess.run([DOCKERD, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.(\d+)", said)
    if not version or int(version[1]) < ENGINE[0]:
        return f"users' servers need engine {ENGINE[0]} on a swarm: set ZHUB_SWARM_DOCKERD ({said})"
    return ""


@contextmanager
def swarm_engines(folder: Path, *options: str, managers: int = 1) -> Iterator[SwarmEngines]:
    """Run a swarm; needs root.

    Args:
        folder: for the engines' data; its path must be short.
        options: of each engine.
        managers: how many of them are managers; the others are workers.
    """
    common = folder / "on"
    homes = folder / "homes"
    for made in (common, homes):
        made.mkdir(mode=0o700)
    with ExitStack() as all_of_it:
        networks = [all_of_it.enter_context(apart(number)) for number in range(SIZE)]
        registry = all_of_it.enter_context(_registry(folder / "registry", networks[0]))
        nodes = []
        for number, network in enumerate(networks, 1):
            own = folder / f"n{number}"
            (own / "socket").mkdir(parents=True)
            options_ = (f"--insecure-registry={POOL}", *options)
            node = NodeEngine(
                network, own, options_, program=DOCKERD, name=f"node{number}", common=common
            )
            nodes.append(all_of_it.enter_context(running(node)))
        first, *others = nodes
        first.client.swarm.init(advertise_addr=first.apart.inner)
        tokens = first.client.swarm.attrs["JoinTokens"]
        for number, other in enumerate(others, 2):
            token = tokens["Manager" if number <= managers else "Worker"]
            other.client.swarm.join(
                [f"{first.apart.inner}:2377"], token, advertise_addr=other.apart.inner
            )
        found = SwarmEngines(tuple(nodes), registry, homes)
        for node in nodes:
            found.change(node, Labels=LABELS)
        yield found
        # Containers would hold the data of their engines.
        for other in reversed(nodes):
            if other.process.poll() is not None:
                continue  # it was lost
            # Without asking for the swarm's state first: of its managers, too few may be left.
            other.client.api.leave_swarm(force=True)
            for container in other.client.containers.list(all=True):
                # The engine removes those of tasks itself, when it gets to it.
                with suppress(NotFound):
                    container.remove(force=True, v=True)


@contextmanager
def _registry(folder: Path, network: Apart) -> Iterator[str]:
    """Serve a registry at the machine's address on an engine's link, which all engines reach."""
    program = debian_tool("docker-registry", "usr/bin/docker-registry")
    folder.mkdir()
    address = f"{network.outer}:{free_port()}"
    config = folder / "config.yml"
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    config.write_text(
        yaml.safe_dump({"version": 0.1, "http": {"addr": address}, "storage": storage})
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        wait_until(lambda: "listening on" in (folder / "log").read_text(), seconds=30)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)
