"""Fixtures: a stack on a swarm of three engines, and users whose servers are on different ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.built import wait_until
from tests.engine.attacks.conftest import Tenant, directory, entrance, hub, machine, outsider
from tests.engine.conftest import CONFIG
from tests.engine.people import Entrance
from tests.engine.stack import PULUMI, Stack, equipped
from tests.engine.swarm.engines import NodeEngine, SwarmEngines, fit, swarm_engines
from tests.ports import free_port

__all__ = ["directory", "entrance", "hub", "machine", "outsider"]

WAY_OUT = "docker_gwbridge"
"""The network of an engine by which servers on it reach other hosts."""


@dataclass(frozen=True)
class SwarmTenant(Tenant):
    """A user whose server is a service, on one of the engines."""

    engines: SwarmEngines

    @cached_property
    def node(self) -> NodeEngine:
        """Where the server runs."""
        found = [node for node in self.engines.nodes if self._on(node)]
        assert len(found) == 1, [node.name for node in found]
        return found[0]

    def _on(self, node: NodeEngine) -> list[Container]:
        return node.client.containers.list(filters=self.stack.labelled("notebook", self.user.name))

    @property
    def container(self) -> Container:
        [found] = self._on(self.node)
        return found

    @property
    def gateway(self) -> str:
        """The address of its engine's machine in the network by which it reaches others."""
        [config] = self.node.client.networks.get(WAY_OUT).attrs["IPAM"]["Config"]
        return str(config["Gateway"])


@pytest.fixture(scope="package")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmEngines]:
    """The swarm; its manager has the images that all others are made from."""
    if reason := fit():
        pytest.skip(reason)
    if not PULUMI.exists():
        pytest.skip("no toolchain: run `make toolchain`")
    base = docker.from_env().images.get(CONFIG["buildImage"])
    folder = tmp_path_factory.mktemp("s")
    with swarm_engines(folder) as found:
        found.manager.take(base)
        yield found
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def engine(engines: SwarmEngines) -> docker.DockerClient:
    """The manager's engine."""
    return engines.manager.client


@pytest.fixture(scope="package", autouse=True)
def on_the_managers_machine(engines: SwarmEngines) -> Iterator[None]:
    """Reach the hub at the loopback of its machine, as tests of one engine do."""
    with engines.manager.machine():
        yield


def config(engines: SwarmEngines) -> dict[str, Any]:
    """What a stack on the swarm is set to."""
    return CONFIG | {
        "platform": "linux/amd64",
        "baseImage": CONFIG["buildImage"],
        "port": free_port(),
        "engineSocket": engines.manager.listens,
        "swarm": True,
        "swarmNodes": "zhub=servers",
        "registry": engines.registry,
        "homesPath": str(engines.homes),
        "notebookPackages": ["python3-six"],
        "userMemory": "512M",
    }


@contextmanager
def stack_on(
    engines: SwarmEngines, name: str, project: Path, settings: dict[str, Any]
) -> Iterator[Stack]:
    """Bring up a stack on the swarm, from a checkout of its own; take it down."""
    found = Stack(name, project, project=project)
    found.init(settings)
    found.on_stack("config set", "docker:host", engines.manager.address)
    try:
        found.up()
        await_ready(engines, found)
        yield found
    finally:
        found.on_stack("destroy", "--yes")
        shutil.rmtree(found.folder, ignore_errors=True)


@pytest.fixture(scope="package")
def stack(engines: SwarmEngines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack on the swarm."""
    project = equipped(tmp_path_factory.mktemp("state") / "project")
    with stack_on(engines, "e2e-swarm", project, config(engines)) as found:
        yield found


def await_ready(engines: SwarmEngines, stack: Stack) -> None:
    """Wait until servers may start everywhere: `up` does not wait for what each machine runs."""

    def ready() -> bool:
        return all(
            node.client.containers.list(filters=stack.labelled(role))
            for node in engines.nodes
            for role in ("nodeguard", "nodefilter", "nodenotebook")
        )

    wait_until(ready, seconds=300)


def started_on(
    node: NodeEngine, engines: SwarmEngines, stack: Stack, entrance: Entrance, name: str
) -> SwarmTenant:
    """A demo user with a server on one of the engines, as the others take none at that time."""
    user = entrance.logged_in(name)
    with engines.only(node):
        user.start_server()
    found = SwarmTenant(user, engines.manager.client, stack, engines)
    assert found.node is node
    return found


@pytest.fixture(scope="package")
def alice(engines: SwarmEngines, stack: Stack, entrance: Entrance) -> Iterator[SwarmTenant]:
    """The victim of attacks, on the second engine."""
    found = started_on(engines.nodes[1], engines, stack, entrance, "alice")
    yield found
    found.user.stop_server()


@pytest.fixture(scope="package")
def mallory(engines: SwarmEngines, stack: Stack, entrance: Entrance) -> Iterator[SwarmTenant]:
    """The attacker, logged in as Bob, on the manager's engine."""
    found = started_on(engines.manager, engines, stack, entrance, "bob")
    yield found
    found.user.stop_server()


@pytest.fixture(scope="package")
def carol(engines: SwarmEngines, stack: Stack, entrance: Entrance) -> Iterator[SwarmTenant]:
    """Another attacker, on the third engine."""
    found = started_on(engines.nodes[2], engines, stack, entrance, "carol")
    yield found
    found.user.stop_server()
