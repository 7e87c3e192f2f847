"""What of the users' pool is the site's, and what the guard says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from zhub import settings
from zhub.guard.confinement import Confinement
from zhub.guard.helpers import Helpers
from zhub.guard.machine import Machine
from zhub.guard.sight import Sight, of_the_site, outside
from zhub.settings import GuardSettings

from tests.components.settings.test_routes import FIB_TRIE

POOL = IPv4Network("10.219.0.0/16")


def guard_settings(**variables: str) -> GuardSettings:
    return settings.read_guard(
        {"ZHUB_PREFIX": "site", "ZHUB_USER_NETWORK_POOL": str(POOL)} | variables
    )


def network(name: str, subnet: str, role: str = "", stack: str = "site") -> dict[str, Any]:
    labels = {"zhub.stack": stack, "zhub.role": role} if role else None
    return {"Name": name, "Labels": labels, "IPAM": {"Config": [{"Subnet": subnet}]}}


def networks(*texts: str) -> frozenset[IPv4Network]:
    return frozenset(map(IPv4Network, texts))


def machine(
    *, routes: str = "", near: str = "", own: str = "192.0.2.7", names: str = "192.0.2.53"
) -> Machine:
    return Machine(
        networks(*own.split()),
        frozenset(map(IPv4Address, names.split())),
        networks(*routes.split(), *near.split()),
        networks(*near.split()),
    )


def sight(seen: Machine, *there: dict[str, Any], ldap: str = "192.0.2.5") -> Sight:
    servers = frozenset((IPv4Address(text), 636) for text in ldap.split())
    engine = networks(*(one["IPAM"]["Config"][0]["Subnet"] for one in there))
    out = of_the_site(seen, {address for address, _ in servers}, pool=POOL, engine=engine)
    return Sight(seen, servers, there, out)


class Host(Helpers):
    """The engine's machine, with these routes and name servers."""

    def run(self, command: Any, **_: Any) -> str:
        return {"/proc/net/fib_trie": FIB_TRIE}.get(command[-1], "nameserver 10.219.200.53")


def test_the_machine_knows_its_routes_by_all_tables() -> None:
    seen: Any = Host.__new__(Host)
    found = Machine.seen(seen)
    near = networks("10.219.5.0/24", "10.219.0.0/28", "10.219.0.0/24")
    assert found.near == near
    assert found.routes == near | networks("10.219.64.0/20")
    assert found.addresses == networks("10.219.0.10")


def test_routes_addresses_and_servers_in_the_pool_are_the_sites() -> None:
    seen = machine(
        routes="10.219.64.0/20 10.0.0.0/8 10.220.0.0/16", own="10.219.0.10", names="10.219.200.53"
    )
    assert of_the_site(seen, [IPv4Address("10.219.9.9")], pool=POOL, engine=[]) == networks(
        "10.219.64.0/20", "10.219.0.10", "10.219.200.53", "10.219.9.9"
    )
    assert of_the_site(machine(near=str(POOL)), [], pool=POOL, engine=[]) == {POOL}


def test_routes_and_addresses_of_the_engines_own_networks_are_not() -> None:
    seen = machine(near="10.219.0.0/28 10.219.7.0/24", own="10.219.0.1 10.219.7.1")
    found = of_the_site(seen, [], pool=POOL, engine=networks("10.219.0.0/28", "10.219.0.16/28"))
    assert found == networks("10.219.7.0/24", "10.219.7.1")


def test_servers_that_start_and_stop_during_the_look_leave_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [[network("a", "10.219.0.0/28")], [network("b", "10.219.0.16/28")]]
    seen = machine(near="10.219.0.0/28 10.219.0.16/28 10.219.0.32/28", own="10.219.0.17")
    monkeypatch.setattr(Machine, "seen", lambda _: seen)
    client: Any = type("Engine", (), {"networks": lambda _: answers.pop(0)})()
    directory: Any = type("Directory", (), {"addresses": lambda _: frozenset()})()
    helpers: Any = None
    found = Sight.seen(client, helpers, directory, guard_settings())
    assert found.left_out == networks("10.219.0.32/28")


@pytest.mark.parametrize(
    ("found", "variables", "text", "fix"),
    [
        (
            sight(machine(), ldap="10.219.0.5 10.219.0.6"),
            {},
            "the LDAP server at 10.219.0.5, 10.219.0.6 is in userNetworkPool (10.219.0.0/16): the",
            "pulumi config set userNetworkPool 10.213.0.0/16, then pulumi up",
        ),
        (
            sight(machine(names="10.219.0.53")),
            {},
            "the engine's name server 10.219.0.53 is in userNetworkPool",
            "pulumi config set userNetworkPool 10.213.0.0/16, then pulumi up",
        ),
        (
            sight(
                machine(routes="10.219.64.0/20", near="10.213.0.0/16"),
                network("b", "10.214.0.0/24"),
            ),
            {},
            "a route or an address in userNetworkPool (10.219.0.0/16): 10.219.64.0/20. No user's",
            "pulumi config set userNetworkPool 10.215.0.0/16, then pulumi up; nothing, if enough",
        ),
        (
            sight(machine(), network("site-hub", "172.18.0.0/16", "network"), ldap="172.18.0.5"),
            {},
            "the LDAP server at 172.18.0.5 is in the network site-hub of the engine (172.18.0.0/1",
            "set other default-address-pools in the engine's daemon.json",
        ),
        (
            sight(machine(near="10.0.0.0/8")),
            {},
            "is part of 10.0.0.0/8, which the engine's machine is in: what users' servers take of",
            "pulumi config set userNetworkPool 172.16.0.0/16, then pulumi up",
        ),
        (
            sight(machine(), ldap="10.1.2.3"),
            {"ZHUB_USER_ALLOWED_NETWORKS": '["10.1.0.0/16"]'},
            "userAllowedNetworks opens 10.1.0.0/16, and with it the LDAP server at 10.1.2.3",
            "add 10.1.2.3 to userBlockedNetworks, then pulumi up",
        ),
    ],
)
def test_what_overlaps_is_named_with_what_to_do(
    found: Sight, variables: dict[str, str], text: str, fix: str
) -> None:
    [said] = found.overlaps(guard_settings(**variables))
    assert text in said.text
    assert said.fix.startswith(fix)


