"""Whom the guard starts again because of the network; most engines here only record calls."""

from __future__ import annotations

import logging
import uuid
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool
from zhub.guard.checks import Checks
from zhub.guard.namespace import SILENT_LOOKS, Namespace

from toolchain import base

BEFORE, SINCE, AFTER = (f"2026-11-29T01:00:0{second}" for second in (1, 2, 3))


class Engine:
    """Has the three containers, and records what is started."""

    def __init__(self) -> None:
        self.found = {
            "site-front": self.container("front", SINCE + ".5Z", "bridge"),
            "site-proxy": self.container("proxy", AFTER + "Z"),
            "site-hub": self.container("hub", AFTER + "Z"),
        }
        self.networks: dict[str, dict[str, str]] = {}
        """IDs of networks, and what has which address in each."""
        self.asked: list[tuple[str, str]] = []
        self.checks: list[int | None] = []
        """Exit codes of health checks that the guard has made; None for one that has not ended."""
        self.answer: int | None = 1

    def container(
        self, role: str, started: str, mode: str = "container:id-front"
    ) -> dict[str, Any]:
        return {
            "Id": f"id-{role}",
            "Name": f"/site-{role}",
            "HostConfig": {"NetworkMode": mode},
            "State": {"Running": True, "Paused": False, "StartedAt": started, "Error": ""},
        }

    def inspect_container(self, name: str) -> dict[str, Any]:
        if name not in self.found:
            raise NotFound("no such container")
        return self.found[name]

    def inspect_network(self, network: str) -> dict[str, Any]:
        if network not in self.networks:
            raise NotFound("no such network")
        inside = self.networks[network].items()
        return {
            "Containers": {
                f"id-{name}": {"Name": name, "IPv4Address": f"{address}/28"}
                for name, address in inside
            }
        }

    def disconnect_container_from_network(
        self, container: str, network: str, *, force: bool
    ) -> None:
        assert force, "the engine finds no such network"
        self.asked.append((f"leave {network}", container))

    def start(self, container: str) -> None:
        self.asked.append(("start", container))

    def restart(self, container: str, timeout: int) -> None:
        assert timeout <= 10
        self.asked.append(("restart", container))

    def exec_create(self, container: str, command: list[str]) -> dict[str, str]:
        assert (container, command) == ("id-proxy", ["/usr/local/bin/proxy-health"])
        self.checks.append(self.answer)
        return {"Id": str(len(self.checks))}

    def exec_start(self, check: str, *, detach: bool) -> None:
        assert (int(check), detach) == (len(self.checks), True)

    def exec_inspect(self, check: str) -> dict[str, Any]:
        if int(check) > len(self.checks):
            raise NotFound("no such exec instance")
        code = self.checks[int(check) - 1]
        return {"Running": code is None, "ExitCode": code}


@pytest.fixture
def engine() -> Engine:
    return Engine()


class Clock:
    """The engine's last look at the proxy is of a moment ago, until the test says otherwise."""

    def __init__(self) -> None:
        self.now = datetime.fromisoformat(AFTER + "Z")

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namespace(engine: Any, clock: Clock) -> Namespace:
    return Namespace(engine, "site", separate_proxy=True, checks=Checks(engine, clock))


@pytest.fixture
def of_one(engine: Any) -> Namespace:
    """Of a stack in which the hub's container has the proxy, and no front container."""
    engine.found = {"site-hub": engine.container("hub", SINCE + "Z", "bridge")}
    return Namespace(engine, "site", separate_proxy=False)


def test_those_in_the_right_network_are_left_alone(engine: Engine, namespace: Namespace) -> None:
    namespace.look()
    assert engine.asked == []


