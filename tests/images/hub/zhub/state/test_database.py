"""A database of the previous release is upgraded, and pages do not wait for the disk."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import orm
from sqlalchemy.exc import OperationalError
from zhub import __main__ as command
from zhub import settings
from zhub.settings import SettingsError
from zhub.settings.ldap import LdapTls
from zhub.state import database, logins

from tests.images.hub import real_hub, slapd
from tests.images.hub.slapd import PASSWORDS, SUFFIX

pytestmark = pytest.mark.slow

DAY = 86400
NOW = 1_800_000_000.0


def query(file: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def mode(file: Path) -> str:
    return str(query(file, "PRAGMA journal_mode")[0][0])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as JupyterHub creates it, with a user whose server runs and one without."""
    file = tmp_path / "hub.sqlite"
    db = orm.new_session_factory(f"sqlite:///{file}")()
    db.add(orm.OAuthClient(identifier="jupyterhub"))
    db.add(orm.OAuthClient(identifier="jupyterhub-user-bob"))
    bob, carol = orm.User(name="bob"), orm.User(name="carol")
    service = orm.Service(name="recheck")
    db.add_all([bob, carol, service])
    db.add(orm.Spawner(name="", user=bob, server=orm.Server(base_url="/user/bob/", port=8888)))
    db.commit()
    for name, scopes in (("token", ["self"]), ("inherit", ["inherit"])):
        db.add(orm.Role(name=name, scopes=scopes))
    db.commit()

    def add(note: str, user: orm.User | None = None, **more: Any) -> None:
        # As orm.APIToken.new writes them.
        token = orm.APIToken(note=note, client_id="jupyterhub", generated=True)
        token.user, token.service = user, None if user else service
        token.token = orm.new_token()
        token.scopes = more.pop("scopes", ["inherit"])
        for key, value in more.items():
            setattr(token, key, value)
        db.add(token)

    rights = ["users:activity!user", "access:servers!server=bob/"]
    add("Server at /user/bob/", bob, scopes=rights)
    add("Server at /user/carol/", carol, scopes=rights)
    # As of a server that the hub took over, after a database was restored.
    add("retrieved from spawner ", bob, scopes=rights)
    add("retrieved from spawner ", carol, scopes=["users:activity!user"])
    add("retrieved from spawner ", carol, scopes=rights)
    add("retrieved from spawner ", bob, scopes=["inherit"])
    add("Server at a note that is a lie", bob)
    add("Server at a note that lies", bob, scopes=["self"])
    more = [*rights, "read:users!user=bob"]
    add("Server at /user/bob/ ", bob, scopes=more)
    add("Server at /user/bob/?", bob, scopes=rights)
    add("of bob", bob)
    add("short", bob, expires_at=datetime.fromtimestamp(NOW + 60, UTC).replace(tzinfo=None))
    add("long", bob, expires_at=datetime.fromtimestamp(NOW + 400 * DAY, UTC).replace(tzinfo=None))
    add("generated at startup")
    db.commit()
    db.close()
    db.get_bind().dispose()
    assert mode(file) == "delete"
    return file


def test_a_database_of_the_release_before_is_taken_over(old: Path) -> None:
    database.prepare(old, token_max_age=DAY, now=NOW)
    assert mode(old) == "wal"
    assert dict(query(old, "SELECT name, at FROM zhub_logins")) == {"bob": NOW, "carol": NOW}
    ends = dict(
        query(old, "SELECT note, expires_at FROM api_tokens WHERE note NOT LIKE 'retrieved%'")
    )
    day = datetime.fromtimestamp(NOW + DAY, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert ends.pop("Server at /user/bob/") is None
    assert ends.pop("short") < day
    assert {end[:19] for end in ends.values()} == {day}
    assert "generated at startup" not in ends
    assert len(ends) == 7


def test_the_token_of_a_server_that_was_taken_over_ends_with_the_server(old: Path) -> None:
    """And not with others of its note, which anyone can give."""
    database.prepare(old, token_max_age=DAY, now=NOW)
    endless = query(
        old,
        "SELECT name, scopes FROM api_tokens JOIN users ON users.id = user_id"
        " WHERE note = 'retrieved from spawner ' AND expires_at IS NULL",
    )
    rights = ["users:activity!user", "access:servers!server=bob/"]
    assert [(name, json.loads(scopes)) for name, scopes in endless] == [("bob", rights)]


def test_jupyterhub_reads_the_upgraded_database(old: Path) -> None:
    database.prepare(old, token_max_age=DAY, now=time.time())
    db = orm.new_session_factory(f"sqlite:///{old}")()
    orm.APIToken.purge_expired(db)
    found = {token.note: token.expires_at for token in db.query(orm.APIToken)}
    left = found["of bob"] - datetime.now(UTC).replace(tzinfo=None)
    assert 0 < DAY - left.total_seconds() < 60
    db.close()
    db.get_bind().dispose()


def test_a_second_start_postpones_nothing(old: Path) -> None:
    database.prepare(old, token_max_age=DAY, now=NOW)
    before = query(old, "SELECT * FROM api_tokens") + query(old, "SELECT * FROM zhub_logins")
    database.prepare(old, token_max_age=DAY, now=NOW + 3600)
    assert before == query(old, "SELECT * FROM api_tokens") + query(
        old, "SELECT * FROM zhub_logins"
    )


def test_a_new_hub_has_a_database_that_jupyterhub_fills(tmp_path: Path) -> None:
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=DAY)
    db = orm.new_session_factory(f"sqlite:///{file}")()
    user = orm.User(name="bob")
    db.add(user)
    db.commit()
    logins.record(db, "bob", at=NOW)
    assert logins.counts(db, "bob", now=NOW + logins.COUNTS - 1)
    assert not logins.counts(db, "bob", now=NOW + logins.COUNTS)
    # Nor a login recorded while the clock was ahead.
    assert not logins.counts(db, "bob", now=NOW - logins.COUNTS)
    assert not logins.counts(db, "carol", now=NOW)
    logins.record(db, "bob", at=NOW + DAY)
    assert logins.counts(db, "bob", now=NOW + DAY)
    assert logins.reason_to_stop(file, "bob", now=NOW + DAY) is None
    logins.forget(db, "bob")
    assert not logins.counts(db, "bob", now=NOW + DAY)
    db.close()
    db.get_bind().dispose()


