"""Networks that must not overlap, as far as the settings alone say it: the pool, the site's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    ip_address,
    ip_network,
)

from components.settings import ldap_entries, parsing
from components.settings.config import Config
from components.settings.ldap import Ldap
from components.settings.users import (
    ALLOWED_NETWORKS,
    BLOCKED_NETWORKS,
    NETWORK_POOL,
    UserServers,
)

#: Pools that a message may offer. Engines give their own networks other addresses by default.
OFFERED = (*(f"10.{number}.0.0/16" for number in range(213, 255)), "172.16.0.0/16")

_IPV4 = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w.])")


def addresses(text: str) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a text names, such as that of a URL's host."""
    for found in _IPV4.findall(text):
        if parsing.is_address(found):
            yield IPv4Address(found)


def offered(used: Iterable[IPv4Network]) -> str:
    """The command that sets a pool apart from all of these, or at least from the smaller ones."""
    used = list(used)
    smaller = [
        network for network in used if network.prefixlen >= IPv4Network(OFFERED[0]).prefixlen
    ]
    for avoided in (used, smaller):
        for pool in OFFERED:
            if not any(network.overlaps(IPv4Network(pool)) for network in avoided):
                return NETWORK_POOL.set_command(pool)
    return NETWORK_POOL.set_command(OFFERED[-1])


def check(config: Config, users: UserServers, ldap: Ldap | None) -> None:
    """Note what cannot work, as far as the settings alone say it."""
    if not config.refused & {ALLOWED_NETWORKS, NETWORK_POOL}:
        pool = IPv4Network(users.network_pool)
        for text in users.allowed_networks:
            if IPv4Network(text).subnet_of(pool):
                config.clash(
                    ALLOWED_NETWORKS,
                    f"holds {text}, which is in {NETWORK_POOL} ({pool}): there are only users'"
                    " servers, and none reaches another's",
                    ALLOWED_NETWORKS.remove_command(item=_index(users, text)),
                    f"or, if the site has it: {offered(named_by(users, ldap))}",
                )
    if ldap and not config.refused & {ldap_entries.SERVER, NETWORK_POOL}:
        _check_directory(config, users, ldap)


def _check_directory(config: Config, users: UserServers, ldap: Ldap) -> None:
    """Note that the hub can connect to none of the directory's servers."""
    hosts = directory_hosts(ldap)
    unusable = [(host, reason) for host in hosts if (reason := _unusable(host, users))]
    if unusable and len(unusable) == len(hosts):
        host, reason = unusable[0]
        command = ldap_entries.SERVER.set_command()
        if _inside(host, IPv4Network(users.network_pool)):
            command = offered(named_by(users, ldap))
        config.clash(ldap_entries.SERVER, f"{host} {reason}: nobody could log in", command)


def directory_hosts(ldap: Ldap) -> list[str]:
    """Hosts of the directory's servers, without ports."""
    return [re.sub(r"^([^:]*):[0-9]+$", r"\1", server) for server in ldap.servers]


def _unusable(host: str, users: UserServers) -> str:
    """Why the hub cannot connect to a server of the directory; empty if it may be able to."""
    found = ip_address(host) if parsing.is_address(host) else None
    if isinstance(found, IPv6Address):
        return "is an IPv6 address, and the hub connects by IPv4 only"
    if host == "localhost" or (found and (found.is_loopback or found.is_unspecified)):
        return "is the hub's own container, as seen from there"
    if found and found in IPv4Network(users.network_pool):
        return (
            f"is in {NETWORK_POOL} ({users.network_pool}), so the hub takes it for a user's server"
            " and does not connect to it"
        )
    return ""


def named_by(users: UserServers, ldap: Ldap | None) -> list[IPv4Network]:
    """Networks and addresses of the site, as settings name them."""
    hosts = ",".join(directory_hosts(ldap)) if ldap else ""
    return [
        *map(IPv4Network, (*users.allowed_networks, *users.blocked_networks)),
        *map(IPv4Network, addresses(hosts)),
    ]


def warnings(
    users: UserServers, ldap: Ldap | None, others: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What overlaps by the settings alone, but works in part.

    Args:
        users: what their servers get.
        ldap: the site's directory.
        others: what other settings name, by key: texts with addresses or networks of the site.
    """
    pool = IPv4Network(users.network_pool)
    listed = {key: [text for text in texts if _inside(text, pool)] for key, texts in others.items()}
    listed[BLOCKED_NETWORKS.key] = [text for text in users.blocked_networks if _inside(text, pool)]
    used = [*named_by(users, ldap), *_networks(text for texts in others.values() for text in texts)]
    for key, texts in listed.items():
        if texts:
            yield (
                f"{key} names {', '.join(texts)}, which is in userNetworkPool ({pool}): the site"
                " seems to use these addresses. What users' servers take of them becomes"
                f" unreachable from the engine's machine; apart: {offered(used)}"
            )
    for text in users.allowed_networks:
        if text in users.blocked_networks:
            yield (
                f"userAllowedNetworks and userBlockedNetworks both hold {text}, which is open then;"
                f" closed: {ALLOWED_NETWORKS.remove_command(item=_index(users, text))}"
            )
    for host in directory_hosts(ldap) if ldap else ():
        if reason := _unusable(host, users):
            yield f"ldapServer has {host}, which {reason}; the others are asked in its place"
    for address in addresses(",".join(directory_hosts(ldap))) if ldap else ():
        if around := _opened(address, users):
            yield (
                f"userAllowedNetworks opens {around}, and with it the LDAP server {address}: users'"
                " servers may try passwords there, past the hub's limits; closed:"
                f" {BLOCKED_NETWORKS.set_command(str(address), item=len(users.blocked_networks))}"
            )


def _index(users: UserServers, text: str) -> int:
    return users.allowed_networks.index(text)


def _inside(text: str, pool: IPv4Network) -> bool:
    return any(network.subnet_of(pool) for network in _networks([text]))


def _networks(texts: Iterable[str]) -> Iterator[IPv4Network]:
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError:
            yield from map(IPv4Network, addresses(text))
        else:
            if isinstance(network, IPv4Network):
                yield network


def _opened(address: IPv4Address, users: UserServers) -> IPv4Network | None:
    """The network that opens an address to users' servers, unless it is that address alone.

    The narrowest decides, as in the servers' packet filter.
    """
    opened = [*map(IPv4Network, users.allowed_networks)]
    closed = [*map(IPv4Network, users.blocked_networks)]
    around = [network for network in (*opened, *closed) if address in network]
    narrowest = max(around, key=lambda one: one.prefixlen, default=None)
    if narrowest in opened and narrowest.num_addresses > 1:
        return narrowest
    return None
