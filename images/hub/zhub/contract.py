"""Constants that the hub and its guard must agree on, without trusting each other.

The hub writes labels and addresses into its calls; the guard refuses any that differ from these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from ipaddress import IPv4Network

from docker.types import IPAMConfig, IPAMPool

STACK, ROLE, USER = "zhub.stack", "zhub.role", "zhub.user"
"""Labels of all containers, networks and volumes of a stack; the last only where they belong to a
user."""

USER_NAME = re.compile(r"[a-z0-9@#$][a-z0-9@#$._-]{0,63}")
"""What users of the hub are called: what a directory may call people, in lower case. Operators'
commands print these names, and put them into names of files."""

FOLDER = "zhub.folder"
"""Label of the volumes that several users have: the folder's name."""

UNUSABLE = HTTPStatus.FAILED_DEPENDENCY
"""The guard's status when a shared folder cannot be mounted; the engine never answers with it."""

SERVER_USER = 1000
"""User ID and group ID of all users' servers."""

OOM_SCORE = 500
"""What a user's server adds to its OOM score (oom_score_adj, of 1000). Where the machine itself has
no memory left, the kernel ends a process of the largest score: one of a server, and not the hub,
the proxy, the guard or the directory, which add nothing."""

FILTER_SIGN = ("127.0.9.9", 9)
"""Address and TCP port of a server's own loopback that its packet filter refuses. A server that has
its network before its filter connects there, to see whether the filter is set."""

AWAIT_FILTER = "ZHUB_AWAIT_FILTER"
"""Variable with that address, HOST:PORT, of a server that must wait for its filter."""

LEASE = "ZHUB_LEASE"
"""Variable with the seconds that a server runs on without an answer of its hub."""

LEASE_SECONDS = 180
"""Its value. Servers go on while the hub is away for less. Users whose machine is lost wait a bit
longer than this for their next server."""

CPU_SHARES = 64
"""Weight of a user's server where processors are short; other containers have 1024. Sixteen servers
that compute get as much as the hub alone would take."""

PROFILE = "ZHUB_PROFILE"
"""Variable of a server with the name of its profile, in stacks that have profiles."""

HOME_LIMIT = "ZHUB_HOME_LIMIT"
"""Variable of a server with the bytes that its user's home should not have more than, in stacks
with such a limit."""

FULL = HTTPStatus.INSUFFICIENT_STORAGE
"""The guard's status when there is no room for another server; the engine never answers with it."""

UPDATING = (
    "The hub is being updated, so no server can be started just now. Please try again in a minute."
    " If it lasts, tell your administrator: the last pulumi up has not come to its end."
)
"""The guard's words, with status 503, for a hub of another version of the stack than its own."""

HUB_ALIAS = "hub"
"""Host name by which notebooks reach the hub, whichever container has its network."""

HUB_PORT = 8081
HUB_URL = f"http://{HUB_ALIAS}:{HUB_PORT}"
"""Where notebooks find JupyterHub itself."""

SUBNET_PREFIX = 28
"""Prefix length of a user's network: room for gateway, hub, notebook and a few more; 4096 such
networks fit in a /16."""

NO_NETWORK = "none"
"""The engine's name for the network of a container without a network."""

NO_IPV6 = {"com.docker.network.enable_ipv6": "false"}
"""Network option that turns IPv6 off, whatever the engine's own default-network-opts say."""

NO_HOST = {"com.docker.network.bridge.inhibit_ipv4": "true"}
"""Network option that leaves the engine's machine without an address in the network. Docker 20.10
gives it one even in internal networks, and so containers reach every service that listens on the
machine."""


class Role(StrEnum):
    """Values of the label zhub.role."""

    HUB = "hub"
    """The hub's container."""
    PROXY = "proxy"
    """The proxy's container, if it has one of its own."""
    FRONT = "front"
    """With such a proxy: the container in whose network namespace hub and proxy run. It only waits,
    so that neither of them takes the other's network along when it ends."""
    SERVER = "notebook"
    """The container of a user's server."""
    NETWORK = "user-network"
    """The network of a user's server."""
    HOME = "home"
    """The volume with a user's files."""
    SHARED = "shared"
    """A volume that several users have."""


def in_users_networks(*, separate_proxy: bool) -> Role:
    """Return the role of the container that is attached to the users' networks."""
    return Role.FRONT if separate_proxy else Role.HUB


def labelled(stack: str, role: str) -> dict[str, list[str]]:
    """Return the engine's filter for the objects that have a role in a stack."""
    return {"label": [f"{STACK}={stack}", f"{ROLE}={role}"]}


def network_options(*, internal: bool) -> dict[str, str]:
    """Return the driver's options for a user's network."""
    return NO_IPV6 | NO_HOST if internal else NO_IPV6


def gateway_address(subnet: IPv4Network) -> str:
    """Return the address of the engine's machine in a user's network."""
    return str(subnet[1])


def hub_address(subnet: IPv4Network) -> str:
    """Return the hub's address in a user's network."""
    return str(subnet[2])


def addressing(subnet: IPv4Network) -> IPAMConfig:
    """Return the address configuration (IPAM) of a user's network.

    It names the machine's address even where the machine has none (`NO_HOST`): Docker 28 would give
    that address to the user's server, which the hub would then take for the machine and not reach.

    Other containers get addresses in the upper half. Otherwise a server that is attached while the
    hub's container is stopped would get the hub's address, and the hub could not start any more.
    """
    _, upper = subnet.subnets()
    pool = IPAMPool(subnet=str(subnet), gateway=gateway_address(subnet), iprange=str(upper))
    return IPAMConfig(pool_configs=[pool])


_WHO = ("actor", "address")

AUDITED: Mapping[str, frozenset[str]] = {
    "login": frozenset({"user", "address", "outcome"}),
    "logout": frozenset({"user", "address"}),
    "server.start": frozenset({"user", *_WHO, "outcome"}),
    "server.stop": frozenset({"user", *_WHO, "status"}),
    "server.enter": frozenset({"user", *_WHO}),
    "token.make": frozenset({"user", *_WHO, "status", "token"}),
    "token.revoke": frozenset({"user", *_WHO, "status", "token"}),
    "token.use": frozenset({"user", "address", "token"}),
    "token.refuse": frozenset({"address"}),
    "admin": frozenset({*_WHO, "method", "path", "status"}),
    "operator": frozenset({"command", "user"}),
    "hub.start": frozenset(),
    "setting": frozenset({"name", "before", "now"}),
    "lost": frozenset({"cause", "count"}),
}
"""What the hub reports for the audit log, and the fields of each; docs/logs.md says what they mean.
The guard takes nothing else, and writes it down as what the hub says."""
