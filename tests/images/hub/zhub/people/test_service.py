"""What is planned is carried out for all servers, some at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from zhub import api
from zhub.people import service
from zhub.people.servers import Server
from zhub.people.service import Planned
from zhub.state import plan
from zhub.state.plan import Action, Plan


class Api(api.Api):
    """The API of a hub with servers, whose stops take as many looks as a test says."""

    def __init__(self, *users: str) -> None:
        """Reach no hub."""
        self.running = dict.fromkeys(users, 0)
        self.looks = 0
        self.done: list[str] = []
        self.refusals: list[int] = []

    def servers(self) -> Iterator[Any]:
        yield from (api.Server(user, "", (), None) for user in list(self.running))

    def user(self, name: str) -> dict[str, Any]:
        left = self.running.get(name)
        if left is None:
            return {"servers": {}}
        if left == 1:
            del self.running[name]
        elif left:
            self.running[name] -= 1
        return {"servers": {"": {"pending": "stop" if left else None}}}

    def stop(self, user: str, server: str = "") -> None:
        self.done.append(f"stop {user}")
        if self.looks:
            self.running[user] = self.looks
        else:
            del self.running[user]

    def start(self, user: str, server: str = "") -> None:
        if self.refusals:
            raise HTTPError(user, self.refusals.pop(), "no", Message(), None)
        self.done.append(f"start {user}")
        self.running[user] = 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def old(*users: str) -> dict[str, Server]:
    return {user: Server(user, 1, old=True) for user in users}


@pytest.mark.parametrize("action", Action)
def test_a_plan_that_is_taken_back_goes_no_further(
    action: Action, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AT_ONCE", 1)

    class TakenBack(Api):
        def stop(self, user: str, server: str = "") -> None:
            super().stop(user, server)
            plan.write(None, file)

    hub = TakenBack("a", "b", "c")
    plan.write(Plan(action, 1), file)
    planned = Planned(hub, lambda: old("a", "b", "c"), file)
    planned.carry_out()
    planned.carry_out()
    # Who was stopped for a restart gets it.
    assert hub.done == ["stop a", *(["start a"] if action is Action.RENEW else [])]
    assert plan.read(file) is None


@pytest.mark.parametrize("action", Action)
def test_a_server_that_takes_long_to_stop_does_not_keep_others_waiting(
    action: Action, file: Path
) -> None:
    all_at_once = threading.Barrier(3)

    class Slow(Api):
        def stop(self, user: str, server: str = "") -> None:
            all_at_once.wait(10)
            super().stop(user, server)

    hub = Slow("a", "b", "c")
    found = iter([old("a", "b", "c"), {}])
    plan.write(Plan(action, 1), file)
    Planned(hub, lambda: next(found), file).carry_out()
    assert sorted(hub.done)[-3:] == ["stop a", "stop b", "stop c"]
    planned = plan.read(file)
    assert planned is None if action is Action.RENEW else planned and planned.done


def test_who_was_stopped_for_a_restart_is_started_however_long_it_takes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE", 0)
    hub = Api("a")
    hub.looks = 5
    servers = old("a")
    plan.write(Plan(Action.RENEW, 1), file)
    planned = Planned(hub, lambda: servers, file, pause=0)
    planned.carry_out()
    assert hub.done == ["stop a"]
    servers.clear()
    hub.refusals = [HTTPStatus.SERVICE_UNAVAILABLE]
    for _ in range(10):
        planned.carry_out()
    assert hub.done == ["stop a", "start a"]
    assert plan.read(file) is None


def test_who_was_stopped_for_a_restart_is_started_by_the_next_hub(file: Path) -> None:
    """As where an `up` replaces the hub in between."""

    class Ends(Api):
        def stop(self, user: str, server: str = "") -> None:
            super().stop(user, server)
            raise KeyboardInterrupt

    hub = Ends("a")
    servers = old("a")
    plan.write(Plan(Action.RENEW, 1), file)
    with pytest.raises(KeyboardInterrupt):
        Planned(hub, lambda: servers, file).carry_out()
    assert hub.done == ["stop a"]
    servers.clear()
    following = Planned(hub, lambda: servers, file)
    following.carry_out()
    assert hub.done == ["stop a", "start a"]
    assert plan.read(file) is None
    assert Planned(hub, dict, file).owed.users() == []


def test_a_list_that_cannot_be_read_or_written_stops_nothing(file: Path) -> None:
    kept = file.with_name(".restarting.json")
    kept.write_text("{")
    assert Planned(Api(), dict, file).owed.users() == []
    kept.unlink()
    kept.mkdir()
    planned = Planned(Api(), dict, file)
    planned.owed.add("a")
    assert planned.owed.users() == ["a"]


def test_who_may_not_start_a_server_is_not_tried_again(file: Path) -> None:
    hub = Api("a")
    hub.refusals = [HTTPStatus.BAD_REQUEST]
    found = iter([old("a"), {}])
    plan.write(Plan(Action.RENEW, 1), file)
    planned = Planned(hub, lambda: next(found), file)
    planned.carry_out()
    assert plan.read(file) is None
    planned.carry_out()
    assert hub.done == ["stop a"]


def test_who_has_started_a_server_meanwhile_keeps_it(file: Path) -> None:
    hub = Api("a")
    planned = Planned(hub, dict, file)
    planned.owed.add("a")
    planned.carry_out()
    assert hub.done == []
    assert planned.owed.users() == []


def test_all_servers_are_stopped_and_none_is_started_again(file: Path) -> None:
    hub = Api("b")
    plan.write(Plan(Action.STOP, 1), file)
    planned = Planned(hub, dict, file)
    planned.owed.add("a")
    planned.carry_out()
    assert hub.done == ["stop b"]
    assert plan.closed(file)


def test_who_is_forgotten_in_a_restart_does_not_keep_it_from_its_end(file: Path) -> None:
    class Forgotten(Api):
        def user(self, name: str) -> dict[str, Any]:
            if "stop a" in self.done:
                raise HTTPError(name, HTTPStatus.NOT_FOUND, "no", Message(), None)
            return super().user(name)

    hub = Forgotten("a")
    hub.refusals = [HTTPStatus.NOT_FOUND]
    found = iter([old("a"), {}])
    plan.write(Plan(Action.RENEW, 1), file)
    planned = Planned(hub, lambda: next(found), file)
    planned.carry_out()
    assert planned.owed.users() == []
    assert plan.read(file) is None


def test_what_is_planned_while_a_restart_ends_stays(file: Path) -> None:
    """To ask for the servers of an old image takes seconds where there are many."""
    maintenance = Plan(Action.STOP, 1 << 32, "New disks.")
    looks = 0

    def servers() -> dict[str, Server]:
        nonlocal looks
        looks += 1
        if looks == 2:
            # The one that finds that all is done.
            plan.write(maintenance, file)
        return {}

    plan.write(Plan(Action.RENEW, 1), file)
    Planned(Api("a"), servers, file).carry_out()
    assert plan.read(file) == maintenance


def test_a_plan_that_is_taken_back_while_the_last_server_ends_does_not_come_back(
    file: Path,
) -> None:
    """No server would start, and nobody would know why."""

    class TakenBack(Api):
        def servers(self) -> Iterator[Any]:
            if not self.running:
                plan.write(None, file)
            return super().servers()

    hub = TakenBack("a")
    plan.write(Plan(Action.STOP, 1), file)
    Planned(hub, dict, file).carry_out()
    assert hub.done == ["stop a"]
    assert plan.read(file) is None
