"""A server gets no network without a filter, whatever calls a captured hub makes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound
from zhub import settings
from zhub.contract import NO_NETWORK, addressing
from zhub.guard.bodies import Refused, Request
from zhub.guard.calls import Guard
from zhub.guard.environment import Image
from zhub.guard.policy import Policy
from zhub.guard.turns import Turns

ID = "0123456789ab" + "f" * 52
NAME = "site-user-alice"
LABELS = {"zhub.stack": "site", "zhub.user": "alice"}
NETWORK = {
    "Id": "net",
    "Name": NAME,
    "Labels": LABELS | {"zhub.role": "user-network"},
    "IPAM": addressing(IPv4Network("10.213.0.0/28")),
}

SECONDS = 0.1
"""How long a call that has no turn is waited for. Were there no turns, it would be done by then."""


class Engine:
    """Has one server. As an engine does, it makes a new network namespace at each start."""

    api_version = "1.41"

    def __init__(self) -> None:
        self.namespace = 0
        self.running = False
        self.networks_of: set[str] = {NO_NETWORK}
        self.filtered: set[int] = set()
        self.bare: list[int] = []
        """Namespaces that had a network and no filter."""
        self.stopping: Callable[[], None] = lambda: None

    def inspect_container(self, name: str) -> dict[str, Any]:
        if not (name in {NAME, "hub"} or ID.startswith(name)):
            raise NotFound("no such container")
        role = "hub" if name == "hub" else "notebook"
        return {
            "Id": "h" * 64 if name == "hub" else ID,
            "Name": f"/{NAME}",
            "Config": {"Labels": LABELS | {"zhub.role": role}},
            "State": {"Running": self.running, "StartedAt": str(self.namespace)},
            "NetworkSettings": {"Networks": dict.fromkeys(self.networks_of)},
        }

    def inspect_network(self, _: str) -> dict[str, Any]:
        return NETWORK

    def start(self, _: str) -> None:
        if not self.running:
            self.namespace += 1
            self.running = True
        self._look()

    def stop(self, _: str, timeout: int) -> None:
        assert timeout == 0
        self.stopping()
        self.running = False

    def connect_container_to_network(self, _: str, network: str) -> None:
        self.networks_of = {network}
        self._look()

    def _look(self) -> None:
        networked = self.networks_of - {NO_NETWORK}
        if self.running and networked and self.namespace not in self.filtered:
            self.bare.append(self.namespace)


class Site:
    """A guard, and what happens in the midst of its calls."""

    def __init__(self) -> None:
        self.engine: Any = Engine()
        self.threads = ThreadPoolExecutor(2)
        self.filter_is_set: Callable[[], None] = lambda: None
        self.start_is_allowed: Callable[[], None] = lambda: None
        found = settings.read_guard({"ZHUB_PREFIX": "site"})
        confinement: Any = SimpleNamespace(server=self._filter, again=lambda _: None)
        audit: Any = SimpleNamespace(
            start=lambda _: self.start_is_allowed(),
            seen=lambda *_, **__: None,
            stopped=lambda *_, **__: None,
        )
        policy = Policy(found, dict.fromkeys(found.images, Image((), frozenset())))
        self.guard = Guard(self.engine, policy, confinement, SimpleNamespace(), audit)  # type: ignore[arg-type]

    def _filter(self, found: dict[str, Any], _: IPv4Network) -> None:
        self.engine.filtered.add(int(found["State"]["StartedAt"]))
        self.filter_is_set()

    def start(self, name: str = ID) -> None:
        self.guard.start_container(Request(name, {}, {}))

    def stop(self) -> None:
        self.guard.stop_container(Request(ID, {"t": "0"}, {}))

    def connect(self, name: str = ID) -> None:
        self.guard.connect(Request(NAME, {}, {"Container": name}))

    def beside(self, call: Callable[..., None], *given: str) -> Future[None]:
        """Make a call in a thread; return once it is done, or must be waiting for its turn."""
        future = self.threads.submit(call, *given)
        with suppress(TimeoutError, Refused):
            future.result(SECONDS)
        return future


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize("name", [ID, ID[:12], NAME])
def test_a_server_is_not_started_anew_between_its_filter_and_its_network(
    site: Site, name: str
) -> None:
    begun: list[Future[None]] = []

    def meanwhile() -> None:
        site.stop()
        begun.append(site.beside(site.start, name))

    site.start()
    site.filter_is_set = meanwhile
    site.connect()
    assert (site.engine.running, site.engine.bare) == (False, [])
    with pytest.raises(Refused, match="has a network already"):
        begun[0].result(10)


@pytest.mark.parametrize("name", [ID, ID[:12]])
def test_a_server_gets_no_network_between_the_look_at_its_networks_and_its_start(
    site: Site, name: str
) -> None:
    begun: list[Future[None]] = []

    def meanwhile() -> None:
        begun.append(site.beside(site.connect, name))
        site.stop()

    site.start()
    site.start_is_allowed = meanwhile
    site.start()
    begun[0].result(10)
    assert (site.engine.running, site.engine.bare) == (True, [])
    # The network came after the start, and after the filter.
    assert (site.engine.networks_of, site.engine.filtered) == ({"net"}, {2})


def test_a_server_that_takes_its_time_to_stop_keeps_no_other_call_waiting(site: Site) -> None:
    free = threading.Event()
    site.engine.stopping = lambda: free.wait(10)
    site.start()
    stopping = site.threads.submit(site.stop)
    site.connect()
    with pytest.raises(Refused, match="has a network already"):
        site.start()
    assert not stopping.done()
    free.set()
    stopping.result(10)


def test_a_server_can_be_stopped_while_another_call_has_its_turn(site: Site) -> None:
    stopped: list[bool] = []
    site.start()
    site.filter_is_set = lambda: stopped.append(site.beside(site.stop).done())
    site.connect()
    assert stopped == [True]


def test_only_calls_for_the_same_container_wait_for_each_other() -> None:
    turns = Turns()
    order: list[str] = []

    def take(container: str, said: str) -> None:
        with turns.of(container):
            order.append(said)

    with ThreadPoolExecutor(2) as threads:
        with turns.of(ID):
            waiting = threads.submit(take, ID, "second")
            threads.submit(take, "other", "at once").result(10)
            with suppress(TimeoutError):
                waiting.result(SECONDS)
            order.append("first")
        waiting.result(10)
    assert order == ["at once", "first", "second"]


def test_turns_keep_nothing_of_containers_that_are_gone() -> None:
    turns = Turns()
    for number in range(100):
        with suppress(KeyError), turns.of(f"{number:064}"):
            assert len(turns) == 1
            raise KeyError
    assert len(turns) == 0
