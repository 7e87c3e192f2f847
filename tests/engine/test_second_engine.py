"""Second engines side by side: each has a way out, also while others have theirs."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from ipaddress import IPv4Network

import pytest

from tests.engine import second_engine, subnets
from tests.engine.namespaces import entered

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]


def answered(network: second_engine.Apart) -> bool:
    """Whether answers come back from the machine's address on the link, as those of DNS must."""
    with socket.create_server((network.outer, 0)) as listener:
        with entered(network.name), socket.socket() as caller:
            caller.settimeout(2)
            try:
                caller.connect(listener.getsockname())
            except TimeoutError:
                return False
        return True


def test_networks_of_two_runs_do_not_have_the_same_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not second_engine.able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    own = os.getpid()
    with ExitStack() as both:
        first = both.enter_context(second_engine.apart())
        # Another process that begins to look at the same place.
        monkeypatch.setattr(os, "getpid", lambda: own + 2 * SUBNETS)
        second = both.enter_context(second_engine.apart())
        assert not first.subnet.overlaps(second.subnet)
        assert answered(first)
        assert answered(second)


def test_with_the_same_addresses_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the look for free ones is for."""
    if not second_engine.able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    own = os.getpid()
    with ExitStack() as both:
        first = both.enter_context(second_engine.apart())
        monkeypatch.setattr(subnets, "free", lambda _: IPv4Network(first.subnet))
        monkeypatch.setattr(os, "getpid", lambda: own + 2 * SUBNETS)
        second = both.enter_context(second_engine.apart())
        assert not (answered(first) and answered(second))


#: How many networks there are to find; a process number more by that many begins at the same place.
SUBNETS = 1 << (29 - subnets.POOL.prefixlen)
