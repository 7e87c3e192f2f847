"""When each user last gave a password, kept where it outlives the hub and nothing else moves it.

Without a service account that is all the hub knows of whether somebody is still let in.
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
"""Seconds that a login counts for without a service account: what notices its end looks every five
minutes and needs a moment, and a day after the last login nothing of a user must be left."""

LOOKS = 300
"""Seconds between two looks at whether it still counts."""

SCHEMA = "CREATE TABLE zhub_logins (name TEXT PRIMARY KEY, at REAL NOT NULL)"
"""Of the table, in JupyterHub's own database; `at` is in seconds since 1970."""

LAST = "SELECT at FROM zhub_logins"


def record(db: Session, name: str, at: float | None = None) -> None:
    """Remember that a user has logged in, now unless `at` says when (seconds since 1970)."""
    db.connection().exec_driver_sql(
        "INSERT OR REPLACE INTO zhub_logins (name, at) VALUES (?, ?)",
        (name, time.time() if at is None else at),
    )
    db.commit()


def forget(db: Session, name: str) -> None:
    """Forget a user who is deleted: whoever gets the name has to log in."""
    db.connection().exec_driver_sql("DELETE FROM zhub_logins WHERE name = ?", (name,))
    db.commit()


def counts(db: Session, name: str, now: float | None = None) -> bool:
    """Whether the last login of a user still counts; there may be none."""
    found = db.connection().exec_driver_sql(f"{LAST} WHERE name = ?", (name,))
    return _counts(found.scalar(), now)


def reason_to_stop(database: Path, name: str, now: float | None = None) -> str | None:
    """Why a user's server must not go on, as far as the database says; None when it may.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"{LAST} WHERE name = ?", [name]).fetchone()
    if _counts(found and found[0], now):
        return None
    return "the last login was a day ago, and there is no service account to ask"


def _counts(at: float | None, now: float | None) -> bool:
    now = time.time() if now is None else now
    # Either way: a clock that was ahead for a while must not let anybody in for longer.
    return at is not None and abs(now - at) < COUNTS
