"""What an operator can do about a name that is, or may be, another person's now."""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path

from zhub.login.directory.people import Person
from zhub.state import persons
from zhub.state.persons import Match


def on(file: Path, person: Person) -> tuple[str, str] | None:
    """Return why the hub does not recognize a person, and the advice; None if it does.

    Args:
        file: the hub's database; without one there is nothing to compare with.
        person: as the directory shows the name now.
    """
    name, typed = person.name, shlex.quote(person.name)
    same = f"if it is the same person: make users DO=accept USER={typed}"
    try:
        match = persons.look(file, name, person.identities)
    except sqlite3.Error:
        return None
    if match is Match.ANOTHER:
        return (
            f"this is not the entry that {name} was before, whose home is kept",
            f"{same}; if not: make users DO=forget USER={typed}, which removes the home",
        )
    if match is Match.NOT_SHOWN:
        return (
            f"the entry shows no identifier any more, such as entryUUID: is it still {name}'s?",
            f"let the account that reads the directory read it; or, {same}",
        )
    return None
