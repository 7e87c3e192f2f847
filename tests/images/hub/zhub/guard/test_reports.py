"""What the guards of machines say that servers use, and what is made of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Self

import pytest
import requests.exceptions
from docker.errors import NotFound
from zhub.guard import reports
from zhub.guard.managers import Managers
from zhub.guard.reports import FRESH, OLD, ROUNDS, Reporter, Reports, Use, read

ALICE = {"memory": 5 << 20, "limit": 1 << 30, "seconds": 2.5}


class Machine:
    """The engine of a machine, with servers of these tasks."""

    def __init__(self, *tasks: str) -> None:
        self.tasks = list(tasks)
        self.added_up = 0
        self.silent = self.slow = False

    def containers(self, filters: Any, *, size: bool = False) -> list[dict[str, Any]]:
        assert filters == {"label": ["zhub.stack=site", "zhub.role=notebook"]}
        if self.silent or (size and self.slow):
            raise requests.exceptions.ConnectionError
        self.added_up += size
        more = {"SizeRw": 7} if size else {}
        return [{"Id": f"c-{one}", "Labels": {reports.TASK: one}, **more} for one in self.tasks]

    def stats(self, container: str, **_: Any) -> dict[str, Any]:
        if container == "c-ended":
            raise NotFound("ended")
        return {
            "memory_stats": {"usage": ALICE["memory"], "limit": ALICE["limit"]},
            "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_001}},
        }


def said_by(machine: Machine, rounds: int = 1) -> list[str]:
    said: list[str] = []
    client: Any = machine
    reporter = Reporter(client, "site", said.append)
    for _ in range(rounds):
        reporter.report()
    return said


class TestReporter:
    def test_says_what_servers_use_by_their_tasks(self) -> None:
        [line] = said_by(Machine("t-alice", "ended"))
        assert dict(read(line)) == {"t-alice": Use(5 << 20, 1 << 30, 2.5, 7)}
        assert "user" not in line
        assert "\n" not in line

    def test_has_written_files_added_up_seldom(self) -> None:
        machine = Machine("t-alice")
        said = said_by(machine, ROUNDS + 1)
        assert machine.added_up == 2
        assert {use.written for line in said for _, use in read(line)} == {7}

    def test_a_server_that_has_started_since_has_no_sum(self) -> None:
        machine = Machine()
        said: list[str] = []
        client: Any = machine
        reporter = Reporter(client, "site", said.append)
        reporter.report()
        machine.tasks.append("t-bob")
        reporter.report()
        assert [dict(read(line)) for line in said] == [
            {},
            {"t-bob": Use(5 << 20, 1 << 30, 2.5, None)},
        ]

    def test_an_engine_that_adds_up_for_too_long_says_the_rest(self) -> None:
        machine = Machine("t-alice")
        machine.slow = True
        assert [use.written for line in said_by(machine, 2) for _, use in read(line)] == [None] * 2

    def test_a_silent_engine_ends_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        machine = Machine("t-alice")
        machine.silent = True
        assert said_by(machine) == []
        assert "no numbers of servers" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"servers": []}',
        '{"servers": {"t": 1}}',
        '{"servers": {"t": [1, 2, 3]}}',
        '{"servers": {"t": [-1, 2, 3, 4]}}',
        '{"servers": {"t": [1, 2, NaN, 4]}}',
        '{"servers": {"t": [1, 2, Infinity, 4]}}',
        '{"servers": {"t": [1, 2, 3, "4"]}}',
        '{"servers": {"t": [1, 2, 3, -4]}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_such_line_says_nothing(line: str) -> None:
    assert list(read(line)) == []


class Answer:
    """An answer of the managers: a log, in frames."""

    def __init__(self, *frames: tuple[int, str]) -> None:
        packed = (struct.pack(">BxxxL", of, len(text)) + text.encode() for of, text in frames)
        self.log = b"".join(packed)
        self.read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, size: int) -> Iterator[bytes]:
        for begin in range(0, len(self.log), size):
            self.read += size
            yield self.log[begin : begin + size]


class Manager:
    """A manager of two machines: alice's server is on one of them, bob's on the other."""

    base_url, api_version = "http+docker://localhost", "1.44"

    def __init__(self) -> None:
        self.state = {"a": "ready", "b": "ready"}
        self.logs: dict[str, Any] = {"guard-a": Answer(), "guard-b": Answer()}
        self.asked = 0

    def nodes(self) -> list[dict[str, Any]]:
        about = {"Hostname": "host"}
        return [
            {"ID": one, "Description": about, "Status": {"State": state}}
            for one, state in self.state.items()
        ]

    def services(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if "mode" in filters:
            return [{"ID": "guards"}]
        return [service("alice"), service("bob")]

    def tasks(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if "service" in filters:
            labels = {"zhub.role": "nodeguard"}
            spec = {"ContainerSpec": {"Image": "hub", "Labels": labels}}
            running = {"Status": {"State": "running"}, "Spec": spec}
            return [{"ID": f"guard-{one}", "NodeID": one, **running} for one in self.state]
        return [task("alice", "a"), task("bob", "b")]

    def get(self, address: str, *, params: Any, stream: bool, timeout: float) -> Any:
        self.asked += 1
        assert (params, stream, timeout) == ({"stdout": 1, "tail": 20}, True, 5)
        begin, _, rest = address.partition("/tasks/")
        assert begin == "http+docker://localhost/v1.44"
        found = self.logs[rest.removesuffix("/logs")]
        if isinstance(found, Exception):
            raise found
        return found

    def says(self, node: str, *tasks: str, **more: Any) -> None:
        numbers = {one: [1 << 20, 1 << 30, 2.5, 9] for one in tasks}
        line = json.dumps({"time": "now", "servers": numbers} | more)
        self.logs[f"guard-{node}"] = Answer((1, f"{line}\n"))


def service(user: str) -> dict[str, Any]:
    spec = {"ContainerSpec": {"Image": "x"}, "Resources": {"Limits": {"MemoryBytes": 1}}}
    own = {"Name": f"site-user-{user}", "Labels": {"zhub.id": f"id-{user}"}, "TaskTemplate": spec}
    return {"ID": f"s-{user}", "Spec": own}


def task(user: str, node: str) -> dict[str, Any]:
    return {
        "ID": f"t-{user}",
        "ServiceID": f"s-{user}",
        "NodeID": node,
        "CreatedAt": "now",
        "Status": {"State": "running"},
    }


class TestReports:
    @pytest.fixture
    def manager(self) -> Manager:
        return Manager()

    @pytest.fixture
    def now(self) -> list[float]:
        return [0.0]

    @pytest.fixture
    def found(self, manager: Manager, now: list[float]) -> Reports:
        client: Any = manager
        return Reports(client, Managers(client, "site"), lambda: now[0])

    def test_servers_have_what_their_machines_say(self, manager: Manager, found: Reports) -> None:
        manager.says("a", "t-alice")
        assert found.stats("id-alice") == {
            "memory_stats": {"usage": 1 << 20, "limit": 1 << 30},
            "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        }
        for unknown in ("id-bob", "id-nobody"):
            with pytest.raises(NotFound):
                found.stats(unknown)
        servers = [{"Id": "id-alice"}, {"Id": "id-bob"}]
        assert found.sized(servers) == [{"Id": "id-alice", "SizeRw": 9}]

    def test_a_machine_says_nothing_of_other_machines_servers(
        self, manager: Manager, found: Reports
    ) -> None:
        manager.says("a", "t-alice", "t-bob")
        assert found.stats("id-alice")
        with pytest.raises(NotFound):
            found.stats("id-bob")

    def test_the_newest_line_counts_among_others(self, manager: Manager, found: Reports) -> None:
        old, new = (json.dumps({"servers": {"t-alice": [size, 1, 1, None]}}) for size in (1, 2))
        warning = (2, '{"servers": {"t-alice": [3, 1, 1, null]}}\n')
        # A long line comes in parts.
        parts = (1, new[:9]), (1, f"{new[9:]}\n"), (1, "no line of these\n"), (3, "failed\n")
        manager.logs["guard-a"] = Answer((1, f"{old}\n"), warning, *parts)
        assert found.stats("id-alice")["memory_stats"]["usage"] == 2
        assert found.sized([{"Id": "id-alice"}]) == []

    def test_machines_are_asked_once_in_a_while(
        self, manager: Manager, found: Reports, now: list[float]
    ) -> None:
        manager.says("a", "t-alice")
        for now[0] in (0, 1, FRESH - 1):
            found.stats("id-alice")
        assert manager.asked == 2
        now[0] = FRESH
        found.stats("id-alice")
        assert manager.asked == 4

    def test_managers_that_fail_are_not_asked_for_each_server(
        self, manager: Manager, found: Reports, now: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager.says("a", "t-alice")
        found.stats("id-alice")
        now[0] = FRESH
        asked = []

        def fails() -> Any:
            asked.append(1)
            raise requests.exceptions.ConnectionError

        monkeypatch.setattr(manager, "nodes", fails)
        with pytest.raises(requests.exceptions.ConnectionError):
            found.stats("id-alice")
        for _ in range(3):
            with pytest.raises(NotFound):
                found.stats("id-alice")
        assert asked == [1]

    def test_a_machine_whose_guard_says_nothing_new_is_left_out(
        self, manager: Manager, found: Reports, now: list[float]
    ) -> None:
        manager.says("a", "t-alice")
        found.stats("id-alice")
        now[0] = OLD - 1
        assert found.stats("id-alice")
        now[0] = OLD + FRESH
        with pytest.raises(NotFound):
            found.stats("id-alice")
        manager.says("a", "t-alice", time="later")
        now[0] += FRESH
        assert found.stats("id-alice")

    def test_a_machine_that_does_not_answer_is_not_asked(
        self, manager: Manager, found: Reports
    ) -> None:
        manager.says("a", "t-alice")
        manager.state["a"] = "down"
        with pytest.raises(NotFound):
            found.stats("id-alice")
        assert manager.asked == 1

    def test_one_whose_log_does_not_come_keeps_nobody_elses_back(
        self, manager: Manager, found: Reports, caplog: pytest.LogCaptureFixture
    ) -> None:
        manager.says("a", "t-alice")
        manager.logs["guard-b"] = requests.exceptions.ReadTimeout("too slow")
        assert found.stats("id-alice")
        assert "no numbers of the servers on a machine: too slow" in caplog.text

    def test_no_machine_fills_the_memory(
        self, manager: Manager, found: Reports, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reports, "MOST", 1 << 17)
        endless = Answer(*[(1, "x" * 1000)] * 1000)
        manager.logs["guard-a"] = endless
        manager.says("b", "t-bob")
        assert found.stats("id-bob")
        assert endless.read < 4 << 16
