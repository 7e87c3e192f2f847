"""The hub's database: pages do not wait for its disk, and data of older releases is upgraded.

It uses SQLite's write-ahead log (https://www.sqlite.org/wal.html): a commit only appends to a file.
Only checkpoints wait for the disk, and they run in a separate thread.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import SQLITE_FULL
from typing import Any

from zhub.settings import STATE
from zhub.state import logins, persons

FILE = STATE / "jupyterhub.sqlite"

TICK = 1.0
"""Seconds until a commit is on the disk: a loss of power may undo the commits of that time."""

CHECKPOINT = 120.0
"""Seconds between two checkpoints. The first commit after each waits for the disk once."""

MOST = 64 << 20
"""Bytes of the log above which the next checkpoint blocks commits, to restart the log."""

KEPT = 16 << 20
"""Bytes to which the log's file is truncated when the log restarts."""

RESERVED = 8 << 20
"""Bytes that the database has to spare, and its log from the start. Where somebody fills the disk,
they are written over, and logins go on: each takes about five kilobytes of the one, for good, and
fifty of the other, until the next checkpoint."""

FULL = (
    "The disk with the hub's database is full, so nothing can be stored now. Please tell your"
    " administrator."
)
"""What users read when there is nothing to spare any more."""

log = logging.getLogger("zhub.database")


