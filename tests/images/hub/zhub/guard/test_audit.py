"""The audit log: what the hub may report, and how lines are written."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from zhub.contract import AUDITED
from zhub.guard import audit
from zhub.guard.audit import FILE, OF_USER, REFUSALS, REPORTS, STARTS, Audit
from zhub.guard.bodies import Refused
from zhub.guard.counts import Full


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Audit:
    return Audit(tmp_path, clock)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]


def event(kind: str, at: float = 1_800_000_000, **fields: Any) -> dict[str, Any]:
    return {"event": kind, "at": at, **dict.fromkeys(sorted(AUDITED[kind]), "x"), **fields}


@pytest.mark.parametrize("kind", AUDITED)
def test_each_kind_of_event_is_written_with_its_fields(
    log: Audit, lines: Callable[[], list[dict[str, Any]]], kind: str
) -> None:
    log.reported([event(kind)])
    [line] = lines()
    head = {"time": "2027-01-15T08:00:00.000+00:00", "number": 1, "event": kind, "by": "hub"}
    assert line == head | dict.fromkeys(AUDITED[kind], "x")


def test_what_the_guard_does_is_written_as_such(
    log: Audit, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    log.seen("container.make", user="alice")
    log.refused("POST /containers/create", "HostConfig.Privileged is true")
    made, refused = lines()
    assert (made["event"], made["by"], made["user"]) == ("container.make", "guard", "alice")
    assert refused["event"] == "guard.refuse"
    assert refused["reason"] == "HostConfig.Privileged is true"


@pytest.mark.parametrize(
    "events",
    [
        None,
        {},
        ["login"],
        [{"event": "container.make", "at": 0, "user": "alice"}],
        [{"event": "login", "at": 0, "user": "alice"}],
        [event("logout", by="guard")],
        [event("logout", number=7)],
        [event("logout", time="yesterday")],
        [event("logout", user={"a": "b"})],
        [event("logout", user=None)],
        [event("logout", user=True)],
        [event("logout", user=10**1000)],
        [event("logout", at="now")],  # type: ignore[arg-type] # as a captured hub might
        [event("logout", at=True)],
        [event("logout", at=-1)],
        [event("logout", at=1e99)],
        [event("logout")] * (audit.MOST_EVENTS + 1),
        [event("logout"), event("logout", more="x")],
    ],
    ids=lambda one: str(one)[:60],
)
def test_nothing_else_is_and_nothing_of_it(log: Audit, tmp_path: Path, events: object) -> None:
    with pytest.raises(Refused):
        log.reported(events)
    assert not (tmp_path / FILE).exists()


def test_a_line_is_a_line_whatever_it_holds(
    log: Audit, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    log.reported([event("logout", user='x"}\n{"event": "login"', address="y" * 1000)])
    log.reported([event("logout", user="\U0001f600" * 1000, address="\ud800")])
    first, second = lines()
    assert first["user"] == 'x"}\n{"event": "login"'
    assert first["address"] == "y" * 200
    assert second["user"] == "\U0001f600" * 14
    assert second["address"] == "\ud800"


def test_a_late_report_has_both_times(
    log: Audit, lines: Callable[[], list[dict[str, Any]]], clock: Clock
) -> None:
    log.reported([event("logout", at=clock.now - 60)])
    [line] = lines()
    times = [datetime.fromisoformat(line[name]) for name in ("at", "time")]
    assert (times[1] - times[0]).total_seconds() == 60


def test_lines_are_numbered_on_across_restarts_and_files(
    tmp_path: Path,
    lines: Callable[[], list[dict[str, Any]]],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Audit(tmp_path, clock).seen("guard.start")
    again = Audit(tmp_path, clock)
    again.seen("guard.start")
    assert [line["number"] for line in lines()] == [1, 2]
    monkeypatch.setattr(audit, "SIZE", 1)
    small = Audit(tmp_path, clock)
    small.seen("guard.start")
    small.seen("guard.start")
    assert [line["number"] for line in lines()] == [4]
    assert json.loads((tmp_path / "audit.log.1").read_text())["number"] == 3
    assert len((tmp_path / "audit.log.2").read_text().splitlines()) == 2


def test_many_write_while_files_are_renamed_and_no_line_is_lost(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SIZE", 2000)
    monkeypatch.setattr(audit, "KEPT", 1000)
    log, each = Audit(tmp_path, clock), 40

    def write(writer: int) -> None:
        for number in range(each):
            log.seen("container.make", user=f"{writer}-{number}")
            log.reported([event("logout", user=f"{writer}-{number}")])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    files = sorted(tmp_path.iterdir(), key=lambda file: int(file.suffix[1:].replace("log", "0")))
    assert len(files) > 10
    texts = [file.read_text() for file in reversed(files)]
    found = [json.loads(line) for text in texts for line in text.splitlines()]
    assert [line["number"] for line in found] == list(range(1, 2 * 8 * each + 1))
    assert len({(line["event"], line["user"]) for line in found}) == len(found)


def test_lines_are_numbered_on_after_a_file_that_was_only_begun(
    tmp_path: Path, lines: Callable[[], list[dict[str, Any]]], clock: Clock
) -> None:
    """As on a full disk: the file has its name, and no room for a line."""
    (tmp_path / "audit.log.1").write_text('{"number": 7}\n')
    (tmp_path / FILE).touch()
    Audit(tmp_path, clock).seen("guard.start")
    assert [line["number"] for line in lines()] == [8]


def test_old_files_go(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SIZE", 1)
    log = Audit(tmp_path, clock)
    for _ in range(audit.KEPT + 5):
        log.seen("guard.start")
    assert len(list(tmp_path.iterdir())) == audit.KEPT + 1


def test_only_the_guards_user_reads_it(log: Audit, tmp_path: Path) -> None:
    log.seen("guard.start")
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_lines_go_to_the_output_too(
    log: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.seen("guard.start")
    assert capsys.readouterr().out == (tmp_path / FILE).read_text()


def test_a_flood_of_the_hubs_is_cut_off_and_said_and_the_guards_own_lines_are_not(
    log: Audit, lines: Callable[[], list[dict[str, Any]]], clock: Clock
) -> None:
    most = REPORTS[0]
    for _ in range(most):
        log.reported([event("logout")])
    log.reported([event("logout")] * 3)
    log.seen("container.make", user="alice")
    assert [line["event"] for line in lines()[most:]] == ["container.make"]
    # Refusals have room of their own.
    for _ in range(REFUSALS[0] + 2):
        log.refused("x", "y")
    assert lines()[most + 1]["event"] == "lost"
    assert len(lines()) == most + 1 + REFUSALS[0] + 1
    clock.now += 4
    log.reported([event("logout")])
    lost, last = lines()[-2:]
    assert (lost["event"], lost["by"], lost["count"]) == ("lost", "guard", 2)
    assert last["event"] == "logout"
    clock.now -= 3600
    log.reported([event("logout", at=clock.now)] * 3)
    assert len(lines()) == most + 1 + REFUSALS[0] + 1 + 2 + 3


def test_servers_without_end_do_not_push_older_lines_out(
    log: Audit, lines: Callable[[], list[dict[str, Any]]], clock: Clock
) -> None:
    for number in range(STARTS[0]):
        log.start(str(number))
    with pytest.raises(Full, match="starts too many servers"):
        log.start("alice")
    clock.now += 1 / STARTS[1]
    log.start("alice")
    for _ in range(100):
        log.stopped("abc", "2027-01-15T08:00:00Z", "alice")
    log.stopped("abc", "2027-01-15T08:00:01Z", "alice")
    assert [(line["event"], line["user"]) for line in lines()] == [("container.stop", "alice")] * 2


def test_a_user_does_not_keep_others_servers_from_starting(log: Audit) -> None:
    for _ in range(OF_USER[0]):
        log.start("mallory")
    for _ in range(STARTS[0]):
        with pytest.raises(Full, match="Your server was started too often"):
            log.start("mallory")
    log.start("alice")


def test_the_runs_that_are_remembered_are_no_more_than_so_many(
    log: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "RUNS", 3)
    for number in range(10):
        log.stopped(str(number), "", "alice")
    assert list(log._stopped) == [("7", ""), ("8", ""), ("9", "")]


def test_all_that_a_captured_hub_can_write_leaves_the_older_files_a_day(
    log: Audit, capsys: pytest.CaptureFixture[str]
) -> None:
    """The longest lines, all the time, each with one that others are lost."""

    def longest() -> int:
        return max(len(line) + 1 for line in capsys.readouterr().out.splitlines())

    text = "x" * 1000
    log._write("lost", {"by": "guard", "count": 1 << 30})
    lost = longest()
    for kind, fields in AUDITED.items():
        log.reported([event(kind, at=0, **dict.fromkeys(fields, text))])
    report = longest()
    log.refused(text, text)
    refusal = longest()
    log.seen("container.remove", user=text)
    container = longest()
    rates = (REPORTS, report + lost), (REFUSALS, refusal + lost), (STARTS, 2 * container)
    at_once = sum(most * size for (most, _), size in rates)
    a_day = sum(per_second * size for (_, per_second), size in rates) * 86400
    assert at_once + a_day < audit.KEPT * audit.SIZE


@pytest.mark.parametrize(
    ("content", "number"), [('{"number": 4}\n{"numb', 5), ("", 1), ("\n\0\n", 1), ("[1]", 1)]
)
def test_a_line_that_was_cut_off_does_not_keep_the_guard_from_starting(
    tmp_path: Path, clock: Clock, content: str, number: int
) -> None:
    (tmp_path / FILE).write_text(content)
    Audit(tmp_path, clock).seen("guard.start")
    assert json.loads((tmp_path / FILE).read_text().splitlines()[-1])["number"] == number


def test_a_full_disk_stops_nothing_and_the_line_still_goes_out(
    log: Audit,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def tell(self) -> int:
            raise OSError(28, "No space left on device")

        seek = write = flush = close = lambda *_: None

    monkeypatch.setattr(log._file, "_open", Full)
    log.seen("container.make", user="alice")
    assert "not written: [Errno 28] No space left on device" in caplog.text
    assert json.loads(capsys.readouterr().out)["user"] == "alice"
