"""Copies of the database, made before a hub of another image changes it.

A hub upgrades its database when it starts, and a release before may not read it afterwards. The way
back is in docs/operations.md.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

KEPT = 3
"""How many copies stay; each is as large as the database."""

FOLDER = "copies"

MARK = "image"
"""The file in the folder that says which image's hub had the database last."""

log = logging.getLogger("zhub.database")


def before_another_image(file: Path, image: str, now: float | None = None) -> Path | None:
    """Copy the database if a hub of another image had it last; return the copy, or None.

    Args:
        file: the database.
        image: the id of this hub's image.
        now: seconds since 1970.

    Raises:
        OSError: the folder cannot be written.
        sqlite3.Error: the database cannot be read, or the copy not written.
    """
    folder = file.parent / FOLDER
    mark = folder / MARK
    if mark.exists() and mark.read_text() == image:
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    copy = _copied(file, folder, time.time() if now is None else now) if file.exists() else None
    # Last: a hub that was killed before makes the copy at its next start.
    mark.write_text(image)
    for half in folder.glob("*.partial"):
        half.unlink()
    for old in sorted(folder.glob("*.sqlite"))[:-KEPT]:
        # Not the new one, should those before be of a clock that was ahead.
        if old != copy:
            old.unlink()
    return copy


def _copied(file: Path, folder: Path, now: float) -> Path:
    copy = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}.sqlite"
    partial = copy.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    with closing(sqlite3.connect(file)) as live, closing(sqlite3.connect(partial)) as connection:
        # `backup` would wait forever for one that is locked.
        live.execute("SELECT name FROM sqlite_master").fetchall()
        live.backup(connection)
        # One file, without a log beside it.
        connection.execute("PRAGMA journal_mode=DELETE")
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(copy)
    log.info("this hub's image is another one: the database before it is in %s", copy)
    return copy
