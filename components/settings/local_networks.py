"""Networks that must not overlap, as an engine on this machine and its routes show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses, ip_network
from typing import Any

from components.settings.ldap import Ldap
from components.settings.local_engine import LocalEngine
from components.settings.networks import addresses, directory_hosts, named_by, offered
from components.settings.parsing import RefusedError
from components.settings.users import SUBNET_PREFIX, UserServers

#: How many networks a message names.
NAMED = 3


@dataclass(frozen=True)
class Taken:
    """A part of the pool that something else has, or all of it."""

    network: IPv4Network
    by: str
    """What has it, as a message names it."""
    routed: bool
    """Whether it is this machine's by a route or an address, and no network of the engine."""


def taken(local: LocalEngine, prefix: str, pool: IPv4Network) -> list[Taken]:
    """What of the pool something else has than users' servers of the stack with that prefix.

    A route around the pool is not counted: sites have routes to all private addresses, and then
    give parts of them away.
    """
    found = []
    of_engine = set()
    for network in local.networks:
        for subnet in _subnets(network):
            of_engine.add(subnet)
            if not _of_users(network, prefix) and subnet.overlaps(pool):
                by = f"the network {network['Name']} of this engine ({subnet})"
                found.append(Taken(subnet, by, routed=False))
    reached = {route.network for route in local.routes if not route.own}
    for route in sorted(local.routes, key=lambda one: one.network):
        # An own address says nothing new where it is in a network that has a route.
        known = of_engine | reached if route.own else of_engine
        if route.network.subnet_of(pool) and not _within(route.network, known):
            what = (
                "an address of this machine" if route.own else "which this machine has a route to"
            )
            found.append(Taken(route.network, f"{_short(route.network)} ({what})", routed=True))
    return found


def _short(network: IPv4Network) -> str:
    return str(network).removesuffix("/32")


def _subnets(network: Mapping[str, Any]) -> Iterator[IPv4Network]:
    for config in network["IPAM"]["Config"] or ():
        subnet = ip_network(config["Subnet"])
        if isinstance(subnet, IPv4Network):
            yield subnet


def _of_users(network: Mapping[str, Any], prefix: str) -> bool:
    labels = network["Labels"] or {}
    return (labels.get("zhub.stack"), labels.get("zhub.role")) == (prefix, "user-network")


def _within(network: IPv4Network, others: set[IPv4Network]) -> bool:
    # Not by comparing with each: there are as many of both as users.
    lengths = range(network.prefixlen + 1)
    return any(network.supernet(new_prefix=length) in others for length in lengths)


def free(pool: IPv4Network, parts: Iterable[IPv4Network]) -> int:
    """How many users' networks fit into what is left of the pool."""
    smallest = (
        part if part.prefixlen <= SUBNET_PREFIX else part.supernet(new_prefix=SUBNET_PREFIX)
        for part in parts
    )
    inside = (pool if pool.subnet_of(part) else part for part in smallest if part.overlaps(pool))
    left = pool.num_addresses - sum(part.num_addresses for part in collapse_addresses(inside))
    return left >> (32 - SUBNET_PREFIX)


def refuse_taken_pool(local: LocalEngine, prefix: str, users: UserServers) -> None:
    """Refuse a pool of users' networks of which nothing is left.

    Raises:
        RefusedError: when no user would ever get a network, or nobody could log in.
    """
    pool = IPv4Network(users.network_pool)
    parts = taken(local, prefix, pool)
    apart = offered([*named_by(users, None), *in_use(local, pool)])
    if not free(pool, (part.network for part in parts)):
        raise RefusedError(
            f"all of it belongs to {_listed(parts)}: no user would get a network", fix=apart
        )
    for network in local.networks:
        if network["Name"] == f"{prefix}-directory" and any(
            subnet.overlaps(pool) for subnet in _subnets(network)
        ):
            raise RefusedError(
                f"holds the network {network['Name']} of this engine, and the hub takes the demo"
                " directory in it for a user's server: nobody could log in",
                fix=apart,
            )


def in_use(local: LocalEngine, pool: IPv4Network) -> Iterator[IPv4Network]:
    """All networks that a new pool must be apart from."""
    for network in local.networks:
        # Users' networks are in the pool that is to change.
        yield from (subnet for subnet in _subnets(network) if not subnet.subnet_of(pool))
    yield from (part.network for part in taken(local, "", pool) if part.routed)
    yield from (route.network for route in local.routes if not route.network.subnet_of(pool))
    yield from local.default_pools


def hidden_directory(local: LocalEngine, ldap: Ldap) -> Iterator[str]:
    """Warn of servers of the directory whose addresses the engine gives to its own networks."""
    there = [
        *(
            (
                subnet,
                f"the network {network['Name']} of this engine ({subnet}): the hub looks for it",
            )
            for network in local.networks
            for subnet in _subnets(network)
        ),
        *(
            (
                pool,
                f"{pool}, from which this engine takes addresses of networks: it may be looked for",
            )
            for pool in local.default_pools
        ),
    ]
    own = [route.network for route in local.routes if route.own]
    for address in addresses(",".join(directory_hosts(ldap))):
        if any(address in network for network in own):
            continue
        for network, where in there:
            if address in network:
                yield (
                    f"ldapServer {address} is in {where} there; set other default-address-pools in"
                    " the engine's daemon.json, and make its networks anew"
                )
                break


def warnings(local: LocalEngine, prefix: str, users: UserServers, *, chosen: bool) -> Iterator[str]:
    """What of the pool is not for users' servers on the engine of this machine.

    Args:
        local: the engine.
        prefix: of the stack.
        users: what their servers get.
        chosen: whether the stack sets a pool, and so somebody has thought about it.
    """
    pool = IPv4Network(users.network_pool)
    parts = taken(local, prefix, pool)
    apart = f"apart: {offered([*named_by(users, None), *in_use(local, pool)])}"
    what = f"userNetworkPool ({pool})"
    if routed := [part for part in parts if part.routed]:
        yield (
            f"{what} holds {_listed(routed)}: the hub gives nothing of that to users' servers, and"
            f" they do not reach it; {apart}"
        )
    most = min(users.max_servers, free(pool, ()))
    left = free(pool, (part.network for part in parts))
    if left < most:
        yield (
            f"{what} has room for {left} users' servers, and maxServers is {users.max_servers}:"
            f" {_listed(parts)} takes the rest; {apart}"
        )
    around = [one for one in local.routes if one.network != pool and pool.subnet_of(one.network)]
    for route in sorted(around, key=lambda one: -one.network.prefixlen)[:1]:
        if route.near or not chosen:
            where = "this machine is in" if route.near else "this machine has a route to"
            yield (
                f"{what} is part of {route.network}, a network that {where}: what users' servers"
                f" take of it becomes unreachable from this machine; {apart}"
            )
    if default := [network for network in local.default_pools if network.overlaps(pool)]:
        yield (
            f"{what} overlaps {', '.join(map(str, default[:NAMED]))}, from which the engine takes"
            " addresses for networks by itself (default-address-pools): other projects may take"
            f" what users' servers need, and the demo directory may get an address there; {apart}"
        )


def _listed(parts: Sequence[Taken]) -> str:
    more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return ", ".join(part.by for part in parts[:NAMED]) + more
