"""The Docker engine a stack lives on: which one, and what is on it already."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pulumi
import requests.exceptions

from components.settings import address as at
from components.settings import parsing
from components.settings.config import Config
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: Where an engine on this machine listens, the default first; the others are Docker Desktop's.
LOCAL_SOCKETS = (
    Path("/var/run/docker.sock"),
    Path.home() / ".docker/run/docker.sock",
    Path.home() / ".docker/desktop/docker.sock",
)

#: Seconds the local engine has to answer before anything is declared.
ANSWER_TIMEOUT = 5

SSH_PORT = 22

#: Ports below are opened by root alone, unless the machine says otherwise.
UNPRIVILEGED = 1024

#: Addresses that stand for all of a machine's.
EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def host(text: str) -> str:
    """Parse the setting docker:host; empty is what the environment or this machine has."""
    if not text:
        found = next((path for path in LOCAL_SOCKETS if path.exists()), LOCAL_SOCKETS[0])
        return os.environ.get("DOCKER_HOST") or f"unix://{found}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise RefusedError("not an address such as ssh://user@host") from None
    if parts.password:
        raise RefusedError("holds a password; use a key or the ssh agent", secret=True)
    usable = {
        "unix": not parts.netloc and parts.path.startswith("/"),
        "npipe": parts.path.startswith("/"),
        "ssh": bool(parts.hostname) and parts.path in {"", "/"},
        "tcp": bool(parts.hostname) and bool(port) and parts.path in {"", "/"},
    }
    if re.search(r"\s", text) or not usable.get(parts.scheme):
        raise RefusedError("neither ssh://[user@]host[:port], unix:///path nor tcp://host:port")
    return text


def _cert_path(text: str) -> str:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        try:
            parsing.content(f"{text}/{name}")
        except RefusedError as error:
            raise RefusedError(f"needs a file {name}: {error}") from None
    return text


#: The two settings of Pulumi's Docker provider that reach all of it, and the `docker` command too.
#: Of the others, context and sshOpts reach only half, and keyMaterial would stay in the state in
#: clear.
HOST = Setting(
    "docker:host",
    "",
    "Docker engine: ssh://user@host, tcp://host:port or unix:///path; empty for this machine's",
    host,
    example="ssh://user@z.example.com",
)
CERT_PATH = Setting(
    "docker:certPath",
    "",
    "Folder with ca.pem, cert.pem and key.pem, for an engine at a tcp:// address with TLS",
    parsing.or_none(_cert_path),
    example="engine-certificates",
)
SAME_ENGINE_AS = Setting(
    "sameEngineAs",
    "",
    "Address that docker:host had before, where the new one is another address of the same engine",
    parsing.or_none(host),
    example="ssh://user@z.example.com",
)
ENGINE_SOCKET = Setting(
    "engineSocket",
    "/var/run/docker.sock",
    "Path of the engine's socket on the engine's machine",
    parsing.absolute_path,
)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How to reach the engine."""

    host: str
    """Address as Docker writes it: unix:///PATH, ssh://[USER@]HOST[:PORT] or tcp://HOST:PORT."""
    cert_path: str | None
    """Folder with ca.pem, cert.pem and key.pem, for tcp with TLS."""
    socket: str
    """Path of the engine's socket on its own machine, where the hub finds it."""
    former: str | None = None
    """Another address of the same engine, which the stack had before."""

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.host.startswith(("unix://", "npipe://"))

    @property
    def environment(self) -> dict[str, str]:
        """What the `docker` command must have in its environment to talk to this engine."""
        environment = {"DOCKER_HOST": self.host}
        if self.cert_path:
            environment |= {"DOCKER_CERT_PATH": self.cert_path, "DOCKER_TLS_VERIFY": "1"}
        return environment


def read(config: Config) -> Engine:
    """Read which engine the stack goes to."""
    address = config.value(HOST)
    cert_path = config.value(CERT_PATH)
    if cert_path and not address.startswith("tcp://"):
        config.clash(
            CERT_PATH, "is for engines at tcp:// addresses only", CERT_PATH.remove_command()
        )
    return Engine(
        host=address,
        cert_path=cert_path,
        socket=config.value(ENGINE_SOCKET),
        former=config.value(SAME_ENGINE_AS),
    )


