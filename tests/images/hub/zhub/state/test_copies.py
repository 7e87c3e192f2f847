"""The database is copied before a hub of another image gets it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from zhub.state.copies import KEPT, before_another_image


@pytest.fixture
def file(tmp_path: Path) -> Path:
    database = tmp_path / "jupyterhub.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE users (name TEXT)")
    return database


def users(file: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT name FROM users").fetchall()


def test_another_image_makes_a_copy_and_the_same_one_none(file: Path) -> None:
    first = before_another_image(file, "sha256:one", now=0)
    assert first == file.parent / "copies" / "19700101T000000Z.sqlite"
    assert before_another_image(file, "sha256:one", now=1) is None
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO users VALUES ('alice')")
        connection.commit()
        # Of a hub that was killed: what it has committed is in the log beside the database.
        second = before_another_image(file, "sha256:two", now=2)
    assert first
    assert second
    assert (users(first), users(second)) == ([], [("alice",)])
    assert second.stat().st_mode & 0o777 == 0o600
    assert second.parent.stat().st_mode & 0o777 == 0o700
    assert not list(second.parent.glob("*-wal"))


def test_only_the_last_ones_stay(file: Path) -> None:
    for number in range(KEPT + 2):
        before_another_image(file, f"sha256:{number}", now=number)
        # Of a hub that was killed while it copied.
        (file.parent / "copies" / f"{number}.partial").touch()
    before_another_image(file, "sha256:0", now=KEPT + 1)
    assert not list((file.parent / "copies").glob("*.partial"))
    left = sorted(path.name for path in (file.parent / "copies").glob("*.sqlite"))
    assert left == [f"19700101T00000{number}Z.sqlite" for number in range(2, KEPT + 2)]


def test_the_new_one_stays_though_a_clock_was_ahead(file: Path) -> None:
    for number in range(KEPT):
        before_another_image(file, f"image {number}", now=1e9 + number)
    copy = before_another_image(file, "the last", now=1)
    assert copy
    assert copy.exists()


def test_a_new_hub_has_nothing_to_copy(tmp_path: Path) -> None:
    database = tmp_path / "jupyterhub.sqlite"
    assert before_another_image(database, "sha256:one") is None
    assert not database.exists()


def test_a_copy_that_failed_is_made_again(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(b"no database " * 100)
    with pytest.raises(sqlite3.Error):
        before_another_image(file, "sha256:one", now=0)
    assert not list((file.parent / "copies").glob("*.sqlite"))
    file.write_bytes(content)
    assert before_another_image(file, "sha256:one", now=0)
