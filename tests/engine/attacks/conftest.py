"""The stack under attack: Alice is the victim; Mallory attacks, logged in as the user Bob.

The demo directory also has a user Mallory, who may not log in.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import docker
import pytest
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.built import bridge_address
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import Kernel, User

#: Where clouds serve a machine its credentials. Here the engine's machine has this address.
METADATA = "169.254.169.254"

#: The packet filter's answer: ICMP "administratively prohibited" (RFC 1812, 5.2.7.1).
REFUSED = "EHOSTUNREACH"

#: Code that runs in containers, with other code after it.
SOCKETS = (
    Path(__file__)
    .with_name("sockets.py")
    .read_text()
    .replace("from __future__ import annotations\n", "")
)

#: Seconds that answers to others may take during an attack, on a slow machine.
PATIENCE = 30


@dataclass(frozen=True)
class Tenant:
    """A user with a server that runs, in which any code runs as well."""

    user: User
    engine: docker.DockerClient
    stack: Stack

    @property
    def container(self) -> Container:
        """The user's container, as it is now."""
        found = self.engine.containers.list(filters=self.stack.labelled("notebook", self.user.name))
        assert len(found) == 1, found
        return found[0]

    @property
    def name(self) -> str:
        """Name of the container and its network."""
        return f"{self.stack.prefix}-user-{self.user.name}"

    @property
    def container_id(self) -> str:
        """The full container ID."""
        return str(self.container.id)

    @property
    def usage(self) -> dict[str, Any]:
        """The container's present use of processor, memory and processes."""
        usage: dict[str, Any] = self.container.stats(stream=False)  # type: ignore[assignment] # no stream
        return usage

    @property
    def address(self) -> str:
        """The server's address in its network."""
        [network] = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    @property
    def gateway(self) -> str:
        """The address of the engine's machine in that network."""
        [network] = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(network["Gateway"])

    @property
    def hub_address(self) -> str:
        """The hub's address in that network."""
        [network] = self.engine.networks.list(
            filters=self.stack.labelled("user-network", self.user.name)
        )
        network.reload()
        members = network.attrs["Containers"].values()
        [address] = [m["IPv4Address"] for m in members if m["Name"] == f"{self.stack.prefix}-hub"]
        return str(address).partition("/")[0]

    @cached_property
    def _kernel(self) -> Kernel:
        return self.user.start_kernel()

    def run(self, code: str, **names: Any) -> Any:
        """Run code in the user's kernel with some variables; return its variable `result`."""
        given = f"import json\nglobals().update(json.loads({json.dumps(names)!r}))\n"
        # What users do all day takes a minute under emulation, and longer on a busy machine.
        printed = self._kernel.run(f"{given}{code}\nprint('\\n' + json.dumps(result))", timeout=300)
        # Messages of QEMU may come before that.
        return json.loads(printed.splitlines()[-1])

    def shell(self, command: str) -> tuple[int, str]:
        """Run a shell command with the rights of the user's processes; return status, output."""
        status, output = self.container.exec_run(["bash", "-c", command], user="1000:1000")
        assert isinstance(output, bytes)
        return int(status or 0), output.decode(errors="replace")


@pytest.fixture(scope="package")
def entrance(stack: Stack) -> Entrance:
    """Port, certificate and passwords of the stack."""
    return Entrance.of(stack)


def tenant(
    stack: Stack, engine: docker.DockerClient, entrance: Entrance, name: str
) -> Iterator[Tenant]:
    """A demo user whose server runs until the attacks are over."""
    user = entrance.logged_in(name)
    user.start_server()
    yield Tenant(user, engine, stack)
    user.stop_server()


