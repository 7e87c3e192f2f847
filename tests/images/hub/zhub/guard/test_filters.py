"""The text of the guard's packet filters, and the data they are made from; none is set here."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from zhub.guard import filters, machine

from toolchain.places import ROOT

NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


@given(st.lists(NETWORKS, max_size=8), st.lists(NETWORKS, max_size=8), st.integers(0, 2**32 - 1))
def test_the_narrowest_of_overlapping_networks_decides(
    closed: list[IPv4Network], opened: list[IPv4Network], number: int
) -> None:
    address = IPv4Address(number)
    fitting = [
        (network.prefixlen, network in opened)
        for network in (*closed, *opened)
        if address in network
    ]
    judged = filters.by_width(open_=opened, closed=closed)
    found = [is_open for network, is_open in judged if address in network]
    assert found[:1] == ([max(fitting)[1]] if fitting else [])


def test_a_network_within_a_closed_one_gets_no_rule() -> None:
    judged = filters.by_width(
        open_=[IPv4Network("10.1.0.0/24"), IPv4Network("192.168.0.0/16")],
        closed=[
            *filters.ALWAYS_CLOSED,
            IPv4Network("10.1.0.9"),
            IPv4Network("172.17.0.1"),
        ],
    )
    rules = [str(network) for network, _ in judged]
    # Within an opened network, the engine's machine stays closed.
    assert rules.index("10.1.0.9/32") < rules.index("10.1.0.0/24") < rules.index("10.0.0.0/8")
    assert not {"172.17.0.1/32", "169.254.169.254/32"} & set(rules)
    assert dict(judged)[IPv4Network("192.168.0.0/16")] is True


NEW = "tcp dport 8081 tcp flags & (syn | ack) == syn limit rate over 50/second burst 200 packets"

REACH = filters.Reach(
    pools=[IPv4Network("10.214.0.0/16")],
    name_servers=[IPv4Address("9.9.9.9")],
    networks=[(IPv4Network("10.1.0.0/24"), True), (IPv4Network("10.0.0.0/8"), False)],
    internet=True,
)


def rules(text: str) -> list[str]:
    """Return the rules for outgoing packets; the statement of refusing rules is left out."""
    chain = text.partition("chain output")[2].partition("policy drop;\n")[2].partition("  }")[0]
    return [line.strip().partition(" reject with")[0] for line in chain.splitlines()]


def test_a_server_reaches_the_hubs_port_name_servers_port_and_what_is_open() -> None:
    found = filters.of_server(IPv4Network("10.214.0.16/28"), IPv4Address("10.214.0.18"), REACH)
    assert rules(found) == [
        'oifname "lo" accept',
        "meta nfproto ipv6",
        "ip saddr != 10.214.0.16/28",
        f"ip daddr 10.214.0.18 {NEW} drop",
        "ip daddr 10.214.0.18 tcp dport 8081 accept",
        "ip daddr 10.214.0.18 tcp sport 8888 tcp flags & (syn | ack) != syn accept",
        "ip daddr 10.214.0.0/16",
        "ct state new ct count over 4096",
        "ip daddr { 9.9.9.9 } udp dport 53 accept",
        "ip daddr { 9.9.9.9 } tcp dport 53 accept",
        "ip daddr 10.1.0.0/24 accept",
        "ip daddr 10.0.0.0/8",
        "accept",
    ]


def test_where_the_kernel_cannot_count_nothing_else_differs() -> None:
    own = IPv4Network("10.214.0.16/28"), IPv4Address("10.214.0.18")
    counted, not_counted = (
        rules(filters.of_server(*own, replace(REACH, counted=counted))) for counted in (True, False)
    )
    assert [rule for rule in counted if "ct count" not in rule] == not_counted


def test_a_service_sees_its_filter_before_all_else_and_reaches_what_a_server_does() -> None:
    subnet, out = IPv4Network("10.214.0.16/28"), IPv4Network("172.18.0.0/16")
    found = filters.of_service(subnet, [out], REACH)
    # In place of the hub's address, which its node does not know.
    servers = [
        rule.replace("10.214.0.18", str(subnet))
        for rule in rules(filters.of_server(subnet, IPv4Address("10.214.0.18"), REACH))
    ]
    servers[servers.index(f"ip saddr != {subnet}")] = f"ip saddr != {{ {subnet}, {out} }}"
    first = ["ip daddr 127.0.9.9 tcp dport 9", 'oifname != "lo" udp dport 4789']
    assert rules(found) == [*first, *servers]
    # Any other error is also what a server gets that has no filter.
    assert "tcp dport 9 reject with icmpx admin-prohibited\n" in found
    assert entrances(found)[1:] == [
        f"ip saddr {subnet} tcp dport 8888 accept",
        "tcp flags & (syn | ack) == syn drop",
    ]
    # To a machine of the swarm, that would be a packet in any user's network, from anybody.
    assert "udp dport 4789 reject with icmpx admin-prohibited\n" in found
    without = filters.of_service(subnet, [], REACH)
    assert f"ip saddr != {subnet}" in rules(without)


def entrances(text: str) -> list[str]:
    """Return the rules for incoming packets."""
    chain = text.partition("chain input")[2].partition("policy accept;\n")[2].partition("  }")[0]
    return [line.strip() for line in chain.splitlines()]


def test_nobody_connects_to_a_server_but_the_hub_and_to_the_hub_but_servers() -> None:
    server = filters.of_server(IPv4Network("10.214.0.16/28"), IPv4Address("10.214.0.18"), REACH)
    first = "tcp flags & (syn | ack) == syn drop"
    assert entrances(server) == [
        'iifname "lo" accept',
        "ip saddr 10.214.0.18 tcp dport 8888 accept",
        first,
    ]
    hub = filters.of_hub(11119, pools=REACH.pools, machine=None, name_servers=(), directory=())
    assert entrances(hub) == [
        'iifname "lo" accept',
        "tcp dport 11119 accept",
        "ip saddr 10.214.0.0/16 tcp dport 8081 accept",
        first,
    ]


def test_the_hub_reaches_servers_the_directory_and_name_servers() -> None:
    found = filters.of_hub(
        11119,
        pools=REACH.pools,
        machine=None,
        name_servers=REACH.name_servers,
        directory=[(IPv4Address("10.5.0.2"), 636), (IPv4Address("10.5.0.1"), 389)],
    )
    assert rules(found) == [
        'oifname "lo" accept',
        "meta nfproto ipv6",
        "tcp sport 11119 tcp flags & (syn | ack) != syn accept",
        "ip daddr 10.214.0.0/16 ip daddr & 0.0.0.15 == 0.0.0.1",
        "ip daddr 10.214.0.0/16 tcp dport 8888 accept",
        "ip daddr 10.214.0.0/16 tcp sport 8081 tcp flags & (syn | ack) != syn accept",
        "ip daddr 10.214.0.0/16",
        "ip daddr . tcp dport { 10.5.0.1 . 389, 10.5.0.2 . 636 } accept",
        "ip daddr { 9.9.9.9 } udp dport 53 accept",
        "ip daddr { 9.9.9.9 } tcp dport 53 accept",
        "reject with icmpx admin-prohibited",
    ]


def test_networks_of_the_pool_before_are_like_those_of_the_pool() -> None:
    """So a change of the pool ends no server that runs."""
    pools = [*REACH.pools, IPv4Network("10.213.0.0/27")]
    both = "{ 10.214.0.0/16, 10.213.0.0/27 }"
    hub = filters.of_hub(11119, pools=pools, machine=None, name_servers=(), directory=())
    assert [line for line in rules(hub) if "10.21" in line] == [
        f"ip daddr {both} ip daddr & 0.0.0.15 == 0.0.0.1",
        f"ip daddr {both} tcp dport 8888 accept",
        f"ip daddr {both} tcp sport 8081 tcp flags & (syn | ack) != syn accept",
        f"ip daddr {both}",
    ]
    assert f"ip saddr {both} tcp dport 8081 accept" in entrances(hub)
    server = filters.of_server(
        IPv4Network("10.213.0.16/28"),
        IPv4Address("10.213.0.18"),
        replace(REACH, pools=pools, networks=[(IPv4Network("10.0.0.0/8"), True)]),
    )
    closed = rules(server)
    assert closed.index("ip daddr 10.213.0.18 tcp dport 8081 accept") < closed.index(
        f"ip daddr {both}"
    )
    assert closed.index(f"ip daddr {both}") < closed.index("ip daddr 10.0.0.0/8 accept")


def test_where_the_machine_has_no_address_the_hub_reaches_a_server_that_has_the_first() -> None:
    found = filters.of_hub(
        11119,
        pools=REACH.pools,
        machine=[IPv4Network("10.214.0.33"), IPv4Network("10.214.0.17")],
        name_servers=(),
        directory=(),
    )
    assert rules(found)[3:6] == [
        "ip daddr 10.214.0.17/32",
        "ip daddr 10.214.0.33/32",
        "ip daddr 10.214.0.0/16 tcp dport 8888 accept",
    ]


def test_name_servers_and_addresses_of_the_engines_machine_are_read() -> None:
    assert machine.name_servers(
        "# made by x\nsearch example.com\nnameserver 10.1.0.5\nnameserver fd00::5\noptions x\n"
    ) == {IPv4Address("10.1.0.5")}
    trie = """Local:
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.2
           /32 host LOCAL
           /32 link UNICAST
        |-- 192.0.2.255
           /32 link BROADCAST
        |-- 198.51.100.0
           /24 host LOCAL
        |-- 203.0.113.7
           /32 link UNICAST
           /32 host LOCAL
