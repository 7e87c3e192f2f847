"""Settings of who administers the hub, and of how long a token lives."""

from __future__ import annotations

from dataclasses import dataclass

from components.settings import ldap_entries, parsing
from components.settings.config import Config
from components.settings.ldap import Ldap
from components.settings.setting import Setting

DAY = 86400
"""Seconds."""

TOKEN_MAX_AGE = Setting(
    "tokenMaxAge",
    2592000,
    "Longest life of users' tokens for the API, in seconds; without ldapBindDn no longer than a"
    " day",
    parsing.whole_number(300, 366 * DAY),
)
ADMIN_USERS = Setting(
    "adminUsers",
    (),
    "Names of the users who administer the hub, besides those of ldapAdminGroups",
    parsing.list_of(parsing.user),
    example="alice",
)
ADMIN_ACCESS = Setting(
    "adminAccess",
    False,
    (
        "Whether administrators may open users' servers and act as their users, besides"
        " starting and stopping them"
    ),
    parsing.boolean,
)


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who administers the hub, and how long a token lives."""

    admin_users: tuple[str, ...] = ()
    admin_access: bool = False
    """Whether administrators get into users' servers."""
    token_max_age: int
    """Seconds."""


def read(config: Config, directory: Ldap | None) -> Login:
    """Read them; None is the demo directory."""
    return Login(
        admin_users=config.value(ADMIN_USERS),
        admin_access=config.value(ADMIN_ACCESS),
        token_max_age=_read_token_max_age(config, directory),
    )


def _read_token_max_age(config: Config, directory: Ldap | None) -> int:
    """Read how many seconds tokens live at most; None is the demo directory."""
    seconds = config.value(TOKEN_MAX_AGE)
    chosen = config.is_set(TOKEN_MAX_AGE) and not (
        config.refused & {TOKEN_MAX_AGE, ldap_entries.BIND_DN}
    )
    if chosen and seconds > DAY and directory and not directory.bind_dn:
        config.clash(
            TOKEN_MAX_AGE,
            f"is more than a day ({DAY}), but without {ldap_entries.BIND_DN} nobody can ask whether"
            " a token's owner was removed: nothing of a user then lasts longer than that",
            TOKEN_MAX_AGE.set_command(str(DAY)),
            f"or {TOKEN_MAX_AGE.remove_command()}",
        )
    return seconds
