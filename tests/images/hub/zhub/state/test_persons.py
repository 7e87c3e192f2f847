"""Whose a name is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from zhub.state import persons
from zhub.state.persons import Match


@pytest.fixture(name="file")
def database(tmp_path: Path) -> Path:
    file = tmp_path / "hub.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(persons.SCHEMA)
        connection.execute(persons.SCHEMA)
    return file


@pytest.fixture
def db(file: Path) -> Iterator[Session]:
    with Session(create_engine(f"sqlite:///{file}")) as session:
        yield session


def claim(db: Session, *shown: str) -> Match:
    return persons.claim(db, "bob", frozenset(shown))


def written(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        [(text,)] = connection.execute("SELECT identity FROM zhub_persons WHERE name = 'bob'")
    return str(text)


def test_a_name_stays_with_its_first_person(db: Session, file: Path) -> None:
    assert claim(db, "entryuuid:1") is Match.SAME
    assert claim(db, "entryuuid:1") is Match.SAME
    assert claim(db, "entryuuid:2") is Match.ANOTHER
    assert persons.claim(db, "alice", frozenset({"entryuuid:2"})) is Match.SAME
    assert persons.recorded(file) == ["alice", "bob"]
    # The site has moved to another kind of directory.
    assert claim(db, "objectguid:7") is Match.SAME
    assert claim(db, "objectguid:8") is Match.ANOTHER
    db.rollback()
    assert persons.forget(file, "bob")
    assert not persons.forget(file, "bob")
    assert claim(db, "objectguid:8") is Match.SAME


def test_a_new_entry_that_shows_more_kinds_of_identifiers_is_another(db: Session) -> None:
    """In 389, entries from before its plugin for entryUUID have only an nsUniqueId."""
    assert claim(db, "nsuniqueid:a") is Match.SAME
    assert claim(db, "nsuniqueid:b", "entryuuid:1") is Match.ANOTHER
    assert claim(db, "nsuniqueid:a", "entryuuid:2") is Match.SAME
    # The account that reads the directory may see one of them only.
    for one in ("nsuniqueid:a", "entryuuid:2"):
        assert claim(db, one) is Match.SAME
    assert claim(db, "entryuuid:1") is Match.ANOTHER
    assert claim(db, "nsuniqueid:b") is Match.ANOTHER


def test_whoever_shows_no_identifier_any_more_is_not_taken_for_the_same(db: Session) -> None:
    # As in RACF: there is nothing to compare, ever.
    assert claim(db) is Match.SAME
    assert claim(db) is Match.SAME
    assert claim(db, "entryuuid:1") is Match.SAME
    assert claim(db) is Match.NOT_SHOWN
    assert claim(db, "entryuuid:2") is Match.ANOTHER
    assert claim(db, "entryuuid:1") is Match.SAME


def test_a_look_records_nothing(db: Session, file: Path) -> None:
    def look(*shown: str) -> Match:
        return persons.look(file, "bob", frozenset(shown))

    assert look("entryuuid:1") is Match.SAME
    assert persons.recorded(file) == []
    claim(db, "entryuuid:1")
    assert look("entryuuid:1", "nsuniqueid:a") is Match.SAME
    assert look("entryuuid:2") is Match.ANOTHER
    assert look() is Match.NOT_SHOWN
    assert look("objectguid:7") is Match.SAME
    assert written(file) == "entryuuid:1"
    with pytest.raises(sqlite3.Error):
        persons.look(file.with_name("none.sqlite"), "bob", frozenset())


def test_one_identifier_is_written_as_hubs_have_read_it_that_knew_no_lists(
    db: Session, file: Path
) -> None:
    claim(db, "entryuuid:1")
    assert written(file) == "entryuuid:1"
    claim(db, "nsuniqueid:a", "entryuuid:1")
    assert written(file) == '["entryuuid:1", "nsuniqueid:a"]'
    # They take a list for another kind of directory, and lock nobody out.
    assert written(file).partition(":")[0] not in {"entryuuid", "nsuniqueid"}
