"""Records whose each name is, so that a new person of an old name does not get the old files.

A home belongs to a name, and sites give names away again. Directories have an identifier of each
entry that no other entry ever gets (RFC 4530: entryUUID). It is recorded at the first login, in a
table of its own, and stays when a user is deleted: the home stays as well.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SCHEMA = "CREATE TABLE IF NOT EXISTS zhub_persons (name TEXT PRIMARY KEY, identity TEXT NOT NULL)"
"""The table, in JupyterHub's own database; `identity` is `attribute:value`."""


def same(db: Session, name: str, identity: str) -> bool:
    """Return whether a name is still the same person's; record whose it is if nobody's.

    Args:
        db: the hub's database.
        name: of the user in the hub.
        identity: what the directory says; empty where it shows none, and then nobody can tell.
    """
    if not identity:
        return True
    connection = db.connection()
    query = "SELECT identity FROM zhub_persons WHERE name = ?"
    known = connection.exec_driver_sql(query, (name,)).scalar()
    if known == identity:
        return True
    # Another attribute is another kind of directory: the site has moved, and everybody with it.
    if known and _attribute(known) == _attribute(identity):
        return False
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO zhub_persons (name, identity) VALUES (?, ?)", (name, identity)
    )
    db.commit()
    return True


def _attribute(identity: str) -> str:
    return identity.partition(":")[0]


def forget(database: Path, name: str) -> bool:
    """Delete whose a name is, so that the next login decides; return whether it was known.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        done = connection.execute("DELETE FROM zhub_persons WHERE name = ?", [name])
        return done.rowcount > 0
