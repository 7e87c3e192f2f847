"""What the guard must know of the engine's machine and of the directory to set filters."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, ip_address

from zhub.guard.helpers import Helpers

REMEMBERED_SECONDS = 24 * 3600
"""How long an address of the directory stays open after its name last led there: a name may lead to
a few of many addresses each time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """The engine's machine, as its containers see it."""

    addresses: frozenset[IPv4Network]
    """Its own, but for loopback; a route can make it take a whole network for its own (AnyIP)."""
    name_servers: frozenset[IPv4Address]
    """Those that the engine gives to containers."""

    def has(self, address: IPv4Address) -> bool:
        """Whether an address is its own."""
        return any(address in own for own in self.addresses)

    @classmethod
    def seen(cls, helpers: Helpers) -> Machine:
        """Look at it now.

        Raises:
            RuntimeError: when that fails.
        """
        table = helpers.run(["cat", "/proc/net/fib_trie"], network="host")
        # As the engine passes it on to containers, with what its own configuration changes.
        resolver = helpers.run(["cat", "/etc/resolv.conf"], network="bridge")
        own = frozenset(addresses(table))
        if not own:
            # Every one has some. What is not seen would not be closed.
            raise RuntimeError("no address of the engine's machine was found")
        return cls(own, frozenset(name_servers(resolver)))


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
    """Return what the machine answers for, from /proc/net/fib_trie, but for loopback.

    There, `|-- ADDRESS` is followed by the routes to it; those to an own one are `host LOCAL`.
    """
    found: set[IPv4Network] = set()
    start = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            start = words[1]
        elif words[1:3] == ["host", "LOCAL"]:
            found.add(IPv4Network(start + words[0]))
    # A transparent proxy's table takes all there is; what it means are marked packets.
    return {network for network in found if network.prefixlen and not network.is_loopback}


# Prints a line `= NAME` before what getent says of the name, which may be nothing. Each name is
# asked for by itself: a name server that is silent about one costs the others nothing.
_RESOLVE = """
export RES_OPTIONS="timeout:2 attempts:2"
for name; do
    { found=$(getent ahostsv4 "$name"); printf '= %s\\n%s\\n' "$name" "$found"; } &
done
wait
"""


class Directory:
    """The addresses of the LDAP servers, which names may lead to others of from time to time.

    Who decides about them is who answers for the names, and not the hub: its container is not even
    in the network from which they are looked up.
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
        """Whether the last look found each server."""

    def addresses(self) -> frozenset[tuple[IPv4Address, int]]:
        """Look the names up; return addresses and ports, those of the last day as well.

        Raises:
            RuntimeError: when nothing can be looked up at all. A name that nobody answers for is
                none of that, and only logged.
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
                "no IPv4 address is known for %s now: the hub cannot ask there", ", ".join(lost)
            )
        for host, port in self._servers:
            self._seen |= {(address, port): now for address in found.get(host, ())}
        self._seen = {
            end: seen for end, seen in self._seen.items() if now - seen < REMEMBERED_SECONDS
        }
        return frozenset(self._seen)


def resolved(lines: str) -> dict[str, set[IPv4Address]]:
    """Return the addresses of each name from what `_RESOLVE` has printed."""
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
