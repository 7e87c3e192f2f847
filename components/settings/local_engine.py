"""What is on an engine of this machine already: asked once, before anything is declared."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import docker
import pulumi
import requests.exceptions

from components.settings import address as at
from components.settings import routes, swarm_facts
from components.settings.config import Config
from components.settings.deployed import Deployed
from components.settings.engine import UNPRIVILEGED, Engine
from components.settings.parsing import RefusedError
from components.settings.prefix import PREFIX
from components.settings.routes import Route
from components.settings.swarm_facts import Facts

#: Seconds the engine has to answer a question.
ANSWER_TIMEOUT = 5

#: Addresses that stand for all of a machine's.
EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to

#: What engines give networks addresses from where nobody sets it (moby, libnetwork/ipamutils).
DEFAULT_POOLS = (
    *("172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/14", "172.24.0.0/14"),
    *("172.28.0.0/14", "192.168.0.0/16"),
)


@dataclass(frozen=True, kw_only=True)
class LocalEngine:
    """An engine on this machine; as one without anything if it does not answer."""

    id: str | None = None
    """Differs between machines; two engines of one machine may have the same one."""
    containers: Sequence[Mapping[str, Any]] = ()
    """All there are, as Docker's API lists them, those that do not run too."""

    networks: Sequence[Mapping[str, Any]] = ()
    """All there are, as Docker's API lists them."""
    images: frozenset[str] | None = None
    """IDs and digests of all there are, as the engine lists them and with the registry's host; None
    if the engine does not answer."""
    root: str | None = None
    """The folder in which it keeps all that is its own."""
    routes: frozenset[Route] = frozenset()
    """This machine's."""
    default_pools: Sequence[IPv4Network] = ()
    """What it gives networks addresses from for which nobody names any."""
    swarm: Facts | None = None
    """What it says of its swarm; None if the engine does not answer."""

    def hubs(self, prefix: str) -> list[Mapping[str, Any]]:
        """The containers of the stack with that prefix that may have its port: front or hub."""
        return [
            one
            for one in self.containers
            if (one["Labels"] or {}).get("zhub.stack") == prefix
            and (one["Labels"] or {}).get("zhub.role") in {"front", "hub"}
        ]


def ask(engine: Engine) -> LocalEngine | None:
    """Ask an engine what it is and has; None for one on another machine, which is not asked."""
    if not engine.local:
        return None
    try:
        with contextlib.closing(docker.APIClient(engine.host, "auto", ANSWER_TIMEOUT)) as client:
            info = client.info()
            return LocalEngine(
                id=info["ID"],
                root=info["DockerRootDir"],
                swarm=swarm_facts.ask(client, info),
                containers=client.containers(all=True),
                networks=client.networks(),
                routes=routes.read(),
                default_pools=_default_pools(info),
                images=frozenset(
                    known for image in client.images(all=True) for known in _names_of(image)
                ),
            )
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        pulumi.log.warn(
            f"the engine at {engine.host} does not answer, so it was not checked whether it is the"
            f" one that the stack is on, and whether prefix and port are free there: {error}"
        )
    return LocalEngine()


def _names_of(image: Mapping[str, Any]) -> Iterator[str]:
    """What an image's digest in the stack's state may be."""
    yield image["Id"]
    for digest in image["RepoDigests"] or ():
        yield digest
        # The engine leaves out what stands for Docker Hub (distribution/reference, `FamiliarName`).
        host, slash, _ = digest.partition("/")
        if not slash:
            yield f"docker.io/library/{digest}"
        elif not ("." in host or ":" in host or host == "localhost"):
            yield f"docker.io/{digest}"


def _default_pools(info: Mapping[str, Any]) -> list[IPv4Network]:
    """The engine's default-address-pools; it lists only those that somebody has set."""
    bases = [pool["Base"] for pool in info.get("DefaultAddressPools") or ()] or DEFAULT_POOLS
    return [IPv4Network(base) for base in bases if ":" not in base]


def lost_images(local: LocalEngine, before: Deployed) -> dict[str, int]:
    """How often the engine has lost an image of the stack, this time included, by its folder.

    Pulumi does not ask the engine about images. Warns of those that it has lost since the last
    `up`, which then builds them again.
    """
    times = before.lost_images
    for folder, (name, digest) in before.images.items():
        if local.images is not None and digest not in local.images:
            times[folder] = times.get(folder, 0) + 1
            pulumi.log.warn(
                f"the image {name} ({digest}) is missing on the engine, so it is built again;"
                " without it, what needs it cannot start"
            )
    return times


def refuse_taken_prefix(config: Config, local: LocalEngine, prefix: str, before: Deployed) -> None:
    """Note that another stack has the prefix on the engine: its volumes would become this one's.

    Args:
        config: of the stack.
        local: the engine.
        prefix: of the names of all that the stack makes.
        before: the stack's state. What a stack has left on the engine after a destroy is volumes.
    """
    if before.prefix is None and local.hubs(prefix) and PREFIX not in config.refused:
        config.clash(
            PREFIX,
            f"the engine has a hub with {prefix} already, and this stack has none. Two stacks must"
            " not have one prefix: each would use the other's database and homes. If the hub is"
            " this stack's, its state is elsewhere or lost: docs/more-than-one.md. Otherwise",
            PREFIX.set_command(f"{prefix[:35].rstrip('-')}-2"),
        )


def refuse_taken_port(
    local: LocalEngine, prefix: str, address: str, port: int, before: Deployed
) -> None:
    """Refuse a port that something other than the stack's own hub has.

    Args:
        local: the engine.
        prefix: of the names of all that the stack has on it.
        address: on which the hub's port is to be opened.
        port: the hub's.
        before: the stack's state. An engine that does not answer cannot say whose port it is.

    Raises:
        RefusedError: when another container or program has it.
    """
    if local.id is None and port in before.ports:
        return
    # The engine lists no ports of a container that it is just restarting.
    for hub in local.hubs(prefix):
        if hub["State"] == "restarting" or _published(hub, port):
            return
    for container in local.containers:
        addresses = _published(container, port)
        if address in addresses or (addresses and EVERY_ADDRESS & {address, *addresses}):
            name = container["Names"][0].removeprefix("/")
            raise _taken(port, f"container {name} on this engine")
    _refuse_bound_port(address, port)


def _published(container: Mapping[str, Any], port: int) -> set[str | None]:
    """On which addresses the container has that TCP port."""
    return {
        published.get("IP")
        for published in container["Ports"]
        if (published["Type"], published.get("PublicPort")) == ("tcp", port)
    }


def _taken(port: int, by: str) -> RefusedError:
    # 443 becomes 8443, as administrators write it.
    other = port + 8000 if port < UNPRIVILEGED else max(UNPRIVILEGED, (port + 1) % 65536)
    return RefusedError(f"taken by {by}", fix=at.PORT.set_command(str(other)))


def _bind(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


def refuse_foreign_address(address: str) -> None:
    """Refuse an address that an engine here cannot open ports on, since it is another machine's.

    Raises:
        RefusedError: when this machine does not have the address.
    """
    try:
        _bind(address, 0)
    except OSError as error:
        raise RefusedError(f"no address of this machine: {error.strerror}") from None


def _refuse_bound_port(address: str, port: int) -> None:
    try:
        _bind(address, port)
    except OSError as error:
        if error.errno == errno.EACCES and port < UNPRIVILEGED:
            # This user may not open it; the engine may.
            return
        if error.errno == errno.EADDRINUSE:
            raise _taken(port, "another program on this machine") from None
        raise RefusedError(f"cannot be opened: {error.strerror}") from None
