"""Limits JupyterHub's administrators: they run the hub, but cannot get into users' servers."""

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
"""Scopes of JupyterHub's own admin role, without those that lead into a user's server:

- access:servers, and tokens and shares, with which administrators could grant it to themselves;
- admin:users: renaming turns one user into another, whose home the next start would mount; the
  directory alone adds and promotes users, and nobody needs to read the auth state;
- admin:services, access:services: a service would get tokens; admin:servers: shows servers' state;
- proxy: lets its holder replace the proxy that the hub talks to.

https://jupyterhub.readthedocs.io/en/stable/rbac/scopes.html
"""


def keep_out(*, of_groups: bool = False) -> None:
    """Take the scopes that lead into users' servers out of JupyterHub's admin role.

    JupyterHub does not let its config redefine that role (roles.create_role). At its start it
    updates the role in the database to this one; the rights of tokens follow from it.

    Args:
        of_groups: whether groups give rights (hubRoles, hubServices). Then only the directory says
            who is in one: JupyterHub would take changes of administrators, until it next looks the
            user up, and they could give themselves all of these rights.
    """
    defaults = roles.get_default_roles
    scopes = [scope for scope in SCOPES if scope != "admin:groups"] if of_groups else list(SCOPES)
    if of_groups:
        scopes += ["list:groups", "read:groups"]

    def get_default_roles() -> list[dict[str, Any]]:
        return [
            {**role, "scopes": scopes} if role["name"] == "admin" else role for role in defaults()
        ]

    roles.get_default_roles = get_default_roles


def forget_shares(database: Path) -> None:
    """Delete shares of servers, which administrators could make before `keep_out`.

    Args:
        database: of a hub that is not running; the file may not exist yet.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        for table in {"shares", "share_codes"} & there:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of these two
