"""Reports of the hub for the audit log: none waits for the guard, and none is lost with it away."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from zhub import audit, room
from zhub.audit import BATCH, SHARE, Event, Reporter, Shares
from zhub.logs import shortened

from tests.built import wait_until


class Guard:
    """Takes events, or does not."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self.batches: list[int] = []
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self, events: list[Event]) -> None:
        self.asked += 1
        if self.error:
            raise self.error
        self.batches.append(len(events))
        self.taken += events


@pytest.fixture
def guard() -> Guard:
    return Guard()


def test_events_arrive_in_their_order_many_at_a_time(guard: Guard) -> None:
    reporter = Reporter(guard)
    events = [{"event": "logout", "user": str(number)} for number in range(50)]
    for event in events:
        reporter.report(event)
    reporter.start()
    reporter.end()
    assert guard.taken == events
    assert max(guard.batches) == BATCH


def test_a_guard_that_is_away_gets_them_later(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.error = requests.exceptions.ConnectionError("nobody there")
    reporter = Reporter(guard, pause=0.01)
    reporter.start()
    reporter.report({"event": "logout"})
    wait_until(lambda: guard.asked > 2, seconds=10)
    guard.error = None
    wait_until(lambda: bool(guard.taken), seconds=10)
    reporter.report({"event": "login"})
    reporter.end()
    assert [event["event"] for event in guard.taken] == ["logout", "login"]
    assert caplog.text.count("waits for the guard") == 1


def test_what_the_guard_refuses_is_logged_and_does_not_stop_the_others(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.error = requests.exceptions.HTTPError("403")
    reporter = Reporter(guard)
    reporter.start()
    reporter.report({"event": "nonsense"})
    wait_until(lambda: guard.asked == 1, seconds=10)
    guard.error = None
    reporter.report({"event": "login"})
    reporter.end()
    assert [event["event"] for event in guard.taken] == ["login"]
    assert "does not take [{'event': 'nonsense'}]" in caplog.text


def test_an_end_does_not_wait_for_a_guard_that_is_away(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    guard.error = requests.exceptions.ConnectionError("nobody there")
    reporter = Reporter(guard, pause=3600)
    reporter.start()
    reporter.report({"event": "logout"})
    wait_until(lambda: guard.asked == 1, seconds=10)
    reporter.end()
    assert not [one for one in threading.enumerate() if one is reporter._thread]
    assert "the hub ends, and these are lost" in caplog.text


def test_the_hub_does_not_keep_more_than_there_is_room_for(
    guard: Guard, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST", 3)
    reporter = Reporter(guard)
    for number in range(5):
        reporter.report({"event": str(number)})
    reporter.start()
    wait_until(lambda: "2 events are lost" in caplog.text, seconds=10)
    reporter.end()
    assert [event["event"] for event in guard.taken] == ["0", "1", "2"]


def test_settings_that_differ_from_those_of_the_last_start(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    first = {"ZHUB_PORT": "1", "ZHUB_PREFIX": "x", "ZHUB_OLD": "y", "PATH": "/bin"}
    assert audit.changes(first, file) == []
    second = {"ZHUB_PORT": "2", "ZHUB_PREFIX": "x", "ZHUB_NEW": "z", "PATH": "/usr/bin"}
    assert audit.changes(second, file) == [
        ("ZHUB_NEW", "", "z"),
        ("ZHUB_OLD", "y", ""),
        ("ZHUB_PORT", "1", "2"),
    ]
    assert audit.changes(second, file) == []
    assert audit.changes(first, tmp_path / "missing" / "settings.json") == []
    file.write_text("{")
    assert audit.changes(first, file) == []
    assert [name for name, _, _ in audit.changes(second, file)] == [
        "ZHUB_NEW",
        "ZHUB_OLD",
        "ZHUB_PORT",
    ]


def test_long_values_begin_shortly_before_what_differs(tmp_path: Path) -> None:
    """A line has room for 200 bytes of each: they would look the same."""
    file, groups = tmp_path / "settings.json", [f"cn=group-{number}" for number in range(100)]
    listed = json.dumps(groups)
    assert audit.differing({"GROUPS": listed, "NEW": ""}, file) == []
    more = json.dumps([*groups, "cn=added"])
    [(name, before, now)] = audit.differing({"GROUPS": more, "NEW": ""}, file)
    assert (name, before[:3], now[:3]) == ("GROUPS", "...", "...")
    assert shortened(before).endswith('"cn=group-99"]')
    assert shortened(now).endswith('"cn=group-99", "cn=added"]')
    [(_, _, now)] = audit.differing({"GROUPS": more, "NEW": listed}, file)
    assert now == listed


def test_another_file_of_settings_is_a_change(tmp_path: Path) -> None:
    """Its name is ever the same; and whoever may change it has the hub."""
    file, own = tmp_path / "settings.json", tmp_path / "hub_config.py"
    environment = {"ZHUB_CONFIG_FILE": str(own)}
    own.write_text("a = 1\n")
    assert audit.changes(environment, file) == []
    own.write_text("a = 2\n")
    before, now = (hashlib.sha256(text).hexdigest() for text in (b"a = 1\n", b"a = 2\n"))
    assert audit.changes(environment, file) == [("ZHUB_CONFIG_FILE_SHA256", before, now)]
    own.unlink()
    assert audit.changes(environment, file) == [("ZHUB_CONFIG_FILE_SHA256", now, "")]


def test_without_a_guard_the_lines_are_in_the_hubs_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    audit.report("logout", user="alice", address="192.0.2.7")
    [record] = [one for one in caplog.records if one.name == "zhub.audit"]
    said: dict[str, Any] = json.loads(record.getMessage())
    assert (said["event"], said["user"], said["address"]) == ("logout", "alice", "192.0.2.7")


def test_nobody_takes_the_room_of_others() -> None:
    now = 0.0
    shares = Shares(lambda: now)
    assert {shares.take("192.0.2.7") for _ in range(SHARE[0])} == {0}
    assert [shares.take("192.0.2.7") for _ in range(3)] == [None, None, None]
    assert shares.take("alice") == 0
    now += 1 / SHARE[1]
    assert [shares.take("192.0.2.7") for _ in range(2)] == [3, None]


def test_strangers_with_many_addresses_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "REMEMBERED", 10)
    monkeypatch.setattr(audit, "SHARE", (1, 0.0))
    shares = Shares()
    for number in range(100):
        assert [shares.take(str(number)) for _ in range(2)] == [0, None]
    assert len(shares._rooms._known) == 10
    assert len(shares._lost) == 10


@pytest.mark.parametrize(
    ("who", "network", "cause"),
    [
        ("alice", "192.0.2.7", "alice"),
        ("", "192.0.2.7", "192.0.2.7"),
        ("service recheck", "127.0.0.1", ""),
        ("", "", ""),
    ],
)
def test_whose_share_an_event_takes(who: str, network: str, cause: str) -> None:
    assert audit.cause(who, network) == cause


def test_what_has_no_room_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    monkeypatch.setattr(audit, "SHARE", (1, 1.0))
    monkeypatch.setattr(audit, "_shares", Shares(lambda: now))
    for _ in range(5):
        audit.report("token.refuse", of="2001:db8::/64", address="2001:db8::1")
    audit.report("hub.start")
    now += 1
    audit.report("token.refuse", of="2001:db8::/64", address="2001:db8::2")
    said = [json.loads(one.getMessage()) for one in caplog.records if one.levelname == "INFO"]
    assert [one["event"] for one in said] == ["token.refuse", "hub.start", "lost", "token.refuse"]
    assert (said[2]["cause"], said[2]["count"]) == ("2001:db8::/64", 4)
    assert "2001:db8::/64 causes too many events" in caplog.text