def refuse_move(config: Config, engine: Engine, deployed: str | None) -> None:
    """Note that the stack is on another engine than its config says.

    A changed address of a provider replaces nothing. So an `up` would succeed, make nothing on the
    new engine, and leave everything on the old one.

    Args:
        config: of the stack.
        engine: where the config says that the stack is.
        deployed: address of the engine that the stack is on; None if it is on none.
    """
    if deployed is None or _same(deployed, engine.host):
        return
    if engine.former and _same(deployed, engine.former):
        return
    by = "" if config.is_set(HOST) else ", from DOCKER_HOST or by default"
    config.clash(
        HOST,
        f"the stack is on the engine at {deployed}, and this run would go to {engine.host}{by}."
        " `pulumi up` moves nothing: containers, homes and the hub's database would stay behind."
        " To move it: docs/operations.md, Move to another machine. To stay, run the first line; if"
        " both are addresses of the same engine, the second",
        HOST.set_command(deployed),
        SAME_ENGINE_AS.set_command(deployed),
    )
    config.refused.add(HOST)


def _same(one: str, other: str) -> bool:
    return _canonical(one) == _canonical(other)


def _canonical(address: str) -> object:
    """What two spellings of an address have in common."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return address
    if parts.scheme == "unix":
        # /var/run is mostly a link to /run.
        return os.path.realpath(parts.path)
    if parts.scheme == "ssh":
        port = port or SSH_PORT
    return parts.scheme, parts.username, parts.hostname, port, parts.path.strip("/")


def refuse_context(environment: Mapping[str, str]) -> None:
    """Refuse Docker's contexts: of Pulumi's Docker provider, only the half for containers obeys.

    Raises:
        RefusedError: when the environment names one.
    """
    context = environment.get("DOCKER_CONTEXT", "default")
    if context not in {"", "default"}:
        raise RefusedError(
            f"the environment variable DOCKER_CONTEXT is {context}: containers would go to that"
            " engine, images to another",
            fix="unset DOCKER_CONTEXT",
        )


def refuse_taken_port(engine: Engine, prefix: str, address: str, port: int) -> None:
    """Refuse a port that something other than the stack's own hub has, on a local engine.

    Raises:
        RefusedError: when another container or program has it.
    """
    if not engine.local:
        return
    try:
        with contextlib.closing(docker.APIClient(engine.host, "auto", ANSWER_TIMEOUT)) as client:
            own = client.containers(filters={"label": [f"zhub.stack={prefix}", "zhub.role=hub"]})
            others = client.containers(filters={"publish": f"{port}/tcp"})
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        pulumi.log.warn(
            f"the engine at {engine.host} does not answer, so whether another container has port"
            f" {port} was not checked: {error}"
        )
        own = others = []
    # The engine lists no ports of a container that it is just restarting.
    if any(hub["State"] == "restarting" or port in _published(hub) for hub in own):
        return
    for container in others:
        addresses = {p.get("IP") for p in container["Ports"] if p.get("PublicPort") == port}
        if address in addresses or EVERY_ADDRESS & {address, *addresses}:
            name = container["Names"][0].removeprefix("/")
            raise _taken(port, f"container {name} on this engine")
    _refuse_bound_port(address, port)


def _published(container: dict[str, Any]) -> set[int | None]:
    return {published.get("PublicPort") for published in container["Ports"]}


def refuse_taken_pool(engine: Engine, prefix: str, pool: str) -> None:
    """Refuse a pool of users' networks that another network of a local engine covers.

    Raises:
        RefusedError: when one does, so that no user would ever get a network.
    """
    if not engine.local:
        return
    try:
        with contextlib.closing(docker.APIClient(engine.host, "auto", ANSWER_TIMEOUT)) as client:
            networks = client.networks()
    except (docker.errors.DockerException, requests.exceptions.RequestException):
        # The warning is given where the port is looked at.
        return
    for network in networks:
        if (network["Labels"] or {}).get("zhub.stack") == prefix:
            continue
        for config in network["IPAM"]["Config"] or ():
            subnet = ip_network(config["Subnet"])
            if isinstance(subnet, IPv4Network) and IPv4Network(pool).subnet_of(subnet):
                raise RefusedError(
                    f"all of it belongs to the network {network['Name']} of this engine, {subnet}:"
                    " no user would get a network"
                )


def _taken(port: int, by: str) -> RefusedError:
    # 443 becomes 8443, as administrators write it.
    other = port + 8000 if port < UNPRIVILEGED else max(UNPRIVILEGED, (port + 1) % 65536)
    return RefusedError(f"taken by {by}", fix=at.PORT.set_command(str(other)))


def _bind(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


def refuse_foreign_address(engine: Engine, address: str) -> None:
    """Refuse an address that a local engine cannot open ports on, since it is another machine's.

    Raises:
        RefusedError: when this machine does not have the address.
    """
    if not engine.local:
        return
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
