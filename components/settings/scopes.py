"""JupyterHub's scopes: which there are, and what those give that must not be given lightly.

https://jupyterhub.readthedocs.io/en/stable/rbac/scopes.html. The program cannot ask JupyterHub,
which is in the image; a test compares these tables with the release that the image has.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from components.settings import parsing
from components.settings.parsing import RefusedError

#: What its holder can do. These lead into users' servers, to other users' rights, or end something.
DANGEROUS = {
    "access:servers": "open users' servers: read and change their files, and run programs as them",
    "shares": "let anybody into users' servers",
    "tokens": "make tokens of users, and with them do whatever these users can",
    "admin:users": "add, rename and delete users, and make them administrators: who gets the name"
    " of another gets that user's home",
    "admin:auth_state": "read what the directory says about users",
    "admin:servers": "start and stop servers, and read what the hub keeps about each",
    "admin:server_state": "read what the hub keeps about each server",
    "admin:services": "add services, with tokens of their own",
    "admin:groups": "add and delete groups, and with them the roles of their members",
    "groups": "change who is in a group, and so has its roles",
    "delete:users": "delete users with all their tokens",
    "delete:groups": "delete groups, and with them the roles of their members",
    "proxy": "give the hub another proxy, and so get all that goes through it",
    "shutdown": "stop the hub and all users' servers",
}

_HARMLESS = {
    "access:services",
    "admin-ui",
    "groups:shares",
    "list:groups",
    "list:services",
    "list:users",
    "read:groups",
    "read:groups:name",
    "read:groups:shares",
    "read:hub",
    "read:metrics",
    "read:roles",
    "read:roles:groups",
    "read:roles:services",
    "read:roles:users",
    "delete:servers",
    "read:servers",
    "read:services",
    "read:services:name",
    "read:shares",
    "read:tokens",
    "read:users",
    "read:users:activity",
    "read:users:groups",
    "read:users:name",
    "read:users:shares",
    "servers",
    "start:servers",
    "users",
    "users:activity",
    "users:shares",
}

SCOPES = DANGEROUS.keys() | _HARMLESS

#: Scopes of JupyterHub that are none of a role of a site.
NO_ROLES = {"(no_scope)", "self", "inherit"}

_SERVER = re.compile(r"(.+)/([^/\s]*)")


def parse(text: str) -> str:
    """A scope, perhaps with a filter that limits it to a user, a group, a server or a service."""
    scope, limited, limit = text.partition("!")
    if scope in NO_ROLES:
        raise RefusedError("says that a user or token has its own rights, and means nothing here")
    if scope not in SCOPES:
        close = get_close_matches(scope, SCOPES, n=1, cutoff=0.7)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise RefusedError(f"no scope of JupyterHub{meant}")
    return f"{scope}!{_filter(limit)}" if limited else scope


def _filter(text: str) -> str:
    kind, _, value = text.partition("=")
    server = _SERVER.fullmatch(value)
    if kind == "user" and value:
        return f"user={parsing.user(value)}"
    if kind == "server" and server:
        return f"server={parsing.user(server[1])}/{server[2]}"
    if kind in {"group", "service"} and value.strip() and value.isprintable() and "!" not in value:
        return text
    raise RefusedError(
        "limited to nothing that JupyterHub knows: that is !user=NAME, !group=NAME,"
        " !server=USER/NAME or !service=NAME"
    )


def group(scope: str) -> str:
    """The group that a scope is limited to; empty for none."""
    return scope.partition("!group=")[2]


def danger(scope: str) -> str:
    """What the holder of a scope can do, if that must not be given lightly; otherwise empty."""
    name, limited, limit = scope.partition("!")
    gives = DANGEROUS.get(name, "")
    return f"{gives} (only of {limit})" if gives and limited else gives
