"""Whose a name is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from zhub.state import persons


def test_a_name_stays_with_its_first_person(tmp_path: Path) -> None:
    file = tmp_path / "hub.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(persons.SCHEMA)
        connection.execute(persons.SCHEMA)
    with Session(create_engine(f"sqlite:///{file}")) as db:
        assert persons.same(db, "bob", "entryuuid:1")
        assert persons.same(db, "bob", "entryuuid:1")
        assert not persons.same(db, "bob", "entryuuid:2")
        assert persons.same(db, "alice", "entryuuid:2")
        # Nobody can tell.
        assert persons.same(db, "bob", "")
        assert not persons.same(db, "bob", "entryuuid:2")
        # The site has moved to another kind of directory.
        assert persons.same(db, "bob", "nsuniqueid:7")
        assert not persons.same(db, "bob", "nsuniqueid:8")
        db.rollback()
        assert persons.forget(file, "bob")
        assert not persons.forget(file, "bob")
        assert persons.same(db, "bob", "nsuniqueid:8")