def prepare(file: Path, *, token_max_age: int, now: float | None = None) -> None:
    """Upgrade a database of any release, before JupyterHub opens it; create it if needed.

    For users of a release that did not record logins, the last login is set to now, so that no user
    loses a server by the upgrade. Tokens that never expire get an expiry date, except for those of
    running servers, which end with the server. JupyterHub's services get new tokens at each start;
    the old ones are deleted.

    Args:
        file: the database.
        token_max_age: seconds that a user's token may live from now on.
        now: seconds since 1970.

    Raises:
        sqlite3.Error: the file is not a database, or cannot be written.
    """
    now = time.time() if now is None else now
    with closing(sqlite3.connect(file)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            log.warning(
                "%s is on a file system without shared memory: pages will wait for its disk", file
            )
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        with connection:
            # Explicitly: sqlite3 of Python 3.11 begins no transaction before CREATE TABLE.
            connection.execute("BEGIN")
            if "zhub_logins" not in tables:
                connection.execute(logins.SCHEMA)
                if "users" in tables:
                    connection.execute(
                        "INSERT INTO zhub_logins (name, at) SELECT name, ? FROM users", [now]
                    )
            connection.execute(persons.SCHEMA)
            if "api_tokens" in tables:
                _end_tokens(connection, now, token_max_age)
        # So that a copy of this one file is complete: JupyterHub makes one before it upgrades.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _end_tokens(connection: sqlite3.Connection, now: float, max_age: int) -> None:
    connection.execute("DELETE FROM api_tokens WHERE service_id IS NOT NULL")
    # As SQLAlchemy writes it: without a zone, in UTC.
    ends = datetime.fromtimestamp(now + max_age, UTC).replace(tzinfo=None).isoformat(" ")
    connection.execute(
        "UPDATE api_tokens SET expires_at = ?1 WHERE user_id IS NOT NULL AND expires_at > ?1",
        [ends],
    )
    running = {
        (user, note): [
            # The scope may name the user or not, which means the same.
            {f"users:activity!user{whose}", f"access:servers!server={name}/{server}"}
            for whose in ("", f"={name}")
        ]
        for user, name, server, url in connection.execute(
            "SELECT users.id, users.name, spawners.name, servers.base_url FROM spawners"
            " JOIN users ON users.id = spawners.user_id"
            " JOIN servers ON servers.id = spawners.server_id"
        )
        # JupyterHub's own two (jupyterhub/user.py): of a server that it started, and of one that it
        # took over, as after a restored database.
        for note in (f"Server at {url}", f"retrieved from spawner {server}")
    }
    # Anyone can give a token the note of a server's token. So it must also have exactly the scopes
    # that JupyterHub gives to servers (its role "server"): a token forged by hand can then only
    # report activity and access that one server.
    endless = connection.execute(
        "SELECT id, user_id, note, scopes FROM api_tokens"
        " WHERE user_id IS NOT NULL AND expires_at IS NULL"
    ).fetchall()
    connection.executemany(
        "UPDATE api_tokens SET expires_at = ? WHERE id = ?",
        [
            (ends, token)
            for token, user, note, scopes in endless
            if set(json.loads(scopes or "[]")) not in running.get((user, note), [])
        ],
    )


def install() -> None:
    """Make all of SQLAlchemy's connections to SQLite commit without waiting for the disk.

    What fails on a full disk gets a message for users, and one line in the log.

    Only with the write-ahead log: with the rollback journal, a loss of power could corrupt the
    database (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def commit_without_waiting(connection: Any, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute(f"PRAGMA journal_size_limit={KEPT}")

    @event.listens_for(Engine, "handle_error")
    def say_that_the_disk_is_full(context: Any) -> None:
        error = context.sqlalchemy_exception
        if error and getattr(context.original_exception, "sqlite_errorcode", 0) == SQLITE_FULL:
            # JupyterHub shows it on its error page.
            error.jupyterhub_message = FULL

    logging.getLogger("tornado.application").addFilter(in_one_line)


def in_one_line(record: logging.LogRecord) -> bool:
    """Log what fails on a full disk without a traceback, which says no more."""
    if record.exc_info and getattr(record.exc_info[1], "jupyterhub_message", "") == FULL:
        record.msg, record.args, record.exc_info = FULL, None, None
    return True


def reserve(connection: sqlite3.Connection) -> None:
    """Give the database and its log room of their own on the disk.

    A table is filled and removed. Its pages stay in the file, for what is written later, and the
    log is written from its beginning again after a checkpoint; neither gets shorter.

    Args:
        connection: to a database with a write-ahead log. Its file stays as long as some connection
            is open.

    Raises:
        sqlite3.Error: there is no room any more.
    """
    # Nobody waits for the disk meanwhile; only the checkpoint does, which blocks no commit.
    connection.execute("PRAGMA synchronous=NORMAL")
    # A hub that was killed in between has left it.
    connection.execute("DROP TABLE IF EXISTS zhub_reserve")
    with connection:
        connection.execute("CREATE TABLE zhub_reserve (room BLOB)")
        connection.execute("INSERT INTO zhub_reserve VALUES (zeroblob(?))", [RESERVED])
    connection.execute("DROP TABLE zhub_reserve")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


class Checkpoints(threading.Thread):
    """Writes commits to the disk within about TICK seconds, without blocking the hub."""

    def __init__(self, file: Path) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._file = file
        self._log = file.with_name(f"{file.name}-wal")
        self._over = threading.Event()
        self._seen: tuple[int, int] = (0, 0)
        self._checkpointed = (self._seen, time.monotonic())

    def run(self) -> None:
        """Sync the log periodically until `stop` is called."""
        with closing(sqlite3.connect(self._file, timeout=0.5)) as connection:
            try:
                # JupyterHub may be upgrading its tables.
                connection.execute("PRAGMA busy_timeout=30000")
                reserve(connection)
                connection.execute("PRAGMA busy_timeout=500")
            except sqlite3.Error as error:
                log.warning("%s has no room to spare on its disk: %s", self._file, error)
            while not self._over.wait(TICK):
                try:
                    self.look(connection)
                except (OSError, sqlite3.Error) as error:
                    log.warning(
                        "%s: the last commits are not on the disk yet: %s", self._file, error
                    )

    def stop(self) -> None:
        """End the thread, and move the log into the database, so that one file is complete."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=10)
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._file, timeout=1)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def look(self, connection: sqlite3.Connection) -> None:
        """Sync the log if it has changed, and make a checkpoint when one is due."""
        try:
            status = self._log.stat()
        except FileNotFoundError:
            return
        seen = (status.st_size, status.st_mtime_ns)
        if seen != self._seen:
            with self._log.open("rb") as file:
                os.fdatasync(file.fileno())
            self._seen = seen
        before, at = self._checkpointed
        disk = os.statvfs(self._file)
        # With a full disk, the log must not get longer.
        large = status.st_size > MOST or disk.f_bavail * disk.f_frsize < RESERVED
        if seen == before or not (large or time.monotonic() - at >= CHECKPOINT):
            return
        _, frames, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if large and done < frames:
            # Commits continued meanwhile, so the log could not restart: this one blocks them.
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
        self._checkpointed = (seen, time.monotonic())
