"""What the guard counts, and what it says of users' servers; the engine here has two of them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import requests.exceptions
from docker.errors import NotFound
from zhub.guard import measures
from zhub.guard.measures import FRESH, LAYERS_FRESH, UNKNOWN, Measures, Usage, memory_in_use


class Engine:
    """Says what each server uses, or that one has ended."""

    def __init__(self) -> None:
        self.asked = 0
        self.servers = {"alice": 1 << 20, "bob": 2 << 20}
        self.silent = False
        self.machine: Any = {"MemTotal": 1 << 30}
        self.added_up = 0
        self.names: tuple[str, ...] = ("alice", "bob", "gone")

    def info(self) -> Any:
        self.asked += 1
        if self.silent:
            raise requests.exceptions.ConnectionError
        return self.machine

    def containers(self, *, size: bool = False, **_: Any) -> list[dict[str, Any]]:
        if self.silent:
            raise requests.exceptions.ConnectionError
        self.added_up += size
        more = {"SizeRw": 5 << 20, "SizeRootFs": 1 << 30} if size else {}
        return [
            {"Id": user, "Labels": {"zhub.user": user}, **(more if user == "alice" else {})}
            for user in self.names
        ]

    def stats(self, container: str, **how: Any) -> dict[str, Any]:
        assert how == {"stream": False, "one_shot": True}
        if container not in self.servers:
            raise NotFound("gone")
        return {
            "memory_stats": {
                "usage": self.servers[container],
                "limit": 1 << 29,
                "stats": {"inactive_file": 1000},
            },
            "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    return Engine()


def usage(engine: Any, **more: Any) -> Usage:
    return Usage(engine, "site", **more)


def settled() -> None:
    """Wait for the thread that asks the engine."""
    for thread in threading.enumerate():
        if thread.name == "usage":
            thread.join()


def test_servers_are_shown_with_their_users_and_one_that_ended_is_left_out(engine: Engine) -> None:
    found = usage(engine)
    found.renew()
    text = Measures(found).text()
    assert 'guard_server_memory_bytes{user="alice"} 1.047576e+06\n' in text
    assert 'guard_server_memory_limit_bytes{user="bob"} 5.36870912e+08\n' in text
    assert 'guard_server_cpu_seconds_total{user="bob"} 2.5\n' in text
    assert "gone" not in text
    assert "guard_engine_up 1.0\n" in text
    assert "guard_servers 3.0\n" in text
    assert "guard_engine_memory_bytes 1.073741824e+09\n" in text
    assert "guard_engine_disk_free_bytes" in text
    settled()


def test_a_scrape_never_waits_and_the_engine_is_asked_once_in_a_while(engine: Engine) -> None:
    now = 0.0
    found = Measures(usage(engine, clock=lambda: now))
    assert "guard_engine_up" not in found.text(), "nothing is known yet"
    settled()
    for _ in range(3):
        assert "guard_engine_up 1.0" in found.text()
        settled()
    assert engine.asked == 1
    now = float(FRESH)
    found.text()
    settled()
    assert engine.asked == 2


def test_what_servers_have_written_outside_their_homes_is_asked_seldom(engine: Engine) -> None:
    now = 0.0
    found = Measures(usage(engine, clock=lambda: now))
    for now in (0, FRESH, LAYERS_FRESH - 1, LAYERS_FRESH + FRESH):  # noqa: B007 - the clock reads it
        found.text()
        settled()
    assert engine.added_up == 2
    text = found.text()
    assert 'guard_server_layer_bytes{user="alice"} 5.24288e+06\n' in text
    # The engine leaves out what is nothing.
    assert 'guard_server_layer_bytes{user="bob"} 0.0\n' in text
    engine.silent = True
    now = 3 * LAYERS_FRESH
    found.text()
    settled()
    assert "guard_server_layer_bytes{" not in found.text(), "old numbers would look like new ones"
    settled()


class Manager(Engine):
    """A manager of two machines, with alice's server on one and bob's on the other."""

    def machines(self) -> dict[str, int]:
        if self.silent:
            raise requests.exceptions.ConnectionError
        return {"node1": 1 << 30, "node2": 1 << 31}

    def containers(self, *, size: bool = False, **_: Any) -> list[dict[str, Any]]:
        nodes = {"alice": "node1", "bob": "node2", "gone": ""}
        return [one | {"Node": nodes[one["Id"]]} for one in super().containers(size=size)]


def test_on_a_swarm_numbers_are_of_a_machine(engine: Engine) -> None:
    manager, now = Manager(), 0.0
    found = Measures(usage(manager, clock=lambda: now, swarm=True))
    for now in (0, FRESH):  # noqa: B007 - the clock reads it
        text = found.text()
        settled()
    assert 'guard_server_memory_bytes{node="node1",user="alice"} 1.047576e+06\n' in text
    assert 'guard_server_cpu_seconds_total{node="node2",user="bob"} 2.5\n' in text
    assert 'guard_server_layer_bytes{node="node1",user="alice"} 5.24288e+06\n' in text
    assert 'guard_engine_memory_bytes{node="node1"} 1.073741824e+09\n' in text
    assert 'guard_engine_memory_bytes{node="node2"} 2.147483648e+09\n' in text
    assert "guard_engine_up 1.0" in text
    assert manager.added_up == 2, "the machines add up by themselves, and seldom"
    assert manager.asked == 0, "the manager's own memory is not all there is"


def test_what_a_server_has_written_goes_with_it(engine: Engine) -> None:
    found = usage(engine)
    found.renew()
    found.renew_layers()
    text = Measures(found).text()
    assert 'guard_server_layer_bytes{user="alice"}' in text
    settled()
    engine.names = ("bob",)
    found.renew()
    text = Measures(found).text()
    assert 'guard_server_layer_bytes{user="alice"}' not in text
    assert 'guard_server_layer_bytes{user="bob"}' in text
    settled()


def test_the_memory_of_all_servers_is_shown_where_it_is_limited(engine: Engine) -> None:
    limited = Measures(usage(engine, limit=200 << 30)).text()
    assert "guard_users_memory_limit_bytes 2.147483648e+11\n" in limited
    settled()
    assert "guard_users_memory_limit_bytes" not in Measures(usage(engine)).text()
    settled()


def test_a_silent_engine_is_shown_as_such(engine: Engine) -> None:
    found = usage(engine)
    found.renew()
    engine.silent = True
    found.renew()
    text = Measures(found).text()
    assert "guard_engine_up 0.0\n" in text
    assert "alice" not in text, "old numbers would look like new ones"
    settled()


def test_an_answer_that_cannot_be_read_leaves_no_old_numbers_and_ends_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    found = Measures(usage(engine, clock=lambda: now))
    found.text()
    settled()
    engine.machine = []
    now = FRESH
    assert "alice" in found.text()
    settled()
    now = 2 * FRESH
    text = found.text()
    settled()
    assert "alice" not in text
    assert "guard_engine_up" not in text
    assert "no metrics of the engine" in caplog.text
    engine.machine = {"MemTotal": 1 << 30}
    now = 3 * FRESH
    found.text()
    settled()
    assert "guard_engine_up 1.0" in found.text()
    settled()


@pytest.mark.parametrize("machine", [{"MemTotal": 0}, {}])
def test_memory_that_the_engine_does_not_know_is_left_out(
    engine: Engine, machine: dict[str, Any]
) -> None:
    """By 0, an alert would divide."""
    engine.machine = machine
    found = usage(engine)
    found.renew()
    text = Measures(found).text()
    assert "guard_engine_up 1.0" in text
    assert "\nguard_engine_memory_bytes " not in text
    settled()


@pytest.mark.parametrize(
    ("stats", "used"),
    [
        ({"usage": 100, "stats": {"inactive_file": 30}}, 70),
        ({"usage": 100, "stats": {"total_inactive_file": 40}}, 60),
        ({"usage": 100, "stats": {"inactive_file": 130}}, 100),
        ({"usage": 100}, 100),
    ],
)
def test_the_page_cache_is_not_in_use(stats: dict[str, Any], used: int) -> None:
    assert memory_in_use({"memory_stats": stats}) == used


def test_calls_are_counted_and_the_hub_makes_no_labels(engine: Engine) -> None:
    found = Measures(usage(engine))
    assert 'guard_calls_total{call="unknown",outcome="refused"} 0.0' in found.text()
    found.ended(UNKNOWN, "refused", 1)
    found.ended("start_container", "done", 0.3)
    text = found.text()
    assert 'guard_calls_total{call="unknown",outcome="refused"} 1.0' in text
    assert 'guard_call_seconds_bucket{call="start_container",le="0.5"} 1.0' in text
    assert 'guard_call_seconds_count{call="unknown"}' not in text
    assert "_created" not in text
    settled()