def test_the_one_file_is_complete_after_a_stop(old: Path, tmp_path: Path) -> None:
    database.prepare(old, token_max_age=DAY)
    checkpoints = database.Checkpoints(old)
    checkpoints.start()
    with closing(sqlite3.connect(old)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("INSERT INTO zhub_logins VALUES ('dave', 1)")
        writer.commit()
        checkpoints.stop()
        shutil.copy(old, tmp_path / "copy")
    assert query(tmp_path / "copy", "SELECT at FROM zhub_logins WHERE name = 'dave'") == [(1.0,)]


def test_commits_are_soon_on_the_disk(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database.prepare(old, token_max_age=DAY)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    checkpoints = database.Checkpoints(old)
    with (
        closing(sqlite3.connect(old)) as writer,
        closing(sqlite3.connect(old)) as connection,
    ):
        checkpoints.look(connection)
        begun = len(synced)
        writer.execute("INSERT INTO zhub_logins VALUES ('dave', 1)")
        writer.commit()
        checkpoints.look(connection)
        checkpoints.look(connection)
    # Once after a change, and not without one.
    assert len(synced) == begun + 1


def test_the_log_does_not_grow_without_end(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MOST", 1 << 20)
    monkeypatch.setattr(database, "KEPT", 1 << 18)
    database.prepare(old, token_max_age=DAY)
    database.install()
    db = orm.new_session_factory(f"sqlite:///{old}")()
    wal = old.with_name(f"{old.name}-wal")
    checkpoints = database.Checkpoints(old)
    largest = 0
    with closing(sqlite3.connect(old)) as connection:
        for number in range(200):
            # 40 KB each, 8 MB in total.
            db.add(orm.User(name=f"user{number}", user_info={"x": json.dumps(["x" * 40_000])}))
            db.commit()
            checkpoints.look(connection)
            largest = max(largest, wal.stat().st_size)
    assert largest < 2 << 20
    assert wal.stat().st_size < 2 << 20
    assert db.query(orm.User).count() == 202
    db.close()
    db.get_bind().dispose()


def test_logins_need_no_room_on_the_disk(old: Path) -> None:
    """tests/engine/test_full_disk.py has a disk that is full."""
    database.prepare(old, token_max_age=DAY)
    database.install()
    files = old, old.with_name(f"{old.name}-wal")

    def taken() -> list[tuple[int, int]]:
        return [(file.stat().st_size, file.stat().st_blocks) for file in files]

    checkpoints = database.Checkpoints(old)
    with closing(sqlite3.connect(old)) as connection:
        database.reserve(connection)
        database.reserve(connection)  # of the next start, which takes no more
        before = taken()
        assert all(size >= database.RESERVED for size, _ in before)
        assert all(blocks * 512 >= database.RESERVED for _, blocks in before)
        db = orm.new_session_factory(f"sqlite:///{old}")()
        for number in range(400):
            db.add(orm.User(name=f"user{number}", user_info={"x": "x" * 10_000}))
            db.commit()
            if not number % 100:
                checkpoints._checkpointed = ((0, 0), float("-inf"))
                checkpoints.look(connection)
        assert taken() == before
        db.close()
        db.get_bind().dispose()


def test_what_fails_on_a_full_disk_is_said_to_users_and_in_one_line(
    old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database.prepare(old, token_max_age=DAY)
    database.install()
    db = orm.new_session_factory(f"sqlite:///{old}")()
    # SQLite takes it for a full disk.
    db.connection().exec_driver_sql("PRAGMA max_page_count=1")
    logger = logging.getLogger("tornado.application")
    db.add(orm.User(name="large", user_info={"x": "x" * 100_000}))
    with pytest.raises(OperationalError) as raised:
        db.commit()
    assert getattr(raised.value, "jupyterhub_message", "") == database.FULL
    logger.error("Uncaught exception %s", "POST /hub/login", exc_info=raised.value)
    db.rollback()
    with pytest.raises(OperationalError) as raised:
        db.connection().exec_driver_sql("SELECT nothing")
    assert not hasattr(raised.value, "jupyterhub_message")
    logger.error("Uncaught exception", exc_info=raised.value)
    full, other = caplog.records
    assert (full.getMessage(), full.exc_info) == (database.FULL, None)
    assert other.exc_info
    db.close()
    db.get_bind().dispose()


def test_the_log_is_written_into_the_database_at_once_where_the_disk_is_full(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.prepare(old, token_max_age=DAY)
    checkpoints = database.Checkpoints(old)
    with closing(sqlite3.connect(old)) as writer, closing(sqlite3.connect(old)) as connection:
        writer.execute("PRAGMA wal_autocheckpoint=0")

        def unwritten() -> int:
            """Frames of the log that are not in the database after a look."""
            writer.execute("INSERT OR REPLACE INTO zhub_logins VALUES ('dave', random())")
            writer.commit()
            before = old.stat().st_mtime_ns
            checkpoints.look(connection)
            return int(old.stat().st_mtime_ns == before)

        assert unwritten()
        full = os.statvfs_result((4096, 4096, 100, 0, 0, 9, 9, 9, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _: full)
        assert not unwritten()


def test_a_file_that_is_not_a_database_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "hub.sqlite"
    file.write_text("this is no database, and it is long enough to be sure of that" * 20)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        database.prepare(file, token_max_age=DAY)


def test_without_the_log_commits_still_wait_for_the_disk(tmp_path: Path) -> None:
    database.install()
    found = {}
    for journal in ("WAL", "DELETE"):
        file = tmp_path / f"{journal}.sqlite"
        query(file, f"PRAGMA journal_mode={journal}")
        db = orm.new_session_factory(f"sqlite:///{file}")()
        connection = db.connection()
        found[journal] = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "wal_autocheckpoint")
        ]
        db.close()
        db.get_bind().dispose()
    assert found == {"WAL": [1, 0], "DELETE": [2, 1000]}


def test_the_token_of_a_running_server_is_recognized_as_jupyterhub_writes_it(
    tmp_path: Path,
) -> None:
    ldap: dict[str, Any] = {
        "tls": LdapTls.NONE,
        "dn_templates": (f"uid={{username}},ou=people,{SUFFIX}",),
    }
    with slapd.running(tmp_path / "slapd") as directory:
        ldap |= {"servers": ("127.0.0.1",), "port": directory.port, "allow_everyone": True}
        with real_hub.running(tmp_path / "hub", ldap) as hub:
            hub.browser("bob", PASSWORDS["bob"])
            token = hub.token("bob", PASSWORDS["bob"]).json()["token"]
            hub.api("POST", "users/bob/server", token).raise_for_status()
    file = hub.database
    query = "SELECT note, expires_at FROM api_tokens WHERE note LIKE 'Server at %'"
    note = "Server at /user/bob/"
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(query).fetchall() == [(note, None)]
        connection.execute("UPDATE api_tokens SET expires_at = NULL")
    database.prepare(file, token_max_age=DAY)
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(query).fetchall() == [(note, None)]
        others = "SELECT count(*) FROM api_tokens WHERE expires_at IS NULL"
        assert connection.execute(others).fetchone() == (1,)
        # When the server has ended, its token gets an expiry date.
        connection.execute("UPDATE spawners SET server_id = NULL")
    database.prepare(file, token_max_age=DAY)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute(others).fetchone() == (0,)


def test_an_unusable_database_is_reported_in_one_line(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings.read({"ZHUB_LDAP_SERVERS": "ldap.example.org"})
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database" * 100)
    locked = sqlite3.connect(old)
    locked.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file: connect(file, timeout=0.1))
    for file, why in ((broken, "not a database"), (old, "locked"), (tmp_path, "unable to open")):
        with pytest.raises(SettingsError) as raised:
            command.prepare_database(file, found, "sha256:one")
        [problem] = raised.value.problems
        assert problem.startswith(f"{file} cannot be used: ")
        assert why in problem
    locked.close()
    command.prepare_database(old, found, "sha256:one")