@pytest.fixture(scope="package")
def alice(stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> Iterator[Tenant]:
    """The victim."""
    yield from tenant(stack, engine, entrance, "alice")


@pytest.fixture(scope="package")
def mallory(stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> Iterator[Tenant]:
    """The attacker, logged in as Bob."""
    yield from tenant(stack, engine, entrance, "bob")


@pytest.fixture(scope="package")
def hub(entrance: Entrance, engine: docker.DockerClient) -> Container:
    """The hub's container."""
    return engine.containers.get(entrance.outputs["container"])


@pytest.fixture(scope="package")
def directory(stack: Stack, engine: docker.DockerClient) -> Container:
    """The demo directory's container."""
    return engine.containers.get(f"{stack.prefix}-directory")


@pytest.fixture(scope="package")
def outsider(stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> Iterator[Container]:
    """An ordinary container on the engine's own bridge, which nothing confines.

    It serves a page on port 8000, which the engine publishes on all addresses of its machine.
    """
    container = engine.containers.run(
        entrance.outputs["notebookDigest"],
        ["/opt/jupyter/bin/python3", "-m", "http.server", "8000"],
        detach=True,
        labels={"zhub.stack": stack.prefix, "zhub.role": "outsider"},
        ports={"8000/tcp": ("0.0.0.0", 0)},  # noqa: S104 - others' open ports are the point
    )
    container.reload()
    yield container
    container.remove(force=True)


@dataclass(frozen=True)
class Machine:
    """The engine's machine, with a service on all its addresses."""

    port: int
    """Port for TCP and UDP."""
    addresses: list[str]
    bridge: str
    """The address on the engine's own bridge."""
    heard: list[str]
    """The datagrams that have arrived."""


@pytest.fixture(scope="package")
def machine(stack: Stack, engine: docker.DockerClient) -> Iterator[Machine]:
    """The engine's machine, with a service; one of its addresses is that of clouds' metadata."""
    if os.environ.get("DOCKER_HOST", "unix://")[:5] != "unix:":
        pytest.skip("the engine is on another machine")
    link = engine.networks.create(
        f"{stack.prefix}-metadata",
        labels={"zhub.stack": stack.prefix, "zhub.role": "metadata"},
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="169.254.169.0/24", gateway=METADATA)]),
    )
    with (
        socket.create_server(("0.0.0.0", 0), backlog=100) as listener,  # noqa: S104
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        threading.Thread(target=accept, args=[listener], daemon=True).start()
        datagrams.bind(listener.getsockname())
        heard: list[str] = []
        threading.Thread(target=hear, args=[datagrams, heard], daemon=True).start()
        # Not those of other stacks' networks, which come and go meanwhile.
        networks = [
            *engine.networks.list(filters={"label": f"zhub.stack={stack.prefix}"}),
            *engine.networks.list(filters={"type": "builtin"}),
        ]
        gateways = [
            config["Gateway"]
            for network in networks
            # In an overlay network, a machine has no address of its own.
            if network.attrs["Driver"] != "overlay"
            for config in network.attrs["IPAM"]["Config"] or ()
            if "Gateway" in config and "." in config["Gateway"]
        ]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:
            outgoing.connect(("203.0.113.1", 9))
            own = outgoing.getsockname()[0]
        bridge = bridge_address(engine.api)
        yield Machine(listener.getsockname()[1], [METADATA, own, *gateways], bridge, heard)
    link.remove()


def accept(listener: socket.socket) -> None:
    """Accept and close, so that connections that get through are noticed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()


def hear(listener: socket.socket, heard: list[str]) -> None:
    """Keep the start of each datagram, up to its full stop."""
    while True:
        try:
            heard.append(listener.recv(65536).decode(errors="replace").partition(".")[0])
        except OSError:
            return


def reached_by_shell(container: Container, host: str, port: int) -> bool:
    probe = ["timeout", "5", "bash", "-c", f"</dev/tcp/{host}/{port}"]
    return bool(container.exec_run(probe).exit_code == 0)


def outsiders(outsider: Container, call: str, code: str = SOCKETS, user: str = "1000:1000") -> Any:
    """Return the result of a call in the unconfined container, after the code that it needs."""
    return run_in(outsider, f"{code}\nprint(json.dumps({call}))", user=user)


def run_in(container: Container, code: str, user: str = "1000:1000") -> Any:
    """Run Python in a container; return its last line, parsed."""
    command = ["/opt/jupyter/bin/python3", "-I", "-c", f"import json\n{code}"]
    status, output = container.exec_run(command, user=user, stderr=False)
    assert isinstance(output, bytes)
    assert status == 0, output
    return json.loads(output.splitlines()[-1])


def emulated(container: Container) -> bool:
    """Return whether the container is emulated."""
    output = container.exec_run(["uname", "-m"]).output
    assert isinstance(output, bytes)
    return output.decode().strip() != platform.machine()


class Watch:
    """Polls the hub's health and Alice's server."""

    def __init__(self, bystander: User) -> None:
        self._bystander = bystander
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.rounds = 0
        self.slowest = 0.0
        """Seconds."""
        self.failures: list[str] = []

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for path in ("hub/health", f"user/{self._bystander.name}/api/status"):
                begin = time.monotonic()
                try:
                    answer = self._bystander.request("GET", path)
                    answer.raise_for_status()
                except Exception as error:  # noqa: BLE001 - whatever it is, the test must say it
                    self.failures.append(f"{path}: {error!r}")
                self.slowest = max(self.slowest, time.monotonic() - begin)
            self.rounds += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def full_round(self) -> None:
        """Wait for a round that began after this call."""
        wanted = self.rounds + 2
        end = time.monotonic() + 5 * PATIENCE
        while self.rounds < wanted:
            assert time.monotonic() < end, "hub and server of Alice do not answer"
            time.sleep(0.05)


@pytest.fixture(scope="package")
def watch(entrance: Entrance, alice: Tenant) -> Iterator[Watch]:
    # A separate browser: sessions of requests are not thread-safe.
    bystander = entrance.logged_in("alice")
    bystander.open_lab()
    with Watch(bystander) as watch:
        yield watch
    print(f"{watch.rounds} rounds, the slowest answer took {watch.slowest:.1f} s")


@pytest.fixture(autouse=True)
def others_are_served(watch: Watch, hub: Container) -> Iterator[None]:
    """Hub and Alice's server answer during and after an attack, and are not restarted."""
    yield
    watch.full_round()
    assert watch.failures == []
    assert watch.slowest < PATIENCE
    started = hub.attrs["State"]["StartedAt"]
    hub.reload()
    assert hub.attrs["State"]["StartedAt"] == started
