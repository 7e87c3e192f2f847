"""Stops servers of users who may not log in any more, or not have such a server any more.

A service of JupyterHub, which gives it a token that can only list users with their servers' state,
and stop servers. The hub's
own refresh_user refuses pages and tokens to such users, but runs only when they make a request. The
directory decides who they are; without a service account to ask it, the time of the last login.
"""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from zhub import settings
from zhub.api import UNANSWERED, Api
from zhub.login.directory import Directory
from zhub.login.directory.people import Person, allowed
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.folders import SharedFolder, revoked
from zhub.settings.profiles import Profile, named
from zhub.state import database, logins, persons

#: Returns why a user's server must end, which has some shared folders and perhaps a profile;
#: None if it may run, or when that is unknown.
Refusal = Callable[[str, tuple[str, ...], str | None], str | None]

FEW = 5
"""Users who may lose their servers in one look, however few have one."""

LOOKS = 3
"""Looks in a row that must say so before most users lose theirs."""

log = logging.getLogger("zhub.recheck")


class Brake:
    """Keeps a look from ending most servers, until it has been confirmed.

    Most people do not leave within minutes. Rather somebody has mistyped a setting, or a directory
    answers that is being filled again; and what kernels hold in memory cannot be given back.
    """

    def __init__(self) -> None:
        self._held = 0

    def holds(self, refused: int, users: int) -> bool:
        """Return whether to stop nobody's server in this look.

        Args:
            refused: users who may not have their servers any more.
            users: all who have servers.
        """
        most = refused > FEW and 2 * refused > users
        self._held = self._held + 1 if most else 0
        return 0 < self._held < LOOKS


def owner(directory: Directory, user: str, file: Path) -> Person:
    """Return whom a user's server and home belong to, by the directory.

    Args:
        directory: to ask, as the service account.
        user: the name in the hub.
        file: the hub's database, which knows whose the name is.

    Raises:
        LoginRefusedError: nobody who may log in; or the name is another person's now.
        DirectoryError: no server gives a usable answer.
    """
    person = directory.look_up(user)
    if _given_away(file, user, person):
        raise LoginRefusedError(f"{person.dn!r} is not the entry that {user} was before")
    if not allowed(directory.ldap, person):
        raise LoginRefusedError(f"{person.dn!r} is in no allowed group")
    return person


def by_directory(
    directory: Directory,
    folders: tuple[SharedFolder, ...] = (),
    profiles: tuple[Profile, ...] = (),
    file: Path = database.FILE,
) -> Refusal:
    """Return a Refusal that asks the directory, as the service account.

    Args:
        directory: to ask.
        folders: all that the stack has.
        profiles: the same.
        file: the hub's database, which knows whose a name is.
    """

    def refusal(user: str, grants: tuple[str, ...], profile: str | None) -> str | None:
        try:
            person = owner(directory, user, file)
        except LoginRefusedError as refused:
            return str(refused)
        except DirectoryError as problem:
            log.warning("%s could not be looked up, so nothing changes: %s", user, problem)
            return None
        return lost(person, grants, profile)

    def lost(person: Person, grants: tuple[str, ...], profile: str | None) -> str | None:
        if gone := revoked(folders, person.groups, profile, grants):
            return f"{person.dn!r} may not use the shared folder {', '.join(gone)} any more"
        # A server from before the stack had profiles, or had others, is left alone.
        used = named(profiles, profile)
        if used and not used.open_to(person.groups):
            return f"{person.dn!r} may not use the profile {profile} any more"
        return None

    return refusal


def _given_away(file: Path, user: str, person: Person) -> bool:
    try:
        match = persons.look(file, user, person.identities)
    except sqlite3.Error as error:
        log.warning("whose name %s is cannot be read, so nothing changes: %s", user, error)
        return False
    # One that shows no identifier any more may well be the same: only the next login is refused.
    return match is persons.Match.ANOTHER


def by_login(file: Path, folders: tuple[SharedFolder, ...] = ()) -> Refusal:
    """Return a Refusal that reads the last login from the hub's database.

    Args:
        file: the database.
        folders: all that the stack has, none of which is for groups.
    """

    def refusal(user: str, grants: tuple[str, ...], profile: str | None) -> str | None:
        if gone := revoked(folders, (), profile, grants):
            return f"nobody may use the shared folder {', '.join(gone)} like this any more"
        try:
            return logins.reason_to_stop(file, user)
        except sqlite3.Error as error:
            log.warning("the last login of %s cannot be read, so nothing changes: %s", user, error)
            return None

    return refusal


def check(api: Api, refusal: Refusal, brake: Brake | None = None) -> None:
    """Check every server, and stop those that their users may not have any more as they are.

    Args:
        api: the hub's.
        refusal: says which.
        brake: of all looks; None for none.
    """
    servers = list(api.servers())
    asked = dict.fromkeys((one.user, one.folders, one.profile) for one in servers)
    reasons = {question: refusal(*question) for question in asked}
    refused = {user: reason for (user, *_), reason in reasons.items() if reason}
    if brake and brake.holds(len(refused), len({one.user for one in servers})):
        user, why = next(iter(refused.items()))
        log.error(
            "%d users may not have their servers any more, such as %s: %s. So many at once are"
            " rather a mistake in the directory or in the stack's settings: nobody's server is"
            " stopped unless %d looks in a row say so. `make doctor LDAP=%s` says what is wrong",
            *(len(refused), user, why, LOOKS, shlex.quote(user)),
        )
        return
    for server in servers:
        reason = reasons[server.user, server.folders, server.profile]
        if reason:
            log.warning("stopping the server of %s: %s", server.user, reason)
            try:
                api.stop(server.user, server.name)
            except UNANSWERED as error:
                # An error with one server must not keep the others running.
                log.warning(
                    "the server of %s was not stopped, trying again: %s", server.user, error
                )


def forever(api: Api, refusal: Refusal, seconds: int, brake: Brake | None = None) -> None:
    """Check every so many seconds."""
    while True:
        time.sleep(seconds)
        try:
            check(api, refusal, brake)
        except UNANSWERED as error:
            log.warning("the hub does not answer: %s", error)


def run() -> None:
    """Check periodically until the hub, which starts this process, ends it."""
    found = settings.read(os.environ)
    ldap = found.ldap
    if ldap.bind_dn:
        refusal = by_directory(Directory(ldap), found.shared_folders, found.profiles)
        forever(Api(os.environ), refusal, ldap.recheck, Brake())
    else:
        # No brake: after a weekend, everybody's last login is a day ago.
        forever(Api(os.environ), by_login(database.FILE, found.shared_folders), logins.LOOKS)
