"""The token of a separate proxy's API."""

from __future__ import annotations

from pathlib import Path

from zhub.front import token


def test_it_is_made_once_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "token"
    made = token.shared(file)
    assert len(made) == 64
    assert token.shared(file) == made
    assert file.read_text() == made
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_an_empty_one_is_none(tmp_path: Path) -> None:
    """As a loss of power leaves it; the proxy would take routes from anybody."""
    file = tmp_path / "token"
    file.touch()
    assert len(token.shared(file)) == 64
    assert len(file.read_text()) == 64


def test_owner_and_group_alone_read_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token.shared(file)
    assert file.stat().st_mode & 0o777 == 0o640


def test_what_an_attempt_that_was_killed_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "token.part").write_text("half")
    assert len(token.shared(tmp_path / "token")) == 64
