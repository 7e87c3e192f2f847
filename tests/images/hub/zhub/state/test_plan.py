"""What is planned for all servers, as pages and starts see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from zhub.state import plan
from zhub.state.plan import Action, Plan

#: 2026-12-01 18:00 UTC.
AT = 1796148000


def test_there_is_no_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert plan.read(file) is None
    assert plan.notice(file=file) == plan.closed(file) == ""
    plan.write(None, file)


def test_a_plan_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    wanted = Plan(Action.STOP, AT, "Neue Platten, 18 Uhr.")
    plan.write(wanted, file)
    assert plan.read(file) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    plan.write(None, file)
    assert plan.read(file) is None


def test_while_the_hub_is_emptied_no_server_starts(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    plan.write(Plan(Action.STOP, AT, "New disks."), file)
    assert plan.closed(file) == "Servers cannot be started at the moment. New disks."
    shown = plan.notice(file=file)
    assert shown.startswith("New disks.\nAll servers are stopped at 2026-12-01 18:00 UTC")
    plan.write(Plan(Action.STOP, AT, done=True), file)
    assert plan.notice(file=file) == plan.closed(file)


def test_a_restart_for_a_new_image_closes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    plan.write(Plan(Action.RENEW, AT), file)
    assert plan.closed(file) == ""
    assert "restarted at 2026-12-01 18:00 UTC" in plan.notice(file=file)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"action": "fly", "at": 1}', '{"action": "stop", "more": 1}']
)
def test_a_broken_file_is_no_plan_and_is_logged(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    assert plan.closed(file) == ""
    assert "is not carried out" in caplog.text


def test_what_is_decided_about_a_plan_takes_its_place(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    first, second = Plan(Action.RENEW, AT), Plan(Action.STOP, AT)
    assert plan.change(lambda present: present or first, file) is None
    assert plan.change(lambda present: present and second, file) == first
    assert plan.change(lambda present: present, file) == second

    def no(_: Plan | None) -> Plan:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        plan.change(no, file)
    assert plan.read(file) == second
    assert plan.change(lambda _: None, file) == second
    assert plan.read(file) is None
