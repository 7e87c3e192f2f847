"""Networks of the engine, of this machine and of users that overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pulumi
import pytest

from components.settings import local_networks, routes
from components.settings.engine import Engine
from components.settings.local_engine import DEFAULT_POOLS, LocalEngine
from components.settings.parsing import RefusedError
from components.settings.routes import Route
from components.settings.users import UserServers
from tests.components.recorder import run
from tests.components.settings.engines import on_this_machine
from tests.components.stack_config import SITE, read

OTHER = "pulumi config set userNetworkPool 10.214.0.0/16"


def users(pool: str, **more: Any) -> UserServers:
    return replace(read(SITE | {"zhub:userNetworkPool": pool})[0].users, **more)


def network(name: str, subnet: str, stack: str = "", role: str = "network") -> dict[str, Any]:
    labels = {"zhub.stack": stack, "zhub.role": role} if stack else None
    return {"Name": name, "Labels": labels, "IPAM": {"Config": [{"Subnet": subnet}]}}


def engine(*there: dict[str, Any], near: str = "", routed: str = "", own: str = "") -> LocalEngine:
    """An engine with these networks, on a machine with such routes and addresses."""
    ways = [
        Route(IPv4Network(text), near=kind != "routed", own=kind == "own")
        for kind, texts in (("near", near), ("routed", routed), ("own", own))
        for text in texts.split()
    ]
    unaddressed = {"Name": "host", "Labels": None, "IPAM": {"Config": None}}
    return LocalEngine(
        networks=[*there, network("six", "fd00::/64"), unaddressed], routes=frozenset(ways)
    )


@pytest.mark.parametrize(
    ("pool", "local", "by"),
    [
        ("172.17.0.0/16", engine(network("bridge", "172.17.0.0/16")), "the network bridge of"),
        ("172.17.4.0/24", engine(network("bridge", "172.17.0.0/16", "other")), "the network bridg"),
        # Of the stack's own, too: it is the hub's.
        ("172.18.0.0/16", engine(network("t-hub", "172.18.0.0/16", "t")), "the network t-hub of"),
        ("10.213.0.0/16", engine(near="10.213.0.0/16"), "10.213.0.0/16 (which this machine has"),
        (
            "10.213.0.0/16",
            engine(network("a", "10.213.0.0/17"), routed="10.213.128.0/17"),
            "the network a of this engine (10.213.0.0/17), 10.213.128.0/17 (which",
        ),
    ],
)
def test_a_pool_of_which_nothing_is_left_is_refused(pool: str, local: LocalEngine, by: str) -> None:
    with pytest.raises(RefusedError, match="no user would get a network") as raised:
        local_networks.refuse_taken_pool(local, "t", users(pool))
    assert f"all of it belongs to {by}" in str(raised.value)
    assert raised.value.fix
    assert raised.value.fix.startswith("pulumi config set userNetworkPool 10.21")
    assert pool not in raised.value.fix


@pytest.mark.parametrize(
    ("pool", "local"),
    [
        ("172.16.0.0/12", engine(network("bridge", "172.17.0.0/16"))),
        ("10.213.0.0/16", engine(network("bridge", "172.17.0.0/16"))),
        ("10.213.0.0/24", engine(network("t-user-a", "10.213.0.0/28", "t", "user-network"))),
        ("10.213.0.0/16", engine(routed="10.0.0.0/8", near="10.213.1.0/24")),
    ],
)
def test_a_pool_of_which_something_is_left_is_not(pool: str, local: LocalEngine) -> None:
    local_networks.refuse_taken_pool(local, "t", users(pool))


def test_a_pool_with_the_demo_directory_in_it_is_refused() -> None:
    local = engine(network("t-directory", "172.22.0.0/16", "t"))
    with pytest.raises(RefusedError, match="holds the network t-directory of this engine"):
        local_networks.refuse_taken_pool(local, "t", users("172.16.0.0/12"))


def local_warnings(local: LocalEngine, found: UserServers, *, chosen: bool = False) -> list[str]:
    return list(local_networks.warnings(local, "t", found, chosen=chosen))


def test_routes_in_the_pool_are_left_to_the_site_and_named() -> None:
    local = engine(near="10.213.5.0/24", routed="10.213.64.0/20", own="10.213.5.7 10.213.8.7")
    [text] = local_warnings(local, users("10.213.0.0/16"))
    assert text.startswith(
        "userNetworkPool (10.213.0.0/16) holds 10.213.5.0/24 (which this machine has a route to),"
        " 10.213.8.7 (an address of this machine), 10.213.64.0/20 (which this machine has"
    )
    assert text.endswith(OTHER)


def test_routes_of_the_engines_networks_are_none_of_the_sites() -> None:
    local = engine(
        network("t-user-a", "10.213.0.0/28", "t", "user-network"),
        network("docker0", "172.17.0.0/16"),
        near="10.213.0.0/28 172.17.0.0/16",
        own="10.213.0.1 172.17.0.1",
    )
    assert not local_warnings(local, users("10.213.0.0/16"))


@pytest.mark.parametrize(
    ("near", "routed", "chosen", "said"),
    [
        ("10.0.0.0/8", "", True, "part of 10.0.0.0/8, a network that this machine is in"),
        ("", "10.0.0.0/8", False, "part of 10.0.0.0/8, a network that this machine has a route to"),
        # All private addresses are a site's, and somebody has chosen these.
        ("", "10.0.0.0/8", True, None),
    ],
)
def test_a_route_around_the_pool_is_warned_of(
    near: str, routed: str, *, chosen: bool, said: str | None
) -> None:
    local = engine(near=near, routed=routed)
    found = local_warnings(local, users("10.213.0.0/16"), chosen=chosen)
    assert len(found) == bool(said)
    for text in found:
        assert str(said) in text
        # Nothing of 10.0.0.0/8 is offered.
        assert text.endswith("pulumi config set userNetworkPool 172.16.0.0/16")


def test_too_little_room_for_all_servers_is_warned_of() -> None:
    local = engine(network("b-user-x", "10.213.0.0/28", "b", "user-network"), near="10.213.0.64/30")
    found = users("10.213.0.0/24", max_servers=15)
    routed, room = local_warnings(local, found)
    assert "10.213.0.64/30" in routed
    assert "has room for 14 users' servers, and maxServers is 15: the network b-user-x of" in room
    assert len(local_warnings(local, replace(found, max_servers=14))) == 1


def test_a_pool_of_the_engines_own_addresses_is_warned_of() -> None:
    default = [IPv4Network(text) for text in DEFAULT_POOLS]
    local = replace(engine(), default_pools=default)
    [text] = local_warnings(local, users("172.30.0.0/16"))
    assert "overlaps 172.28.0.0/14, from which the engine takes addresses" in text
    assert not local_warnings(local, users("10.213.0.0/16"))


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (
            "172.18.0.5:1636",
            "172.18.0.5 is in the network t-hub of this engine (172.18.0.0/16): the",
        ),
        ("172.30.0.5", "172.30.0.5 is in 172.28.0.0/14, from which this engine takes addresses"),
        ("10.1.2.3", None),
        # This machine itself.
        ("172.17.0.1", None),
        ("ldap.example.com", None),
    ],
)
def test_a_directory_with_an_address_of_the_engines_networks_is_warned_of(
    server: str, said: str | None
) -> None:
    local = engine(network("t-hub", "172.18.0.0/16", "t"), own="172.17.0.1")
    local = replace(local, default_pools=[IPv4Network(text) for text in DEFAULT_POOLS])
    ldap = read(SITE | {"zhub:ldapServer": server})[0].ldap
    assert ldap
    found = list(local_networks.hidden_directory(local, ldap))
    assert len(found) == bool(said)
    for text in found:
        assert str(said) in text
        assert "default-address-pools in the engine's daemon.json" in text


def test_the_program_looks_at_engine_and_machine_before_it_declares_anything(
    engine_with: Callable[..., Engine],
    free: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    table = tmp_path / "fib_trie"
    monkeypatch.setattr(routes, "FIB_TRIE", table)
    there = engine_with()
    table.write_text("|-- 10.213.5.0\n /24 link UNICAST\n")
    recording = run(on_this_machine(there, free), preview=True)
    assert [text for text in recording.warnings if "holds 10.213.5.0/24 (which this" in text]
    table.write_text("|-- 10.213.0.0\n /16 link UNICAST\n")
    with pytest.raises(pulumi.RunError) as raised:
        run(on_this_machine(there, free), preview=True)
    assert 'userNetworkPool is "10.213.0.0/16": all of it belongs to 10.213.0.0/16' in str(
        raised.value
    )
    assert f"\n    {OTHER}" in str(raised.value)
