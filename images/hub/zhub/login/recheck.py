"""Stops the servers of users who may not log in any more.

A service of JupyterHub, which gives it a token that can only list users and stop servers. The hub's
own refresh_user refuses pages and tokens to such users, but runs only when they make a request. The
directory decides who they are; without a service account to ask it, the time of the last login.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from zhub import settings
from zhub.login.directory import Directory
from zhub.login.directory.people import allowed
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.state import database, logins

#: Timeout of a request to the hub, in seconds; stopping a server takes long under emulation.
PATIENCE = 60

#: Raised by a request when the hub does not answer, or answers with an error.
UNANSWERED = (OSError, HTTPException)

#: Returns why a user may not log in any more; None if the user may, or when it is unknown.
Refusal = Callable[[str], str | None]

log = logging.getLogger("zhub.recheck")


class Api:
    """The part of the hub's API that this needs; every method may raise one of UNANSWERED."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._url = environment["JUPYTERHUB_API_URL"]
        self._token = environment["JUPYTERHUB_API_TOKEN"]

    def _ask(self, method: str, path: str) -> Any:
        request = Request(
            f"{self._url}/{path}",
            method=method,
            headers={
                "Authorization": f"token {self._token}",
                "Accept": "application/jupyterhub-pagination+json",
            },
        )
        with urlopen(request, timeout=PATIENCE) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def servers(self) -> Iterator[tuple[str, str]]:
        """Yield names of users and of their running servers; the default server's name is empty."""
        offset: int | None = 0
        while offset is not None:
            page = self._ask("GET", f"users?state=active&offset={offset}")
            for user in page["items"]:
                for server in user["servers"]:
                    yield user["name"], server
            following = page["_pagination"]["next"]
            offset = following and following["offset"]

    def stop(self, user: str, server: str) -> None:
        path = f"servers/{quote(server, safe='')}" if server else "server"
        self._ask("DELETE", f"users/{quote(user, safe='')}/{path}")


def by_directory(directory: Directory) -> Refusal:
    """Return a Refusal that asks the directory, as the service account."""

    def refusal(user: str) -> str | None:
        try:
            person = directory.look_up(user)
        except LoginRefusedError as refused:
            return str(refused)
        except DirectoryError as problem:
            log.warning("%s could not be looked up, so nothing changes: %s", user, problem)
            return None
        return None if allowed(directory.ldap, person) else f"{person.dn!r} is in no allowed group"

    return refusal


def by_login(file: Path) -> Refusal:
    """Return a Refusal that reads the last login from the hub's database."""

    def refusal(user: str) -> str | None:
        try:
            return logins.reason_to_stop(file, user)
        except sqlite3.Error as error:
            log.warning("the last login of %s cannot be read, so nothing changes: %s", user, error)
            return None

    return refusal


def check(api: Api, refusal: Refusal) -> None:
    """Check every user with a server, and stop the servers of those who may not log in any more."""
    refusals: dict[str, str | None] = {}
    for user, server in list(api.servers()):
        if user not in refusals:
            refusals[user] = refusal(user)
        if reason := refusals[user]:
            log.warning("stopping the server of %s, who may not log in any more: %s", user, reason)
            try:
                api.stop(user, server)
            except UNANSWERED as error:
                # An error with one server must not keep the others running.
                log.warning("the server of %s was not stopped, trying again: %s", user, error)


def forever(api: Api, refusal: Refusal, seconds: int) -> None:
    """Check every so many seconds."""
    while True:
        time.sleep(seconds)
        try:
            check(api, refusal)
        except UNANSWERED as error:
            log.warning("the hub does not answer: %s", error)


def run() -> None:
    """Check periodically until the hub, which starts this process, ends it."""
    ldap = settings.read(os.environ).ldap
    refusal = by_directory(Directory(ldap)) if ldap.bind_dn else by_login(database.FILE)
    forever(Api(os.environ), refusal, ldap.recheck if ldap.bind_dn else logins.LOOKS)
