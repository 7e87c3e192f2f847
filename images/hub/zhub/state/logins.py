"""Records when each user last logged in with a password, on the volume, in a table of its own.

Without a service account, this is all the hub has to decide whether a user may still log in.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not for recheck.py: under emulation it takes seconds to load.
    from sqlalchemy.orm import Session

COUNTS = 86400 - 600
"""Seconds that a login counts for without a service account. Ten minutes short of a day: the check
runs every five minutes and takes a moment, and a day after the last login, the user's servers and
sessions must have ended."""

LOOKS = 300
"""Seconds between two checks whether a login still counts."""

SCHEMA = "CREATE TABLE zhub_logins (name TEXT PRIMARY KEY, at REAL NOT NULL)"
"""The table, in JupyterHub's own database; `at` is in seconds since 1970."""

LAST = "SELECT at FROM zhub_logins"


def record(db: Session, name: str, at: float | None = None) -> None:
    """Record that a user has logged in, now or at `at` (seconds since 1970)."""
    db.connection().exec_driver_sql(
        "INSERT OR REPLACE INTO zhub_logins (name, at) VALUES (?, ?)",
        (name, time.time() if at is None else at),
    )
    db.commit()


def forget(db: Session, name: str) -> None:
    """Delete the record of a user: whoever gets the name next has to log in."""
    db.connection().exec_driver_sql("DELETE FROM zhub_logins WHERE name = ?", (name,))
    db.commit()


def recorded(db: Session) -> bool:
    """Return whether anybody has ever logged in, as far as the database knows."""
    return bool(db.connection().exec_driver_sql(f"{LAST} LIMIT 1").first())


def counts(db: Session, name: str, now: float | None = None) -> bool:
    """Return whether the last login of a user still counts; False if there is none."""
    found = db.connection().exec_driver_sql(f"{LAST} WHERE name = ?", (name,))
    return _counts(found.scalar(), now)


def reason_to_stop(database: Path, name: str, now: float | None = None) -> str | None:
    """Return why a user's server must stop, according to the database; None when it may run.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    if _counts(last(database, name), now):
        return None
    return "the last login was a day ago, and there is no service account to ask"


def last(database: Path, name: str) -> float | None:
    """Return when a user last logged in, in seconds since 1970; None if never.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"{LAST} WHERE name = ?", [name]).fetchone()
    return found and float(found[0])


def _counts(at: float | None, now: float | None) -> bool:
    now = time.time() if now is None else now
    # In both directions: a clock that was ahead for a while must not extend a login.
    return at is not None and abs(now - at) < COUNTS
