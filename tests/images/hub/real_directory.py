"""What tests of real directories share: entries, written as the administrator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap3


@dataclass
class RealDirectory:
    """A directory that runs for tests."""

    folder: Path
    version: str
    connection: Any
    """The administrator's."""

    @property
    def ca_file(self) -> Path:
        """The authority of its certificate."""
        return self.folder / "ca.crt"

    def add(self, dn: str, kind: str | list[str], **attributes: Any) -> None:
        """Add an entry."""
        self.done(self.connection.add(dn, kind, attributes), dn)

    def change(self, dn: str, **attributes: Any) -> None:
        """Replace attributes of an entry; by None, remove them."""
        changes = {
            name: [(ldap3.MODIFY_REPLACE, [] if value is None else [value])]
            for name, value in attributes.items()
        }
        self.done(self.connection.modify(dn, changes), dn)

    def done(self, done: bool, dn: str) -> None:  # noqa: FBT001 - as ldap3 returns it
        """Check that the last change was made."""
        assert done, (dn, self.connection.result)
