"""What the hub and its guard must agree on, each without trusting the other.

The hub writes labels and addresses into its calls; the guard refuses what differs from these.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from ipaddress import IPv4Network

from docker.types import IPAMConfig, IPAMPool

STACK, ROLE, USER = "zhub.stack", "zhub.role", "zhub.user"
"""Labels of what belongs to a stack; the last one of what belongs to a user."""

LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
"""How the engine keeps what a user's server prints: 30 MB at most."""

FULL = HTTPStatus.INSUFFICIENT_STORAGE
"""The guard's answer when there are as many servers as there may be; the engine never gives it."""

HUB_ALIAS = "hub"
"""Host name by which notebooks reach the hub, whichever container it runs in."""

HUB_PORT = 8081
HUB_URL = f"http://{HUB_ALIAS}:{HUB_PORT}"
"""Where notebooks find JupyterHub itself."""

SUBNET_PREFIX = 28
"""Of a user's network: gateway, hub, notebook and room for a few more; 4096 of them in a /16."""

NO_NETWORK = "none"
"""The engine's name for a container's network when it has none."""

NO_IPV6 = {"com.docker.network.enable_ipv6": "false"}
"""Option of a network without IPv6, whatever the engine's own default-network-opts say."""

NO_HOST = {"com.docker.network.bridge.inhibit_ipv4": "true"}
"""Option of a network in which the engine's machine has no address. Docker 20.10 gives it one in
internal networks, too, and with it the way to all that listens on that machine."""


class Role(StrEnum):
    """Values of the label zhub.role."""

    HUB = "hub"
    """The hub's container."""
    SERVER = "notebook"
    """The container of a user's server."""
    NETWORK = "user-network"
    """The network of a user's server."""
    HOME = "home"
    """The volume with a user's files."""


def labelled(stack: str, role: str) -> dict[str, list[str]]:
    """Return the engine's filter for what has a role in a stack."""
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
    """Return what a user's network is given for its addresses.

    The machine's is named also where the machine does not use it (`NO_HOST`): Docker 28 would give
    it to the user's server there, which the hub then takes for the machine, and does not reach.
    """
    return IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=gateway_address(subnet))])
