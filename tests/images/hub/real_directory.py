"""What tests of real directories share: entries, written as the administrator; refused logins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap3
import pytest
from zhub.login.directory import Directory
from zhub.login.directory.session import LoginRefusedError


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


def assert_refused(ask: Callable[[], Directory], name: str, password: str, page: str) -> None:
    """Check what the login page says to a user with the right password, who may not log in."""
    with pytest.raises(LoginRefusedError) as refused:
        ask().log_in(name, password)
    assert refused.value.page == page
    # Nobody learns it without the password.
    with pytest.raises(LoginRefusedError) as refused:
        ask().log_in(name, "wrong")
    assert refused.value.page == ""
