"""How many connections the proxy takes, and that no address takes all of them."""

from __future__ import annotations

import json

import pytest

from tests.images.proxy.node import printed
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MODULES = ROOT / "images" / "proxy"

#: Of those given, one after the other: prints how many connections of each address were taken.
SCRIPT = """
import {{ EventEmitter }} from "node:events";
import {{ Crowd, place }} from {crowd};
import {{ listed }} from {forwarded};
const {{ proxies, arrivals, leave }} = {arguments};
const crowd = new Crowd(100, listed(proxies));
const taken = ([remoteAddress, count]) => {{
  const made = () => Object.assign(new EventEmitter(), {{ remoteAddress }});
  const open = Array.from({{ length: count }}, made).filter((socket) => crowd.take(socket));
  if (leave) open.forEach((socket) => socket.emit("close"));
  return open.length;
}};
const places = arrivals.map(([one]) => place(one));
console.log(JSON.stringify([arrivals.map(taken), places, crowd.open, crowd.from.size]));
"""


def arrived(
    *arrivals: tuple[str, int], proxies: tuple[str, ...] = (), leave: bool = False
) -> tuple[list[int], list[str], int, int]:
    """Return how many of each were taken, the places, and how many connections and places stay."""
    script = SCRIPT.format(
        crowd=json.dumps((MODULES / "crowd.mjs").as_uri()),
        forwarded=json.dumps((MODULES / "forwarded.mjs").as_uri()),
        arguments=json.dumps({"proxies": proxies, "arrivals": arrivals, "leave": leave}),
    )
    taken, places, count, rooms = json.loads(printed(script))
    return taken, places, count, rooms


def test_one_address_leaves_room_for_others() -> None:
    taken, *_ = arrived(("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 1), ("192.0.2.3", 1))
    # The second one is not among those with many; then all is full.
    assert taken == [76, 24, 0, 0]


def test_who_has_few_gets_in_while_others_have_many() -> None:
    taken, *_ = arrived(("192.0.2.1", 56), ("192.0.2.2", 20), ("192.0.2.1", 9), ("192.0.2.2", 9))
    assert taken == [56, 20, 0, 5]


@pytest.mark.parametrize("own", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_machine_itself_gets_in_always(own: str) -> None:
    """A proxy that does not answer itself counts as hung, and is ended with all connections."""
    taken, *_ = arrived(("192.0.2.1", 76), ("192.0.2.2", 24), (own, 5))
    assert taken == [76, 24, 5]


def test_many_people_come_from_a_front_proxy() -> None:
    taken, *_ = arrived(("::ffff:192.0.2.1", 200), proxies=("192.0.2.0/24",))
    assert taken == [100]


def test_who_has_gone_counts_no_more() -> None:
    taken, _, count, places = arrived(("192.0.2.1", 70), ("192.0.2.1", 70), leave=True)
    assert (taken, count, places) == ([70, 70], 0, 0)


def test_addresses_of_one_network_in_ipv6_are_one_place() -> None:
    addresses = {
        "192.0.2.1": "192.0.2.1",
        "::ffff:192.0.2.1": "::ffff:192.0.2.1",
        "2001:db8::1": "2001:db8:0:0",
        "2001:db8:0:0:ffff::1": "2001:db8:0:0",
        "2001:db8::1:2:3:4:5": "2001:db8:0:1",
        "2001:db8:1:2:3:4:5:6": "2001:db8:1:2",
        "2001:db8:1:2::": "2001:db8:1:2",
        "fe80::1%eth0": "fe80:0:0:0",
    }
    _, places, *_ = arrived(*((one, 1) for one in addresses))
    assert places == list(addresses.values())
