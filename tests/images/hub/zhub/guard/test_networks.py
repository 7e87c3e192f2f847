"""What the guard remembers of users' networks, and when it asks the engine again."""

from __future__ import annotations

from contextlib import nullcontext
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound
from zhub import settings
from zhub.guard.bodies import Refused
from zhub.guard.networks import Networks
from zhub.guard.policy import Policy

NAME = "site-user-alice"
OWN = {"zhub.stack": "site", "zhub.role": "user-network", "zhub.user": "alice"}


class Engine:
    """Has at most one network, and counts how often it is inspected."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.id = ""
        self.inspected = 0
        self.removed: list[str] = []

    def create_network(self, *_: Any, **__: Any) -> dict[str, str]:
        self.id = f"{self.id}n"
        return {"Id": self.id}

    def inspect_network(self, name: str) -> dict[str, Any]:
        self.inspected += 1
        if not self.id:
            raise NotFound("no such network")
        addresses = {"Config": [{"Subnet": "10.213.0.16/28"}]}
        return {"Id": self.id, "Name": name, "Labels": self.labels, "IPAM": addresses}

    def remove_network(self, network: str) -> None:
        if network != self.id:
            raise NotFound("no such network")
        self.removed.append(network)
        self.id = ""


def known(labels: dict[str, str] = OWN) -> tuple[Networks, Engine]:
    engine: Any = Engine(labels)
    count: Any = SimpleNamespace(one_more=lambda _: nullcontext())
    policy = Policy(settings.read_guard({"ZHUB_PREFIX": "site"}), {})
    return Networks(engine, policy, count), engine


def test_a_network_that_was_made_need_not_be_inspected() -> None:
    networks, engine = known()
    networks.make(NAME, IPv4Network("10.213.0.0/28"), OWN)
    for _ in range(2):
        with networks.used(NAME) as network:
            assert (network.id, str(network.subnet)) == ("n", "10.213.0.0/28")
    networks.remove(NAME)
    assert engine.removed == ["n"]
    assert not engine.inspected


def test_one_that_was_there_is_inspected_once() -> None:
    networks, engine = known()
    engine.create_network()
    for _ in range(2):
        with networks.used(NAME) as network:
            assert str(network.subnet) == "10.213.0.16/28"
    assert engine.inspected == 1


def test_what_somebody_else_has_removed_is_forgotten() -> None:
    networks, engine = known()
    networks.make(NAME, IPv4Network("10.213.0.0/28"), OWN)
    engine.create_network()
    with pytest.raises(NotFound):
        networks.remove(NAME)
    networks.remove(NAME)
    assert engine.removed == ["nn"]
    with pytest.raises(NotFound), networks.used(NAME):
        raise AssertionError("there is none")


@pytest.mark.parametrize(
    "labels",
    [{}, OWN | {"zhub.stack": "other"}, OWN | {"zhub.role": "front"}],
    ids=["none", "stack", "role"],
)
def test_a_network_of_somebody_else_is_refused_each_time(labels: dict[str, str]) -> None:
    networks, engine = known(labels)
    engine.create_network()
    for _ in range(2):
        with pytest.raises(Refused), networks.used(NAME):
            raise AssertionError("it is somebody else's")
    with pytest.raises(Refused), networks.used("bridge"):
        raise AssertionError("it is the engine's")
