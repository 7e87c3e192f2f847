"""The routes of this machine."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from components.settings import routes

#: As Linux prints it: a VPN's own table, a LAN, a router's network, the default route, Docker's.
FIB_TRIE = """\
Id 77:
  |-- 10.219.5.0
     /24 link UNICAST
Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 0.0.0.0/4 2 0 2
        |-- 0.0.0.0
           /0 universe UNICAST
           /1 universe UNICAST
        +-- 10.219.0.0/16 2 0 1
           |-- 10.219.0.0
              /28 link UNICAST
              /24 link UNICAST
           |-- 10.219.64.0
              /20 universe UNICAST tos 16
           |-- 10.219.128.0
              /20 universe UNREACHABLE
Local:
  +-- 0.0.0.0/0 3 0 4
     |-- 10.219.0.10
        /32 host LOCAL
     |-- 10.219.0.15
        /32 link BROADCAST
     |-- 127.0.0.0
        /8 host LOCAL
"""


def test_routes_of_all_tables_and_own_addresses_are_found() -> None:
    assert {(str(one.network), one.near, one.own) for one in routes.parse(FIB_TRIE)} == {
        ("10.219.5.0/24", True, False),
        ("10.219.0.0/28", True, False),
        ("10.219.0.0/24", True, False),
        ("10.219.64.0/20", False, False),
        ("10.219.0.10/32", True, True),
    }


def test_this_machines_own_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "FIB_TRIE", Path("/proc/net/fib_trie"))
    found = routes.read()
    assert any(one.own for one in found)
    assert all(isinstance(one.network, IPv4Network) for one in found)


def test_another_system_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(routes, "FIB_TRIE", tmp_path / "none")
    assert routes.read() == frozenset()
