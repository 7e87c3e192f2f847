"""The token of the metrics, and the command that shows and exchanges it."""

from __future__ import annotations

from pathlib import Path

import pytest
from zhub import audit
from zhub.metrics import token
from zhub.settings import SettingsError


def test_it_is_made_once_stays_and_only_the_hub_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "metrics-token"
    made = token.current(file)
    assert len(made) == 64
    assert token.current(file) == made
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_exchange_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "metrics-token"
    (tmp_path / ".metrics-token.part").write_text("of an exchange that was killed")
    old = token.current(file)
    assert token.renewed(file) != old
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("arguments", [["--neu"], ["--new", "x"], [""]])
def test_other_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SettingsError, match="takes only --new"):
        token.run(arguments)


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(token.current, "__defaults__", (tmp_path / "none" / "metrics-token",))
    monkeypatch.setattr(token.renewed, "__defaults__", (tmp_path / "none" / "metrics-token",))
    with pytest.raises(SettingsError, match="metrics-token cannot be used: No such file"):
        token.run([])


def test_an_exchange_is_in_the_audit_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for made in (token.current, token.renewed):
        monkeypatch.setattr(made, "__defaults__", (tmp_path / "metrics-token",))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    reported: list[str] = []
    monkeypatch.setattr(audit, "report_command", lambda _, done: reported.append(done))
    token.run([])
    assert reported == [], "to look at it changes nothing"
    token.run(["--new"])
    assert reported == ["metrics-token"]
    monkeypatch.undo()
    # A guard that is away: whoever has typed it has the token all the same.
    monkeypatch.setattr(token, "GUARD_SECONDS", 0)
    monkeypatch.setattr(token.renewed, "__defaults__", (tmp_path / "metrics-token",))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with pytest.raises(SettingsError, match=r"^done, but not in the audit log: the guard has"):
        token.run(["--new"])
    assert capsys.readouterr().out.split()[-1] == (tmp_path / "metrics-token").read_text()
