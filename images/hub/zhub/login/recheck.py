"""Stops the servers of users who are not let in any more.

A service of JupyterHub, which gives it a token that lists users and stops servers, no more. The
hub's own refresh_user keeps such users from pages and tokens, but only when they come by. Who they
are says the directory; without a service account to ask it, the time of their last login does.
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

#: Seconds an answer of the hub may take; stopping a server takes long under emulation.
PATIENCE = 60

#: What asking the hub raises when it does not answer, or answers with an error.
UNANSWERED = (OSError, HTTPException)

#: Why a user is not let in any more; None for who is, or when nobody can say.
Refusal = Callable[[str], str | None]

log = logging.getLogger("zhub.recheck")


class Api:
    """The part of the hub's API that this needs; all of it raises one of UNANSWERED."""

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
        """Names of users and of their running servers; the default server has an empty name."""
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
    """As the service account finds them in the directory."""

    def refusal(user: str) -> str | None:
        try:
            person = directory.look_up(user)
        except LoginRefusedError as refused:
            return str(refused)
        except DirectoryError as problem:
            log.warning("%s could not be looked up, so nothing is done: %s", user, problem)
            return None
        return None if allowed(directory.ldap, person) else f"{person.dn!r} is in no allowed group"

    return refusal


def by_login(file: Path) -> Refusal:
    """As the hub's database has their last login."""

    def refusal(user: str) -> str | None:
        try:
            return logins.reason_to_stop(file, user)
        except sqlite3.Error as error:
            log.warning("the last login of %s cannot be read, so nothing is done: %s", user, error)
            return None

    return refusal


def check(api: Api, refusal: Refusal) -> None:
    """Judge every user with a server, and stop the servers of those not let in any more."""
    refusals: dict[str, str | None] = {}
    for user, server in list(api.servers()):
        if user not in refusals:
            refusals[user] = refusal(user)
        if reason := refusals[user]:
            log.warning("stopping the server of %s, who is not let in any more: %s", user, reason)
            try:
                api.stop(user, server)
            except UNANSWERED as error:
                # The others' must not go on running for that.
                log.warning("the server of %s was not stopped, trying again: %s", user, error)


def forever(api: Api, refusal: Refusal, seconds: int) -> None:
    """Check, again and again, with pauses."""
    while True:
        time.sleep(seconds)
        try:
            check(api, refusal)
        except UNANSWERED as error:
            log.warning("the hub does not answer: %s", error)


def run() -> None:
    """Check for as long as the hub runs, which has started this and ends it."""
    ldap = settings.read(os.environ).ldap
    refusal = by_directory(Directory(ldap)) if ldap.bind_dn else by_login(database.FILE)
    forever(Api(os.environ), refusal, ldap.recheck if ldap.bind_dn else logins.LOOKS)
