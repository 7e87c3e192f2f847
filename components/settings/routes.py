"""Which addresses and networks this machine has routes to, from its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

#: Linux's routes of all tables; other systems have no such file.
FIB_TRIE = Path("/proc/net/fib_trie")

#: Prefix length of the widest private network. What is wider is a way to everything, such as the
#: two halves of the default route that VPNs set.
WIDEST = 8


@dataclass(frozen=True)
class Route:
    """A network that this machine reaches, or an address of its own."""

    network: IPv4Network
    near: bool
    """Whether this machine is in it itself, and reaches it without a router."""
    own: bool
    """Whether it is this machine."""


def read() -> frozenset[Route]:
    """Read the routes of this machine, without the default one; none where it is not Linux."""
    try:
        return parse(FIB_TRIE.read_text())
    except OSError:
        return frozenset()


def parse(fib_trie: str) -> frozenset[Route]:
    """Return the routes of a fib_trie.

    There, `|-- ADDRESS` is followed by its routes, such as `/24 link UNICAST`. An own address is
    `host LOCAL`. Routes that only say that something is unreachable are none.
    """
    found = set()
    start = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            start = words[1]
        elif words[2:3] == ["UNICAST"] or words[1:3] == ["host", "LOCAL"]:
            network = IPv4Network(start + words[0])
            if network.prefixlen >= WIDEST and not network.is_loopback:
                own = words[2] == "LOCAL"
                found.add(Route(network, near=words[1] != "universe", own=own))
    return frozenset(found)