Id 100:
        |-- 0.0.0.0
           /0 host LOCAL
"""
    own = {IPv4Network(own) for own in ("192.0.2.2", "198.51.100.0/24", "203.0.113.7")}
    assert machine.addresses(trie) == own
    seen = machine.Machine(frozenset(own), frozenset())
    assert seen.has(IPv4Address("198.51.100.5"))
    assert not seen.has(IPv4Address("192.0.2.3"))


class Names:
    """Resolves names as the helper's container would."""

    answers = ""

    def run(self, command: Any, *, network: str) -> str:
        return self.answers


def test_addresses_of_the_directory_stay_open_for_a_day() -> None:
    now = 0.0
    names: Any = Names()
    servers = [("ldap.example.com", 636), ("10.5.0.1", 389), ("fd00::1", 389)]
    directory = machine.Directory(names, servers, "bridge", clock=lambda: now)
    fixed = (IPv4Address("10.5.0.1"), 389)

    first, second = IPv4Address("10.5.0.7"), IPv4Address("10.5.0.8")
    names.answers = f"= ldap.example.com\n{first}  STREAM x\n{first}  DGRAM\n"
    assert directory.addresses() == {fixed, (first, 636)}

    now = 1000
    names.answers = f"= ldap.example.com\n{second}  STREAM x\n"
    assert directory.addresses() == {fixed, (first, 636), (second, 636)}

    now = machine.REMEMBERED_SECONDS
    assert directory.addresses() == {fixed, (second, 636)}

    names.answers = "= ldap.example.com\n"
    assert directory.addresses() == {fixed, (second, 636)}
    assert not directory.complete


def test_the_page_on_security_says_how_many_connections_a_server_may_have() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    most = filters.MOST_CONNECTIONS
    assert f"- A server has {most} connections to other machines at most" in page
