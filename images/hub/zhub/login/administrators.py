"""What JupyterHub's administrators may do here: run the hub, but not get into users' servers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from jupyterhub import roles

SCOPES = (
    "admin-ui",
    "users",
    "delete:users",
    "servers",
    "admin:groups",
    "read:roles",
    "read:hub",
    "read:metrics",
    "shutdown",
)
"""Of JupyterHub's own admin role, without what leads into a user's server:

- access:servers, and tokens and shares, with which administrators would give it to themselves;
- admin:users: renaming makes one user another, whose home the next start would mount; making and
  promoting users is the directory's affair, and the state of logins nobody's;
- admin:services, access:services: a service would get tokens; admin:servers, for servers' state;
- proxy: another proxy could be named, which the hub would then obey.

https://jupyterhub.readthedocs.io/en/stable/rbac/scopes.html
"""


def keep_out() -> None:
    """Make the admin role one that does not lead into users' servers.

    JupyterHub refuses another admin role in its config (roles.create_role). At its start it brings
    the database's in line with this one; what tokens may do follows from it.
    """
    defaults = roles.get_default_roles

    def get_default_roles() -> list[dict[str, Any]]:
        return [
            {**role, "scopes": list(SCOPES)} if role["name"] == "admin" else role
            for role in defaults()
        ]

    roles.get_default_roles = get_default_roles


def forget_shares(database: Path) -> None:
    """Take back what was shared while administrators, and nobody else, could share servers.

    Args:
        database: of a hub that does not run; there may be none yet.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        for table in {"shares", "share_codes"} & there:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of these two
