"""The stack under attack: Alice, whom nothing must happen to, and Mallory, who is logged in as Bob.

The demo directory has a Mallory of its own, who is not let in.
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

#: Where clouds tell a machine its credentials. The engine gives it to its own machine here.
METADATA = "169.254.169.254"

#: What the packet filter answers: ICMP's "administratively prohibited" (RFC 1812, 5.2.7.1).
REFUSED = "EHOSTUNREACH"

#: Runs where it is sent to, behind other code.
SOCKETS = (
    Path(__file__)
    .with_name("sockets.py")
    .read_text()
    .replace("from __future__ import annotations\n", "")
)

#: Seconds that an answer to somebody else may take while an attack goes on, on a slow machine.
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
        """Of the container and its network."""
        return f"{self.stack.prefix}-user-{self.user.name}"

    @property
    def container_id(self) -> str:
        """As the engine has it in full."""
        return str(self.container.id)

    @property
    def usage(self) -> dict[str, Any]:
        """What the container has of processor, memory and processes now."""
        usage: dict[str, Any] = self.container.stats(stream=False)  # type: ignore[assignment] # no stream
        return usage

    @property
    def address(self) -> str:
        """Of the server in its network."""
        [network] = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    @property
    def gateway(self) -> str:
        """Where the engine's machine is in that network."""
        [network] = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(network["Gateway"])

    @property
    def hub_address(self) -> str:
        """Where the hub is in that network."""
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
        """Run code in the user's kernel with some names set; return what it leaves in `result`."""
        given = f"import json\nglobals().update(json.loads({json.dumps(names)!r}))\n"
        printed = self._kernel.run(f"{given}{code}\nprint('\\n' + json.dumps(result))")
        # Before that there may be messages of QEMU's.
        return json.loads(printed.splitlines()[-1])

    def shell(self, command: str) -> tuple[int, str]:
        """Run a shell command as the user's processes run, beside them; return status, output."""
        status, output = self.container.exec_run(["bash", "-c", command], user="1000:1000")
        assert isinstance(output, bytes)
        return int(status or 0), output.decode(errors="replace")


@pytest.fixture(scope="package")
def entrance(stack: Stack) -> Entrance:
    """The way in, for everybody."""
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
    """Whom the others attack."""
    yield from tenant(stack, engine, entrance, "alice")


@pytest.fixture(scope="package")
def mallory(stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> Iterator[Tenant]:
    """Who attacks; logged in as Bob."""
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
    """An ordinary container on the engine's own bridge: what nobody has confined.

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
    """The engine's machine, which serves on all its addresses."""

    port: int
    """Of TCP and UDP."""
    addresses: list[str]
    bridge: str
    """That of the addresses which is on the engine's own bridge."""
    heard: list[str]
    """The datagrams that have come."""


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
        gateways = [
            config["Gateway"]
            for network in engine.networks.list()
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
    """Accept and close, so that connections that are let through are seen as such."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()


def hear(listener: socket.socket, heard: list[str]) -> None:
    """Keep the beginning of each datagram, up to its full stop."""
    while True:
        try:
            heard.append(listener.recv(65536).decode(errors="replace").partition(".")[0])
        except OSError:
            return


def reached_by_shell(container: Container, host: str, port: int) -> bool:
    probe = ["timeout", "5", "bash", "-c", f"</dev/tcp/{host}/{port}"]
    return bool(container.exec_run(probe).exit_code == 0)


def outsiders(outsider: Container, call: str, code: str = SOCKETS, user: str = "1000:1000") -> Any:
    """What a call returns where nobody is confined, behind the code it needs."""
    return run_in(outsider, f"{code}\nprint(json.dumps({call}))", user=user)


def run_in(container: Container, code: str, user: str = "1000:1000") -> Any:
    """Run Python in a container; return what its last line says."""
    command = ["/opt/jupyter/bin/python3", "-I", "-c", f"import json\n{code}"]
    status, output = container.exec_run(command, user=user, stderr=False)
    assert isinstance(output, bytes)
    assert status == 0, output
    return json.loads(output.splitlines()[-1])


def emulated(container: Container) -> bool:
    """Whether what runs there is of another processor than this machine's."""
    output = container.exec_run(["uname", "-m"]).output
    assert isinstance(output, bytes)
    return output.decode().strip() != platform.machine()


class Watch:
    """Asks, again and again, the hub for its health and Alice's server for an answer."""

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
    # A browser of its own: requests' sessions are not for several threads.
    bystander = entrance.logged_in("alice")
    bystander.open_lab()
    with Watch(bystander) as watch:
        yield watch
    print(f"{watch.rounds} rounds, the slowest answer took {watch.slowest:.1f} s")


@pytest.fixture(autouse=True)
def others_are_served(watch: Watch, hub: Container) -> Iterator[None]:
    """While a test attacks, and after it, hub and Alice's server answer; neither was restarted."""
    yield
    watch.full_round()
    assert watch.failures == []
    assert watch.slowest < PATIENCE
    started = hub.attrs["State"]["StartedAt"]
    hub.reload()
    assert hub.attrs["State"]["StartedAt"] == started
