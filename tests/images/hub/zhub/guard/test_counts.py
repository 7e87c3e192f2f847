"""The guard's limits of objects, with a list instead of an engine."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zhub import settings
from zhub.guard.counts import Count, Counts, Full


class Engine:
    """Has objects with names, and counts how often they are listed."""

    def __init__(self, *there: str) -> None:
        self.there = set(there)
        self.asked = 0

    def listed(self) -> dict[str, int]:
        self.asked += 1
        return dict.fromkeys(self.there.copy(), 1)

    def make(self, count: Count, name: str) -> bool:
        """Create an object, as the guard does; return whether it was allowed."""
        try:
            with count.one_more(name):
                self.there.add(name)
        except Full:
            return False
        return True


def test_the_limit_holds() -> None:
    engine = Engine("old")
    count = Count(3, engine.listed, "{limit} of {limit} run")
    assert [engine.make(count, name) for name in ("a", "b", "c", "old", "a")] == [
        *(True, True, False, True, True)
    ]
    with pytest.raises(Full, match=r"^3 of 3 run$"), count.one_more("c"):
        pass
    engine.there.remove("old")
    assert engine.make(count, "c")
    assert not engine.make(count, "old")


def test_the_engine_is_asked_only_when_the_limit_seems_reached() -> None:
    engine = Engine()
    count = Count(100, engine.listed, "")
    for number in range(1000):
        engine.there.clear()
        assert engine.make(count, str(number))
    assert engine.asked <= 1 + 1000 // 99


def test_an_object_counts_even_after_an_error() -> None:
    engine = Engine()
    count = Count(2, engine.listed, "")
    with contextlib.suppress(RuntimeError), count.one_more("a"):
        engine.there.add("a")
        raise RuntimeError
    assert engine.make(count, "b")
    assert not engine.make(count, "c")
    engine.there.remove("a")
    assert engine.make(count, "c")


def test_the_limit_holds_for_many_threads() -> None:
    engine = Engine()
    count = Count(20, engine.listed, "")
    most = 0
    lock = threading.Lock()

    def make(number: int) -> None:
        nonlocal most
        try:
            with count.one_more(str(number)):
                time.sleep(random.random() / 200)  # noqa: S311 - no secret
                with lock:
                    engine.there.add(str(number))
                    most = max(most, len(engine.there))
        except Full:
            return
        if number % 2:
            with lock:
                engine.there.remove(str(number))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(make, range(400)))
    assert most <= 20
    left = engine.there.copy()
    assert sum(engine.make(count, f"more {number}") for number in range(30)) == 20 - len(left)


@given(
    st.integers(1, 5),
    st.sets(st.sampled_from("abcdef")),
    st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), max_size=30),
)
def test_the_limit_holds_whatever_is_created_and_removed(
    limit: int, there: set[str], steps: list[tuple[bool, str]]
) -> None:
    engine = Engine(*there)
    count = Count(limit, engine.listed, "")
    for make, name in steps:
        if make:
            allowed = engine.make(count, name)
            assert allowed == (name in engine.there)
            assert allowed or len(engine.there) >= limit
        else:
            engine.there.discard(name)
        assert len(engine.there) <= max(limit, len(there))


def test_objects_of_this_stack_are_counted_by_their_labels() -> None:
    asked = []

    def answer(kind: str, found: Any) -> Any:
        def ask(**options: Any) -> Any:
            asked.append((kind, options["filters"]["label"]))
            return found

        return ask

    client: Any = SimpleNamespace(
        containers=answer("containers", [{"Names": ["/site-user-a"], "Id": "1"}]),
        networks=answer("networks", [{"Name": "site-user-a"}]),
        volumes=answer("volumes", {"Volumes": [{"Name": f"site-home-{n}"} for n in range(10)]}),
    )
    guard_settings = settings.read_guard({"ZHUB_PREFIX": "site", "ZHUB_MAX_SERVERS": "1"})
    counts = Counts(client, guard_settings)
    for count, name, reason in (
        (counts.servers, "site-user-a", "1 of 1 servers run. Try again later."),
        (counts.networks, "site-user-a", "1 of 1 networks"),
        (counts.homes, "site-home-0", "10 of 10 homes"),
    ):
        with count.one_more(name):
            pass
        with pytest.raises(Full, match=reason), count.one_more("site-user-b"):
            pass
    assert {(kind, *labels) for kind, labels in asked} == {
        ("containers", "zhub.stack=site", "zhub.role=notebook"),
        ("networks", "zhub.stack=site", "zhub.role=user-network"),
        ("volumes", "zhub.stack=site", "zhub.role=home"),
    }


class Servers:
    """An engine's containers, and how often one of them was inspected."""

    def __init__(self, **memory: int) -> None:
        self.memory = memory
        self.inspected = 0

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Names": [f"/{name}"], "Id": f"id-{name}"} for name in self.memory]

    def inspect_container(self, container: str) -> dict[str, Any]:
        self.inspected += 1
        return {"HostConfig": {"Memory": self.memory[container.removeprefix("id-")] << 20}}

    def make(self, counts: Counts, name: str, mebibytes: int) -> str:
        """Create a server; return why it was refused."""
        try:
            with counts.server(name, mebibytes << 20):
                self.memory[name] = mebibytes
        except Full as full:
            return str(full)
        return ""


def test_servers_of_all_sizes_share_the_memory() -> None:
    """Those that an earlier guard has made too, whatever their limit was."""
    engine: Any = Servers(a=300, b=500)
    counts = Counts(engine, settings.read_guard({"ZHUB_USERS_MEMORY": "1G"}))
    assert not engine.make(counts, "c", 224)
    assert engine.make(counts, "d", 1) == (
        "The hub is full: servers may take 1024 MiB of memory together, and 1024 of them are taken."
        " Try again later."
    )
    assert "1024 of them" in engine.make(counts, "d", 500)
    assert engine.inspected == 3, "each is asked for once"
    del engine.memory["b"]
    assert not engine.make(counts, "d", 500)
    assert engine.make(counts, "e", 1)
    # One whose end the guard has not seen comes back, and takes more than it did.
    del engine.memory["d"]
    assert engine.make(counts, "d", 501)
    assert not engine.make(counts, "d", 500)


def test_without_a_limit_no_memory_is_counted() -> None:
    engine: Any = Servers(a=1 << 20)
    counts = Counts(engine, settings.read_guard({}))
    assert not engine.make(counts, "b", 1 << 20)
    assert not engine.inspected


@pytest.mark.parametrize(("pool", "most"), [("10.1.0.0/24", 16), ("10.0.0.0/12", 500)])
def test_there_are_no_more_servers_than_networks_for_them(pool: str, most: int) -> None:
    assert settings.read_guard({"ZHUB_USER_NETWORK_POOL": pool}).most_servers == most


def test_asking_for_a_server_again_with_less_memory_frees_none() -> None:
    """The engine refuses the second one, and the first keeps what it has."""
    there: dict[str, int] = {}
    count = Count(4, lambda: dict(there), "{taken} of {limit}")
    for number in range(2):
        name = f"server-{number}"
        with count.one_more(name, 2):
            there[name] = 2
        with contextlib.suppress(RuntimeError), count.one_more(name, 1):
            assert count._there()[name] == 2
            raise RuntimeError("the name is taken")
    with pytest.raises(Full, match="4 of 4"), count.one_more("another", 1):
        pass
    # One that is removed, and made again smaller, takes less as soon as that matters.
    there["server-0"] = 1
    with count.one_more("another", 1):
        pass
