"""What the guard goes by besides the settings: the machine, the directory, and what is the site's.

Docker keeps its own networks apart, and gives those for which nobody names a subnet one that the
machine has no route to. But it takes a subnet that it is asked for also where the machine has a
route. The narrower route counts, for the whole machine: so a user's network would hide hosts of the
site from the engine's machine, and from the hub.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Any

import docker

from zhub.contract import ROLE, STACK, SUBNET_PREFIX, Role
from zhub.guard.helpers import Helpers
from zhub.guard.machine import Directory, Machine
from zhub.settings import GuardSettings
from zhub.subnets import subnets_of

NAMED = 5
"""How many networks a message names."""

OFFERED = (*(f"10.{number}.0.0/16" for number in range(213, 255)), "172.16.0.0/16")
"""Pools that a message may offer. Engines give their own networks other addresses by default."""


@dataclass(frozen=True)
class Overlap:
    """Something that has addresses which something else of the stack has as well."""

    text: str
    """What overlaps, and what does not work."""
    fix: str
    """What to do."""


@dataclass(frozen=True)
class Sight:
    """What the guard sees."""

    machine: Machine = field(default_factory=lambda: Machine(frozenset(), frozenset()))
    directory: frozenset[tuple[IPv4Address, int]] = frozenset()
    """Addresses and ports of the LDAP servers."""
    networks: Sequence[Mapping[str, Any]] = ()
    """The engine's, as Docker's API lists them."""
    left_out: frozenset[IPv4Network] = frozenset()
    """Parts of the pool that are the site's: no user's network may overlap them."""
    outside: Sequence[IPv4Network] = ()
    """Where users' networks are that are not in the pool, which was another before."""

    @classmethod
    def seen(
        cls,
        client: docker.APIClient,
        helpers: Helpers,
        directory: Directory,
        settings: GuardSettings,
    ) -> Sight:
        """Return what there is now.

        Raises:
            RuntimeError: when the machine or the directory's names cannot be inspected.
        """
        # Twice, since servers start and stop meanwhile: the route of a user's network must not be
        # taken for one of the site's.
        before = subnets_of(client.networks())
        machine, servers = Machine.seen(helpers), directory.addresses()
        networks = client.networks()
        out = of_the_site(
            machine,
            {address for address, _ in servers},
            pool=settings.user_network_pool,
            engine={*before, *subnets_of(networks)},
        )
        return cls(machine, servers, networks, out, outside(networks, settings))

    def overlaps(self, settings: GuardSettings) -> Iterator[Overlap]:
        """Say what overlaps, and what follows for the stack."""
        pool = settings.user_network_pool
        another = f"{self._another(settings)}, then pulumi up"
        what = f"userNetworkPool ({pool})"
        servers = {address for address, _ in self.directory}
        if inside := sorted(address for address in servers if address in pool):
            yield Overlap(
                f"the LDAP server at {_listed(inside)} is in {what}: the hub takes it for a user's"
                " server and does not connect, so logins fail",
                another,
            )
        if inside := sorted(one for one in self.machine.name_servers if one in pool):
            yield Overlap(
                f"the engine's name server {_listed(inside)} is in {what}: neither the hub nor"
                " users' servers reach it",
                another,
            )
        yield from self._hidden_directory(settings)
        routes = self.machine.routes | self.machine.addresses
        if routed := [*collapse_addresses(self.left_out & routes)]:
            yield Overlap(
                f"the engine's machine has a route or an address in {what}: {_listed(routed)}. No"
                " user's network is made there, and users' servers do not reach it",
                f"{another}; nothing, if enough is left of the pool",
            )
        if hiding := sorted(self._hiding(settings)):
            yield Overlap(
                f"users' networks hide parts of the site from the engine's machine, since they were"
                f" there before its route: {_listed(hiding)}",
                "stop these users' servers: make users DO=stop USER=<name>",
            )
        around = [one for one in self.machine.near if pool.subnet_of(one) and one != pool]
        if around := [one for one in around if one not in subnets_of(self.networks)]:
            yield Overlap(
                f"{what} is part of {_listed(sorted(around))}, which the engine's machine is in:"
                " what users' servers take of it becomes unreachable from that machine",
                another,
            )
        for address in sorted(servers):
            if opened := opens(settings, address):
                yield Overlap(
                    f"userAllowedNetworks opens {opened}, and with it the LDAP server at {address}:"
                    " users' servers may try passwords there, past the hub's limits",
                    f"add {address} to userBlockedNetworks, then pulumi up",
                )

    def room(self, settings: GuardSettings) -> Iterator[Overlap]:
        """Say whether other networks leave too little of the pool for all servers."""
        pool = settings.user_network_pool
        others = [one for one in self.networks if not _of_users(one, settings.prefix)]
        parts = [
            one if one.prefixlen <= SUBNET_PREFIX else one.supernet(new_prefix=SUBNET_PREFIX)
            for one in {*subnets_of(others), *self.left_out}
            if one.overlaps(pool)
        ]
        inside = collapse_addresses(pool if pool.subnet_of(one) else one for one in parts)
        used = sum(one.num_addresses for one in inside)
        left = (pool.num_addresses - used) >> (32 - SUBNET_PREFIX)
        if left < settings.most_servers:
            yield Overlap(
                f"userNetworkPool ({pool}) has room for {left} users' servers, and maxServers is"
                f" {settings.max_servers}: {_listed(sorted(parts))} is something else's",
                f"{self._another(settings)}, then pulumi up",
            )

    def _hidden_directory(self, settings: GuardSettings) -> Iterator[Overlap]:
        """Say whether a network of the engine has addresses of the site's directory."""
        elsewhere = sorted(one for one, _ in self.directory if not self.machine.has(one))
        for network in self.networks:
            if network["Name"] == settings.directory_network or _of_users(network, settings.prefix):
                continue
            for subnet in subnets_of([network]):
                if inside := [one for one in elsewhere if one in subnet]:
                    yield Overlap(
                        f"the LDAP server at {_listed(inside)} is in the network"
                        f" {network['Name']} of the engine ({subnet}): the hub and the engine's"
                        " machine look for it there",
                        "set other default-address-pools in the engine's daemon.json, and make the"
                        " network anew; if it is the stack's own, pulumi destroy and pulumi up",
                    )

    def _hiding(self, settings: GuardSettings) -> Iterator[str]:
        """Yield the stack's networks that overlap what is the site's."""
        for network in self.networks:
            if _of_users(network, settings.prefix):
                for subnet in subnets_of([network]):
                    if any(subnet.overlaps(one) for one in self.left_out):
                        yield f"{network['Name']} ({subnet})"

    def _another(self, settings: GuardSettings) -> str:
        """Return the command that sets a pool apart from all that is seen, if there is one."""
        pool = settings.user_network_pool
        used = {
            *(one for one in subnets_of(self.networks) if not one.subnet_of(pool)),
            *(one for one in self.machine.routes if not one.subnet_of(pool)),
            *self.machine.addresses,
            *self.left_out,
            *settings.user_allowed_networks,
            *settings.user_blocked_networks,
            *(IPv4Network(address) for address, _ in self.directory),
        }
        smaller = {one for one in used if one.prefixlen >= 16}
        for avoided in (used, smaller):
            for offered in OFFERED:
                if not any(one.overlaps(IPv4Network(offered)) for one in avoided):
                    return f"pulumi config set userNetworkPool {offered}"
        return "set userNetworkPool to a network that nothing else has"