@pytest.mark.parametrize(
    ("found", "variables"),
    [
        (sight(machine(routes="10.0.0.0/8")), {}),
        (
            # The engine's machine itself.
            sight(machine(own="172.17.0.1"), network("b", "172.17.0.0/16"), ldap="172.17.0.1"),
            {},
        ),
        (
            # The demo directory.
            sight(machine(), network("site-directory", "172.18.0.0/16"), ldap="172.18.0.2"),
            {"ZHUB_DIRECTORY_NETWORK": "site-directory"},
        ),
        (sight(machine(near="10.219.0.0/28"), network("site-user-a", "10.219.0.0/28")), {}),
        (sight(machine(), ldap="10.1.2.3"), {"ZHUB_USER_ALLOWED_NETWORKS": '["10.1.2.3/32"]'}),
        (
            sight(machine(), ldap="10.1.2.3"),
            {
                "ZHUB_USER_ALLOWED_NETWORKS": '["10.1.0.0/16"]',
                "ZHUB_USER_BLOCKED_NETWORKS": '["10.1.2.3/32"]',
            },
        ),
    ],
)
def test_what_is_meant_or_harmless_is_not_named(found: Sight, variables: dict[str, str]) -> None:
    chosen = guard_settings(**variables)
    assert not [*found.overlaps(chosen), *found.room(chosen)]


def test_users_networks_that_were_there_before_a_route_are_named() -> None:
    mine = network("site-user-a", "10.219.5.16/28", "user-network")
    found = sight(machine(near="10.219.5.0/24"), mine, network("else", "10.219.5.0/28"))
    _, hiding = found.overlaps(guard_settings())
    assert hiding.text.endswith(": site-user-a (10.219.5.16/28)")
    assert hiding.fix.startswith("stop these users' servers")


def test_networks_of_the_pool_before_are_put_together() -> None:
    before = [network(f"site-user-{n}", f"10.213.0.{16 * n}/28", "user-network") for n in range(3)]
    mine = network("site-user-new", "10.219.0.0/28", "user-network")
    other = network("b-user-x", "10.213.9.0/28", "user-network", "b")
    assert outside([*before, mine, other], guard_settings()) == [
        IPv4Network("10.213.0.0/27"),
        IPv4Network("10.213.0.32/28"),
    ]


def test_many_are_not_all_named() -> None:
    found = sight(machine(routes=" ".join(f"10.219.{number}.0/24" for number in range(0, 18, 2))))
    [said] = found.overlaps(guard_settings())
    assert (
        "10.219.0.0/24, 10.219.2.0/24, 10.219.4.0/24, 10.219.6.0/24, 10.219.8.0/24 and 4 more"
        in (said.text)
    )


@pytest.mark.parametrize(("servers", "said"), [("500", True), ("16", False)])
def test_too_little_room_is_named(servers: str, *, said: bool) -> None:
    """Another stack with the same pool has taken most of it."""
    most = [network(f"b-user-{n}", f"10.219.{n}.0/24", "user-network", "b") for n in range(1, 256)]
    mine = network("site-user-a", "10.219.0.0/28", "user-network")
    found = list(sight(machine(), mine, *most).room(guard_settings(ZHUB_MAX_SERVERS=servers)))
    assert len(found) == said
    for one in found:
        assert "has room for 16 users' servers, and maxServers is 500: 10.219.1.0/24" in one.text


def test_each_overlap_is_logged_once_for_as_long_as_it_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now: list[Machine] = []
    monkeypatch.setattr(Machine, "seen", lambda _: now[-1])
    engine: Any = type("Engine", (), {"networks": lambda _: []})()
    helpers: Any = None
    confinement = Confinement(engine, helpers, guard_settings(ZHUB_LDAP_SERVERS="192.0.2.5"))
    monkeypatch.setattr("zhub.guard.confinement.LEAST_PAUSE", -1)
    plain, vpn = machine(), machine(near="10.219.5.0/24")
    said: list[int] = []
    look: Callable[[], None] = confinement.look
    with caplog.at_level(logging.WARNING):
        for seen in (plain, vpn, vpn, plain, vpn):
            now.append(seen)
            look()
            said.append(len(caplog.records))
    assert said == [0, 1, 1, 1, 2]
    assert "10.219.5.0/24" in caplog.records[0].getMessage()
    assert confinement.left_out == networks("10.219.5.0/24")