@pytest.mark.parametrize("role", ["proxy", "hub"])
def test_one_that_was_started_before_the_network_is_restarted_once(
    engine: Engine, namespace: Namespace, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    # The engine leaves out zeros at the end: as texts, these would be in the other order.
    engine.found[f"site-{role}"]["State"]["StartedAt"] = SINCE + ".45Z"
    with caplog.at_level(logging.WARNING):
        namespace.look()
        namespace.look()
    assert engine.asked == [("restart", f"id-{role}")]
    assert caplog.messages == [f"restarting site-{role}, which is in a network that is gone"]
    engine.found["site-front"]["State"]["StartedAt"] = AFTER + ".9Z"
    namespace.look()
    assert engine.asked.count(("restart", f"id-{role}")) == 2


def test_one_that_could_not_join_is_started(
    engine: Engine, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    engine.found["site-hub"]["State"] = {
        "Running": False,
        "StartedAt": BEFORE + "Z",
        "Error": "cannot join network of a non running container: id-front",
    }
    with caplog.at_level(logging.WARNING):
        namespace.look()
    assert engine.asked == [("start", "id-hub")]
    assert "starting site-hub, which the engine could not: cannot join network" in caplog.text


def test_one_that_somebody_has_stopped_stays_so(engine: Engine, namespace: Namespace) -> None:
    engine.found["site-hub"]["State"] = {
        "Running": False,
        "StartedAt": BEFORE + "Z",
        "Error": "",
    }
    namespace.look()
    assert engine.asked == []


def test_the_network_itself_is_started_without_users_networks_that_it_cannot_be_in(
    engine: Engine, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """As the engine leaves it when a user's server stopped or started while it was stopped."""
    front = engine.found["site-front"]
    front["State"] |= {"Running": False, "Error": "network 17 not found"}
    address = {"IPAMConfig": {"IPv4Address": "10.213.0.2"}}
    names = ("site-hub", *(f"site-user-{name}" for name in ("alice", "bob", "carol")))
    there: dict[str, dict[str, Any]] = {
        name: address | {"NetworkID": f"id-{name}"} for name in names
    }
    there["site-hub"]["IPAMConfig"] = None
    front["NetworkSettings"] = {"Networks": there}
    engine.networks = {
        "id-site-user-bob": {"site-user-bob": "10.213.0.22"},
        "id-site-user-carol": {"site-user-carol": "10.213.0.2"},
    }
    with caplog.at_level(logging.WARNING):
        namespace.look()
    left = [(f"leave site-user-{name}", "site-front") for name in ("alice", "carol")]
    assert engine.asked == [*left, ("start", "id-front")]
    assert caplog.messages == [
        "starting site-front, which the engine could not: network 17 not found",
        "site-front leaves site-user-alice, which is gone",
        "site-front leaves site-user-carol, where site-user-carol has its address",
    ]


def test_a_hub_with_its_proxy_is_started_without_a_network_that_is_gone(
    engine: Engine, of_one: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """As after `docker network prune` while it was stopped: it was down for good."""
    hub = engine.found["site-hub"]
    of_one.look()
    assert engine.asked == []
    hub["State"] |= {"Running": False, "Error": ""}
    of_one.look()
    assert engine.asked == [], "somebody has stopped it"
    hub["State"]["Error"] = "network 17 not found"
    hub["NetworkSettings"] = {
        "Networks": {"site-user-alice": {"NetworkID": "17", "IPAMConfig": None}}
    }
    with caplog.at_level(logging.WARNING):
        of_one.look()
    assert engine.asked == [("leave site-user-alice", "site-hub"), ("start", "id-hub")]
    assert caplog.messages == [
        "starting site-hub, which the engine could not: network 17 not found",
        "site-hub leaves site-user-alice, which is gone",
    ]


def test_a_hub_that_cannot_be_started_is_tried_again_and_said_once(
    engine: Engine, of_one: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """As where another program has its port."""
    hub = engine.found["site-hub"]
    hub["State"] |= {"Running": False, "Error": "port is already allocated"}
    hub["NetworkSettings"] = {"Networks": {}}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            of_one.look()
    assert engine.asked == [("start", "id-hub")] * 3
    assert caplog.messages == [
        "starting site-hub, which the engine could not: port is already allocated"
    ]


def health(streak: int, *codes: int) -> dict[str, Any]:
    # In the time of the engine's machine.
    log = [{"ExitCode": code, "End": "2026-11-29T02:00:03.123456789+01:00"} for code in codes]
    return {"Status": "unhealthy", "FailingStreak": streak, "Log": log}


def test_a_proxy_that_hangs_is_restarted(
    engine: Engine, namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    silent = health(6, 1, 1, 1)
    state = engine.found["site-proxy"]["State"]
    for other in (
        silent | {"Status": "starting"},
        health(0, 0, 0, 0) | {"Status": "healthy"},
        health(5, 1, 1, 1),
        # The engine has given up a check.
        health(6, 1, -1, 1),
    ):
        state["Health"] = other
        namespace.look()
    state |= {"Health": silent, "Paused": True}
    namespace.look()
    # The hub has a watchdog of its own, and is unhealthy for other reasons as well.
    engine.found["site-hub"]["State"]["Health"] = silent
    namespace.look()
    assert engine.asked == []
    state["Paused"] = False
    with caplog.at_level(logging.WARNING):
        namespace.look()
    assert engine.asked == [("restart", "id-proxy")]
    assert caplog.messages == ["restarting site-proxy, which hangs: it does not answer itself"]


@pytest.fixture
def unchecked(engine: Engine, clock: Clock) -> dict[str, Any]:
    """A proxy that the engine does not check any more: it was restarted, with live-restore."""
    proxy = engine.found["site-proxy"]
    proxy["Config"] = {"Healthcheck": {"Test": ["CMD", "/usr/local/bin/proxy-health"]}}
    proxy["State"]["Health"] = health(0, 0, 0) | {"Status": "healthy"}
    clock.now += timedelta(minutes=5)
    return proxy


def test_the_guard_checks_a_proxy_that_the_engine_does_not_check_any_more(
    engine: Engine, namespace: Namespace, unchecked: dict[str, Any]
) -> None:
    for _ in range(SILENT_LOOKS):
        namespace.look()
    assert engine.asked == []
    namespace.look()
    assert engine.asked == [("restart", "id-proxy")]


def test_one_answer_of_the_proxy_is_enough(
    engine: Engine, namespace: Namespace, unchecked: dict[str, Any]
) -> None:
    for number in range(3 * SILENT_LOOKS):
        engine.answer = 0 if number % SILENT_LOOKS == 5 else 1
        namespace.look()
    assert engine.asked == []


def test_one_check_is_made_at_a_time_and_one_that_was_lost_is_none(
    engine: Engine, namespace: Namespace, unchecked: dict[str, Any]
) -> None:
    engine.answer = None
    for _ in range(SILENT_LOOKS):
        namespace.look()
    assert len(engine.checks) == 1
    # The engine is restarted, and knows no check any more.
    engine.checks.clear()
    namespace.look()
    assert len(engine.checks) == 1
    assert engine.asked == []


def test_a_proxy_that_the_engine_checks_or_that_is_paused_is_left_to_it(
    engine: Engine, namespace: Namespace, clock: Clock, unchecked: dict[str, Any]
) -> None:
    clock.now -= timedelta(minutes=5)
    namespace.look()
    clock.now += timedelta(minutes=5)
    unchecked["State"]["Paused"] = True
    namespace.look()
    assert engine.checks == []


def test_without_a_network_to_join_nothing_is_done(engine: Engine, namespace: Namespace) -> None:
    engine.found["site-hub"]["State"]["StartedAt"] = BEFORE + "Z"
    engine.found["site-front"]["State"]["Running"] = False
    namespace.look()
    del engine.found["site-front"]
    namespace.look()
    assert engine.asked == []


def test_one_of_another_network_is_left_to_pulumi(engine: Engine, namespace: Namespace) -> None:
    engine.found["site-hub"] = engine.container("hub", BEFORE + "Z", "container:id-of-the-old")
    del engine.found["site-proxy"]
    namespace.look()
    assert engine.asked == []


@pytest.mark.engine
def test_an_engine_starts_the_hub_again_whose_network_was_pruned() -> None:
    """The engine itself does not try again: nobody could log in until the next `up`."""
    prefix = f"zhub-test-{uuid.uuid4().hex[:8]}"
    hub, network = f"{prefix}-hub", f"{prefix}-user-alice"
    with closing(docker.from_env()) as engine:
        api = engine.api
        pool = IPAMPool(subnet="10.214.9.0/28")
        api.create_network(network, ipam=IPAMConfig(pool_configs=[pool]))
        engine.containers.run(base.BUILD, ["sleep", "300"], name=hub, detach=True, init=True)
        try:
            api.connect_container_to_network(hub, network, ipv4_address="10.214.9.2")
            api.stop(hub, timeout=0)
            api.remove_network(network)
            with pytest.raises(APIError):
                api.start(hub)
            Namespace(api, prefix, separate_proxy=False).look()
            found = api.inspect_container(hub)
        finally:
            api.remove_container(hub, force=True)
    assert found["State"]["Running"]
    assert set(found["NetworkSettings"]["Networks"]) == {"bridge"}
