"""Records whose each name is, so that a new person of an old name does not get the old files.

A home belongs to a name, and sites give names away again. Directories have identifiers of each
entry that no other entry ever gets (RFC 4530: entryUUID). They are recorded at the first login, in
a table of its own, and stay when a user is deleted: the home stays as well.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not for recheck.py: under emulation it takes seconds to load.
    from sqlalchemy.orm import Session

SCHEMA = "CREATE TABLE IF NOT EXISTS zhub_persons (name TEXT PRIMARY KEY, identity TEXT NOT NULL)"
"""The table, in JupyterHub's own database; `identity` is `attribute:value`, or a JSON list of them.

A single one is written without a list, as before there were lists: a hub from then compares it as
ever. A list it takes for another kind of directory, and records anew the one identifier that it
knows; so nobody is locked out on the way back.
"""

QUERY = "SELECT identity FROM zhub_persons WHERE name = ?"


class Match(Enum):
    """What the entry that has a name now is to the one that had it."""

    SAME = "same"
    """The same; or one of another kind of directory; or there was none."""
    ANOTHER = "another"
    NOT_SHOWN = "not shown"
    """The entry shows no identifier, and the one before did: nobody can tell."""


def compare(known: frozenset[str], shown: frozenset[str]) -> Match:
    """Compare identifiers, each `attribute:value`.

    One in common is enough. None in common, but an attribute, is another entry. Without an
    attribute in common it is another kind of directory: the site has moved, and everybody with it.

    An entry that shows none is not let in. That locks everybody out where the account that reads
    the directory loses the right to read them, as where it cannot read groups any more; the log
    says what to do. Otherwise whoever got an old name meanwhile would get the old files.

    Args:
        known: recorded of the name; empty if nothing is.
        shown: by the entry.
    """
    if not known or known & shown:
        return Match.SAME
    if not shown:
        return Match.NOT_SHOWN
    return Match.ANOTHER if _attributes(known) & _attributes(shown) else Match.SAME


def claim(db: Session, name: str, shown: frozenset[str]) -> Match:
    """Compare an entry with the one that had its name; record what it shows if it is the same.

    Args:
        db: the hub's database.
        name: of the user in the hub.
        shown: the entry's identifiers, each `attribute:value`.
    """
    connection = db.connection()
    known = _read(connection.exec_driver_sql(QUERY, (name,)).scalar())
    match = compare(known, shown)
    # What a moved site showed before is dropped: an attribute may come back with other values.
    now = known | shown if known & shown else shown
    if match is Match.SAME and now != known:
        connection.exec_driver_sql(
            "INSERT OR REPLACE INTO zhub_persons (name, identity) VALUES (?, ?)",
            (name, _written(now)),
        )
        db.commit()
    return match


def look(database: Path, name: str, shown: frozenset[str]) -> Match:
    """Compare an entry with the one that had its name, and record nothing.

    Args:
        database: the hub's.
        name: of the user in the hub.
        shown: the entry's identifiers, each `attribute:value`.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with _reading(database) as connection:
        found = connection.execute(QUERY, [name]).fetchone()
    return compare(_read(found and found[0]), shown)


def recorded(database: Path) -> list[str]:
    """Return the names of which it is recorded whose they are.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with _reading(database) as connection:
        found = connection.execute("SELECT name FROM zhub_persons ORDER BY name")
        return [name for (name,) in found]


def forget(database: Path, name: str) -> bool:
    """Delete whose a name is, so that the next login decides; return whether it was known.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        done = connection.execute("DELETE FROM zhub_persons WHERE name = ?", [name])
        return done.rowcount > 0


def _reading(database: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True))


def _attributes(identities: frozenset[str]) -> set[str]:
    return {identity.partition(":")[0] for identity in identities}


def _read(text: str | None) -> frozenset[str]:
    if not text:
        return frozenset()
    # No attribute begins with a bracket.
    return frozenset(json.loads(text) if text.startswith("[") else [text])


def _written(identities: frozenset[str]) -> str:
    first, *more = sorted(identities)
    return json.dumps([first, *more]) if more else first