def of_the_site(
    machine: Machine,
    directory: Collection[IPv4Address],
    *,
    pool: IPv4Network,
    engine: Collection[IPv4Network],
) -> frozenset[IPv4Network]:
    """Return the parts of the pool that are the site's, as far as the machine knows.

    A route around the pool does not count: sites have routes to all private addresses, and then
    give parts of them away.

    Args:
        machine: of the engine.
        directory: addresses of the LDAP servers.
        pool: of users' networks.
        engine: subnets of the engine's own networks, whose routes the machine has as well.
    """
    single = map(IPv4Network, {*machine.name_servers, *directory})
    return frozenset(
        one
        for one in {*machine.routes, *machine.addresses, *single}
        if one.subnet_of(pool) and not _within(one, engine)
    )


def outside(networks: Collection[Mapping[str, Any]], settings: GuardSettings) -> list[IPv4Network]:
    """Return where the stack's users' networks are that are not in the pool.

    Neighbours are put together, as a filter's text has to be short.
    """
    own = subnets_of([one for one in networks if _of_users(one, settings.prefix)])
    pool = settings.user_network_pool
    return [*collapse_addresses(one for one in own if not one.subnet_of(pool))]


def opens(settings: GuardSettings, address: IPv4Address) -> IPv4Network | None:
    """Return the network that opens an address to users' servers, unless it is that address alone.

    The narrowest decides, as in the filters.
    """
    opened, closed = settings.user_allowed_networks, settings.user_blocked_networks
    around = [one for one in (*opened, *closed) if address in one]
    narrowest = max(around, key=lambda one: one.prefixlen, default=None)
    if narrowest and narrowest in opened and narrowest.num_addresses > 1:
        return narrowest
    return None


def _within(network: IPv4Network, others: Collection[IPv4Network]) -> bool:
    # Not by comparing with each: there are as many of both as users.
    return any(
        network.supernet(new_prefix=length) in others for length in range(network.prefixlen + 1)
    )


def _of_users(network: Mapping[str, Any], prefix: str) -> bool:
    labels = network["Labels"] or {}
    return labels.get(STACK) == prefix and labels.get(ROLE) == Role.NETWORK


def _listed(found: Sequence[object]) -> str:
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(str(one).removesuffix("/32") for one in found[:NAMED]) + more
