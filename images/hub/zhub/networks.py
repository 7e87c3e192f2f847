"""A network of its own for each user's server, with the hub attached to all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

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

log = logging.getLogger(__name__)


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


def free_subnets(pool: IPv4Network, taken: Iterable[str]) -> Iterator[IPv4Network]:
    """Yield the subnets of the pool that overlap none of the networks taken, lowest first."""
    used = [network for network in map(ip_network, taken) if isinstance(network, IPv4Network)]
    for subnet in pool.subnets(new_prefix=SUBNET_PREFIX):
        if not any(subnet.overlaps(network) for network in used):
            yield subnet


def taken_subnets(client: docker.APIClient) -> list[str]:
    """Return the subnets of all networks that the engine has."""
    return [
        config["Subnet"]
        for network in client.networks()
        for config in network["IPAM"]["Config"] or ()
    ]


class UserNetworks:
    """The users' networks of one hub.

    Addresses come from the hub's own pool, because Docker's default pools hold about thirty
    networks. The hub has the same address in a network whichever container it runs in: a notebook
    that outlives its hub may go on using the one it looked up.
    """

    def __init__(
        self,
        client: docker.APIClient,
        *,
        prefix: str,
        hub: str,
        pool: IPv4Network,
        internal: bool,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._hub = hub
        self._pool = pool
        self._internal = internal

    def open(self, name: str, labels: dict[str, str]) -> None:
        """Make sure that the network is there, as configured now, and the hub in it."""
        if network := self._inspect(name):
            if network["Internal"] == self._internal or self._members(network):
                self._attach(network)
                return
            self.close(name)
        # Each question to the engine takes its time: about a new network there is none.
        self._connect(name, self._create(name, labels))

    def join(self, name: str, labels: dict[str, str], container: str) -> None:
        """Open the network and attach a container that runs without one, which counts as one."""
        self.open(name, labels)
        self._client.disconnect_container_from_network(container, NO_NETWORK)
        self._client.connect_container_to_network(container, name)

    def close(self, name: str) -> None:
        """Remove the network, whoever is still attached; do nothing when there is none."""
        network = self._inspect(name)
        if not network:
            return
        for container in network["Containers"]:
            self._client.disconnect_container_from_network(container, name, force=True)
        self._client.remove_network(name)

    def restore(self) -> None:
        """Attach the hub to the networks of servers that run, and remove the others.

        Must be done before JupyterHub starts: it stops servers that it cannot reach then.
        """
        labels = [f"zhub.stack={self._prefix}", "zhub.role=user-network"]
        for summary in self._client.networks(filters={"label": labels}):
            network = self._inspect(summary["Name"])
            if not network:
                continue
            if self._members(network):
                log.info("attaching the hub to network %s", network["Name"])
                self._attach(network)
            else:
                log.info("removing network %s, which nothing uses", network["Name"])
                self.close(network["Name"])

    def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            network: dict[str, Any] = self._client.inspect_network(name)
        except NotFound:
            return None
        return network

    def _members(self, network: dict[str, Any]) -> bool:
        """Whether a container other than the hub runs in the network."""
        hub = self._client.inspect_container(self._hub)["Id"]
        return any(container != hub for container in network["Containers"])

    def _create(self, name: str, labels: dict[str, str]) -> IPv4Network:
        """Create a network in the first subnet that is free; return the subnet."""
        for subnet in free_subnets(self._pool, taken_subnets(self._client)):
            try:
                self._client.create_network(
                    name,
                    driver="bridge",
                    internal=self._internal,
                    options=network_options(internal=self._internal),
                    ipam=addressing(subnet),
                    labels=labels,
                )
            except APIError as error:
                # Another hub on the same engine was quicker.
                if "overlap" not in str(error.explanation):
                    raise
                continue
            return subnet
        raise RuntimeError(f"no subnet is left in {self._pool}: set a larger network pool")

    def _attach(self, network: dict[str, Any]) -> None:
        """Make sure that the hub is in a network that may be older than this hub."""
        hub = self._client.inspect_container(self._hub)
        if network["Name"] not in hub["NetworkSettings"]["Networks"]:
            subnet = IPv4Network(network["IPAM"]["Config"][0]["Subnet"])
            self._connect(network["Name"], subnet)

    def _connect(self, name: str, subnet: IPv4Network) -> None:
        self._client.connect_container_to_network(
            self._hub, name, aliases=[HUB_ALIAS], ipv4_address=hub_address(subnet)
        )
