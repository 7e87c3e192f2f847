"""Whom the guard starts again because of the network; the engine here only records calls."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from docker.errors import NotFound
from zhub.guard.namespace import Namespace

BEFORE, SINCE, AFTER = (f"2026-11-29T01:00:0{second}" for second in (1, 2, 3))


class Engine:
    """Has the three containers, and records what is started."""

    def __init__(self) -> None:
        self.found = {
            "site-front": self.container("front", SINCE + ".5Z", "bridge"),
            "site-proxy": self.container("proxy", AFTER + "Z"),
            "site-hub": self.container("hub", AFTER + "Z"),
        }
        self.asked: list[tuple[str, str]] = []

    def container(
        self, role: str, started: str, mode: str = "container:id-front"
    ) -> dict[str, Any]:
        return {
            "Id": f"id-{role}",
            "Name": f"/site-{role}",
            "HostConfig": {"NetworkMode": mode},
            "State": {"Running": True, "StartedAt": started, "Error": ""},
        }

    def inspect_container(self, name: str) -> dict[str, Any]:
        if name not in self.found:
            raise NotFound("no such container")
        return self.found[name]

    def start(self, container: str) -> None:
        self.asked.append(("start", container))

    def restart(self, container: str, timeout: int) -> None:
        assert timeout <= 10
        self.asked.append(("restart", container))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def namespace(engine: Any) -> Namespace:
    return Namespace(engine, "site")


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
