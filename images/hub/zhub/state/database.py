"""The hub's database: no page waits for its disk, and what older releases left in it is mended.

SQLite's write-ahead log (https://www.sqlite.org/wal.html): a commit appends to a file and waits
for nothing. Only a checkpoint waits for the disk, and a thread of its own makes those.
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
from typing import Any

from zhub.settings import STATE
from zhub.state import logins

FILE = STATE / "jupyterhub.sqlite"

TICK = 1.0
"""Seconds after which what was committed is on the disk: as much as a loss of power may undo."""

CHECKPOINT = 120.0
"""Seconds between two checkpoints. The first commit after one waits for the disk once."""

MOST = 64 << 20
"""Bytes of the log above which the next checkpoint makes commits wait, to start it anew."""

KEPT = 16 << 20
"""Bytes of the log's file that are left when it starts anew."""

log = logging.getLogger("zhub.database")


def prepare(file: Path, *, token_max_age: int, now: float | None = None) -> None:
    """Bring a database of any release in line, before JupyterHub opens it; make it if need be.

    Users of a release that did not write logins down count as logged in now, so that nobody loses
    a server by the upgrade. Tokens without an end get one, but for those of running servers, which
    end with them. JupyterHub's services get new tokens at each start; the old ones are deleted.

    Args:
        file: the database.
        token_max_age: seconds that a user's token may live from now on.
        now: seconds since 1970.

    Raises:
        sqlite3.Error: it is no database, or cannot be written.
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
            # By hand: sqlite3 of Python 3.11 begins none before it makes a table.
            connection.execute("BEGIN")
            if "zhub_logins" not in tables:
                connection.execute(logins.SCHEMA)
                if "users" in tables:
                    connection.execute(
                        "INSERT INTO zhub_logins (name, at) SELECT name, ? FROM users", [now]
                    )
            if "api_tokens" in tables:
                _end_tokens(connection, now, token_max_age)
        # A copy of the one file is then complete: JupyterHub makes one before it upgrades.
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
        (user, f"Server at {url}"): [
            # The user may be written out or not, which means the same.
            {f"users:activity!user{whose}", f"access:servers!server={name}/{server}"}
            for whose in ("", f"={name}")
        ]
        for user, name, server, url in connection.execute(
            "SELECT users.id, users.name, spawners.name, servers.base_url FROM spawners"
            " JOIN users ON users.id = spawners.user_id"
            " JOIN servers ON servers.id = spawners.server_id"
        )
    }
    # Anybody can give a token the note of a server's. So it must have the rights as well that
    # JupyterHub gives to servers (its role "server"), and no other: what is made like one by hand
    # can do no more than report activity and visit that one server.
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
    """Have all of SQLAlchemy's connections to SQLite commit without waiting for the disk.

    Only with the write-ahead log: with the journal that takes its place, a loss of power could
    leave a broken database (https://www.sqlite.org/pragma.html#pragma_synchronous).
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


class Checkpoints(threading.Thread):
    """Brings what was committed to the disk, beside the hub's own work."""

    def __init__(self, file: Path) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._file = file
        self._log = file.with_name(f"{file.name}-wal")
        self._over = threading.Event()
        self._seen: tuple[int, int] = (0, 0)
        self._checkpointed = (self._seen, time.monotonic())

    def run(self) -> None:
        """Work until told to stop."""
        with closing(sqlite3.connect(self._file, timeout=0.5)) as connection:
            while not self._over.wait(TICK):
                try:
                    self.look(connection)
                except (OSError, sqlite3.Error) as error:
                    log.warning(
                        "%s: what was committed is not on the disk yet: %s", self._file, error
                    )

    def stop(self) -> None:
        """End the thread, and leave one complete file behind."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=10)
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._file, timeout=1)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def look(self, connection: sqlite3.Connection) -> None:
        """Sync the log if it has changed, and move it into the database when it is time."""
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
        large = status.st_size > MOST
        if seen == before or not (large or time.monotonic() - at >= CHECKPOINT):
            return
        _, frames, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if large and done < frames:
            # Commits went on all the while, so that the log could not start anew: they wait now.
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
        self._checkpointed = (seen, time.monotonic())
