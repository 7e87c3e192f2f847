"""Which subnets the engine's networks take, and which subnets of a pool are free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network

import docker

from zhub.contract import SUBNET_PREFIX


def free_subnets(pool: IPv4Network, taken: Iterable[str]) -> Iterator[IPv4Network]:
    """Yield the subnets of the pool that overlap none of the taken ones, lowest first."""
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
