"""Which subnets the engine's networks take, and which subnets of a pool are free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

import docker

from zhub.contract import SUBNET_PREFIX

SIZE = 1 << (32 - SUBNET_PREFIX)
"""Addresses of a user's subnet."""


class Pool:
    """The users' subnets of a pool, and which of them are taken, as far as is known.

    By number: to compare each subnet with each taken one takes a second for 800 servers.
    """

    def __init__(self, network: IPv4Network, taken: Iterable[str]) -> None:
        self._first, self._last = int(network[0]), int(network[-1])
        self.network = network
        self._taken: set[int] = set()
        for one in map(ip_network, taken):
            if isinstance(one, IPv4Network):
                self._taken.update(self._numbers(one))

    def _numbers(self, network: IPv4Network) -> range:
        if not network.overlaps(self.network):
            return range(0)
        low, high = max(int(network[0]), self._first), min(int(network[-1]), self._last)
        return range((low - self._first) // SIZE, (high - self._first) // SIZE + 1)

    def take(self, subnet: IPv4Network) -> None:
        """Note that a subnet has been taken."""
        self._taken.update(self._numbers(subnet))

    def give(self, subnet: IPv4Network) -> None:
        """Note that nothing has a subnet any more."""
        self._taken.difference_update(self._numbers(subnet))

    def free(self) -> Iterator[IPv4Network]:
        """Yield the subnets that overlap none of the taken ones, lowest first."""
        for number in range(self.network.num_addresses // SIZE):
            if number not in self._taken:
                yield IPv4Network((self._first + number * SIZE, SUBNET_PREFIX))


def subnet_of(network: Mapping[str, Any]) -> IPv4Network:
    """Return the subnet of a user's network, which has one, as Docker's API shows the network."""
    return IPv4Network(network["IPAM"]["Config"][0]["Subnet"])


def subnets_of(networks: Iterable[Mapping[str, Any]]) -> list[IPv4Network]:
    """Return the IPv4 subnets of networks as Docker's API lists them."""
    found = (
        ip_network(config["Subnet"])
        for network in networks
        for config in network["IPAM"]["Config"] or ()
    )
    return [subnet for subnet in found if isinstance(subnet, IPv4Network)]


def taken_subnets(client: docker.APIClient) -> list[str]:
    """Return the subnets of all networks that the engine has."""
    return [
        config["Subnet"]
        for network in client.networks()
        for config in network["IPAM"]["Config"] or ()
    ]
