"""Finds the addresses of the engine's machine and of the directory, which filters depend on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, ip_address

from zhub.guard.helpers import Helpers

REMEMBERED_SECONDS = 24 * 3600
"""How long an address of the directory stays open after its name last resolved to it: a name may
resolve to a few of many addresses each time."""

WIDEST = 8
"""Prefix length of the widest private network. A wider route is a way to everything, such as the
two halves of the default route that VPNs set."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """The engine's machine, as its containers see it."""

    addresses: frozenset[IPv4Network]
    """Its own, except for loopback; a route can make a whole network its own (AnyIP)."""
    name_servers: frozenset[IPv4Address]
    """Those that the engine gives to containers."""
    routes: frozenset[IPv4Network] = frozenset()
    """Networks that it has routes to, those of the engine's own networks too; without the default
    route."""
    near: frozenset[IPv4Network] = frozenset()
    """Those of them that it is in itself, and reaches without a router."""

    def has(self, address: IPv4Address) -> bool:
        """Return whether an address is the machine's own."""
        return any(address in own for own in self.addresses)

    @classmethod
    def seen(cls, helpers: Helpers) -> Machine:
        """Return the machine as it is now.

        Raises:
            RuntimeError: when it cannot be inspected.
        """
        table = helpers.run(["cat", "/proc/net/fib_trie"], network="host")
        # As containers get it from the engine, whose configuration may change it.
        resolver = helpers.run(["cat", "/etc/resolv.conf"], network="bridge")
        own = frozenset(addresses(table))
        if not own:
            # Every machine has some, and an address that is not found would not be closed.
            raise RuntimeError("no address of the engine's machine was found")
        ways = routes(table)
        near = frozenset(network for network, is_near in ways.items() if is_near)
        return cls(own, frozenset(name_servers(resolver)), frozenset(ways), near)


def name_servers(resolv_conf: str) -> set[IPv4Address]:
    """Return the IPv4 name servers of a resolv.conf."""
    found = set()
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "nameserver":
            with suppress(AddressValueError):
                found.add(IPv4Address(words[1]))
    return found


def addresses(fib_trie: str) -> set[IPv4Network]:
    """Return the machine's own addresses, from /proc/net/fib_trie, except for loopback.

    There, `|-- ADDRESS` is followed by its routes; those of an own address are `host LOCAL`.
    """
    found: set[IPv4Network] = set()
    start = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            start = words[1]
        elif words[1:3] == ["host", "LOCAL"]:
            found.add(IPv4Network(start + words[0]))
    # A transparent proxy's table has a local route for everything, but applies to marked packets.
    return {network for network in found if network.prefixlen and not network.is_loopback}


def routes(fib_trie: str) -> dict[IPv4Network, bool]:
    """Return the networks that the machine has routes to, by any of its tables.

    The value is whether it is in the network itself. Such a route is `/24 link UNICAST`, and one by
    a router `/24 universe UNICAST`. Routes that only say that something is unreachable are none.
    """
    found: dict[IPv4Network, bool] = {}
    start = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            start = words[1]
        elif words[2:3] == ["UNICAST"]:
            network = IPv4Network(start + words[0])
            if network.prefixlen >= WIDEST:
                found[network] = found.get(network, False) or words[1] != "universe"
    return found


# Prints a line `= NAME`, then getent's output for the name, which may be empty. Names are resolved
# in parallel: a name server that does not answer for one delays none of the others.
_RESOLVE = """
export RES_OPTIONS="timeout:2 attempts:2"
for name; do
    { found=$(getent ahostsv4 "$name"); printf '= %s\\n%s\\n' "$name" "$found"; } &
done
wait
"""


class Directory:
    """The addresses of the LDAP servers, which may change with DNS.

    The name servers decide them, and not the hub: its container is not even in the network in which
    they are resolved.
    """

    def __init__(
        self,
        helpers: Helpers,
        servers: Sequence[tuple[str, int]],
        network: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._helpers = helpers
        self._servers = servers
        self._network = network
        self._clock = clock
        self._seen: dict[tuple[IPv4Address, int], float] = {}
        self.complete = False
        """Whether the last look found an address for each server."""

    def addresses(self) -> frozenset[tuple[IPv4Address, int]]:
        """Resolve the names; return addresses and ports, including those of the last day.

        Raises:
            RuntimeError: when no name can be resolved at all. A single name without an address is
                only logged.
        """
        now = self._clock()
        names = sorted({host for host, _ in self._servers if not _literal(host)})
        found = {host: {IPv4Address(host)} for host, _ in self._servers if _ipv4(host)}
        if names:
            found |= resolved(
                self._helpers.run(["sh", "-c", _RESOLVE, "sh", *names], network=self._network)
            )
        lost = [name for name in names if not found.get(name)]
        self.complete = not lost
        if lost:
            log.warning(
                "no IPv4 address found for %s: the hub cannot connect to it", ", ".join(lost)
            )
        for host, port in self._servers:
            self._seen |= {(address, port): now for address in found.get(host, ())}
        self._seen = {
            end: seen for end, seen in self._seen.items() if now - seen < REMEMBERED_SECONDS
        }
        return frozenset(self._seen)


def resolved(lines: str) -> dict[str, set[IPv4Address]]:
    """Return the addresses of each name from the output of `_RESOLVE`."""
    found: dict[str, set[IPv4Address]] = {}
    name = ""
    for line in lines.splitlines():
        first, _, rest = line.partition(" ")
        if first == "=":
            name = rest
        elif first:
            found.setdefault(name, set()).add(IPv4Address(first))
    return found


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _ipv4(host: str) -> bool:
    return _literal(host) and ":" not in host
