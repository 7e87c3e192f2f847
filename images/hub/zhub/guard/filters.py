"""Packet filters, as text for nft: what may leave a user's server, and what may leave the hub.

Each filter is a table in the container's own network namespace. Changing it there takes the
capability NET_ADMIN, which neither container has. The filter checks packets and not sockets, so it
holds whatever device, source address, option or protocol a program gives its socket. Removing
routes would not be enough: if the socket names a device, Linux treats a destination without a route
as a neighbour.

Of incoming packets, it checks only the first of each TCP connection. This is needed because other
containers of the engine, and a site that routes the users' network pool to it, have no filter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from zhub.contract import FILTER_SIGN, HUB_PORT
from zhub.guard.environment import PORT

NAME_SERVICE = 53

NEW_CONNECTIONS = "50/second burst 200 packets"
"""Rate at which one server may open connections to the hub. JupyterLab needs a few a minute, and
more at its start."""

MOST_CONNECTIONS = 4096
"""Connections, also by UDP and the like, that one server may have to other machines at a time.

The engine's machine keeps all servers' connections in one table, and those of browsers to the hub
as well. While that is full, it drops every new one, whoever's it is. The table has room for 262144,
or fewer on a machine with less than 4 GiB (nf_conntrack_max,
https://docs.kernel.org/networking/nf_conntrack-sysctl.html).
"""

PRIVATE = (
    "10.0.0.0/8",  # RFC 1918
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # RFC 6598, carriers and clouds
    "169.254.0.0/16",  # RFC 3927, clouds' metadata
    "192.0.0.0/24",  # RFC 6890
    "198.18.0.0/15",  # RFC 2544
)
"""Networks that are not the internet, and so closed unless a site opens part of them."""

NOBODY = (
    "0.0.0.0/8",  # RFC 791, "this" network
    "127.0.0.0/8",  # RFC 1122, by another device than loopback's
    "224.0.0.0/4",  # RFC 5771, multicast
    "240.0.0.0/4",  # RFC 1112, with the broadcast address
)
"""Networks in which no single machine has an address."""

METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192")
"""Where clouds serve a machine its credentials; Azure's address is not in a private network."""

CLOUD_SERVICES = (
    # IBM Cloud's service networks: https://cloud.ibm.com/docs/vpc?topic=vpc-service-endpoints-for-vpc
    "161.26.0.0/16",
    "166.8.0.0/14",
)

ALWAYS_CLOSED = tuple(map(IPv4Network, (*PRIVATE, *NOBODY, *METADATA, *CLOUD_SERVICES)))

# The first packet of a connection has SYN and no ACK: without it, there is no connection. All other
# packets count as answers; this needs no connection tracking.
_FIRST = "tcp flags & (syn | ack) == syn"
_ANSWER = "tcp flags & (syn | ack) != syn"

# So the sender gets an error at once, and not a timeout after minutes.
_REFUSE = "reject with icmpx admin-prohibited"

TOO_MANY = f"ct state new ct count over {MOST_CONNECTIONS} {_REFUSE}"
"""Refuses a connection that is one too many. Some kernels cannot count (nft_connlimit)."""

# EHOSTUNREACH (`icmp_err_convert` in Linux' net/ipv4/icmp.c), and not the error of a port at which
# nobody listens. All rules are set at once: where this one is, all are.
_SIGN = f"ip daddr {FILTER_SIGN[0]} tcp dport {FILTER_SIGN[1]} {_REFUSE}"

# Packets of users' networks, VXLAN of the engine's usual port (RFC 7348), which machines of a swarm
# take from each other without a proof. What a server sends comes from its node's address, so no
# filter of the site's tells it from the node's own. And a node does not know the others' addresses,
# which may be public, or in a network that the site has opened.
_FRAMES = f'oifname != "lo" udp dport 4789 {_REFUSE}'


def table(rules: Iterable[str], entrances: Iterable[str] = ()) -> str:
    """Return the commands that replace the namespace's rules with these.

    nft applies all of them or none.

    Args:
        rules: for outgoing packets; a packet that no rule accepts is dropped.
        entrances: for incoming packets; new TCP connections that no rule accepts are dropped.
    """
    lines = "\n".join(f"    {rule}" for rule in rules)
    incoming = "\n".join(f"    {rule}" for rule in ('iifname "lo" accept', *entrances))
    return f"""\
table inet zhub
delete table inet zhub
table inet zhub {{
  chain output {{
    type filter hook output priority filter; policy drop;
{lines}
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
{incoming}
    {_FIRST} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
  }}
}}
"""


def by_width(
    *, open_: Iterable[IPv4Network], closed: Iterable[IPv4Network]
) -> list[tuple[IPv4Network, bool]]:
    """Return networks, and whether they are open, in the order of their rules.

    The narrower network wins, as with routes; of two equal ones, the open one.
    """
    opened = set(open_)
    shut = set(closed) - opened
    needed = {
        network
        for network in shut
        # No rule for a network that a wider closed one contains anyway.
        if not any(network != other and network.subnet_of(other) for other in shut)
        or any(network.overlaps(other) for other in opened)
    }
    judged = [*((network, True) for network in opened), *((network, False) for network in needed)]
    return sorted(judged, key=lambda one: (-one[0].prefixlen, one[0]))


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What all users' servers of a stack may reach, and what they may not."""

    pools: Sequence[IPv4Network]
    """Contain the networks of all users; they do not overlap."""
    name_servers: Collection[IPv4Address]
    """Open for DNS."""
    networks: Sequence[tuple[IPv4Network, bool]]
    """The open and the closed networks, as `by_width` returns them."""
    internet: bool
    """Whether addresses outside of these networks are open."""
    counted: bool = True
    """Whether a server has no more than MOST_CONNECTIONS."""


def of_server(subnet: IPv4Network, hub: IPv4Address, reach: Reach) -> str:
    """Return the filter of a user's server in a network, given the hub's address there."""
    return _of_server([subnet], hub, reach)


def of_service(subnet: IPv4Network, ways_out: Collection[IPv4Network], reach: Reach) -> str:
    """Return the filter of a user's server that is a service of a swarm, and waits for it.

    Of the user's network, only the subnet is known on its node. Nobody is there but the hub and the
    server, and addresses of the swarm's own at which nobody listens.

    Args:
        subnet: of the user's network.
        ways_out: of the node's networks by which services reach other hosts.
        reach: what all servers may reach.
    """
    return _of_server([subnet, *ways_out], subnet, reach, [_SIGN, _FRAMES])


def _of_server(
    own: Sequence[IPv4Network],
    hub: IPv4Address | IPv4Network,
    reach: Reach,
    first: Sequence[str] = (),
) -> str:
    """Return a server's filter.

    Args:
        own: networks that the server has addresses in; it can send from no others.
        hub: where the hub is.
        reach: what all servers may reach.
        first: rules before all others.
    """
    sources = str(own[0]) if len(own) == 1 else f"{{ {', '.join(map(str, own))} }}"
    new = f"tcp dport {HUB_PORT} {_FIRST} limit rate over {NEW_CONNECTIONS}"
    return table(
        (
            *first,
            'oifname "lo" accept',
            f"meta nfproto ipv6 {_REFUSE}",
            f"ip saddr != {sources} {_REFUSE}",
            # TCP retries by itself after a second: a server that opens too many has to wait.
            f"ip daddr {hub} {new} drop",
            f"ip daddr {hub} tcp dport {HUB_PORT} accept",
            f"ip daddr {hub} tcp sport {PORT} {_ANSWER} accept",
            f"ip daddr {_any(reach.pools)} {_REFUSE}",
            *([TOO_MANY] if reach.counted else ()),
            *_names(reach.name_servers),
            *(
                f"ip daddr {network} {'accept' if opened else _REFUSE}"
                for network, opened in reach.networks
            ),
            "accept" if reach.internet else _REFUSE,
        ),
        [f"ip saddr {hub} tcp dport {PORT} accept"],
    )


def of_hub(
    port: int,
    *,
    pools: Sequence[IPv4Network],
    machine: Collection[IPv4Network] | None,
    name_servers: Collection[IPv4Address],
    directory: Collection[tuple[IPv4Address, int]],
) -> str:
    """Return the hub's filter.

    Args:
        port: the published port.
        pools: contain the networks of all users, each of 16 addresses; they do not overlap.
        machine: the engine's machine in these networks; None for the first address of each.
        name_servers: open for DNS.
        directory: addresses and ports of the LDAP servers.
    """
    pool = _any(pools)
    if machine is None:
        own = [f"ip daddr {pool} ip daddr & 0.0.0.15 == 0.0.0.1 {_REFUSE}"]
    else:
        own = [f"ip daddr {address} {_REFUSE}" for address in sorted(machine)]
    ldap = ", ".join(f"{address} . {number}" for address, number in sorted(directory))
    return table(
        (
            'oifname "lo" accept',
            f"meta nfproto ipv6 {_REFUSE}",
            f"tcp sport {port} {_ANSWER} accept",
            *own,
            f"ip daddr {pool} tcp dport {PORT} accept",
            f"ip daddr {pool} tcp sport {HUB_PORT} {_ANSWER} accept",
            f"ip daddr {pool} {_REFUSE}",
            *([f"ip daddr . tcp dport {{ {ldap} }} accept"] if ldap else ()),
            *_names(name_servers),
            _REFUSE,
        ),
        [f"tcp dport {port} accept", f"ip saddr {pool} tcp dport {HUB_PORT} accept"],
    )


def _any(networks: Sequence[IPv4Network]) -> str:
    """Return what nft takes for an address in one of the networks."""
    one, *more = map(str, networks)
    return f"{{ {', '.join([one, *more])} }}" if more else one


def _names(servers: Collection[IPv4Address]) -> list[str]:
    addresses = ", ".join(map(str, sorted(servers)))
    return [
        f"ip daddr {{ {addresses} }} {protocol} dport {NAME_SERVICE} accept"
        for protocol in ("udp", "tcp")
        if servers
    ]
