"""Stops the servers of users whom the directory does not let in any more.

A service of JupyterHub, which gives it a token that lists users and stops servers, no more. The
hub's own refresh_user keeps such users from pages and tokens, but only when they come by.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from zhub import settings
from zhub.directory import Directory, DirectoryError, LoginRefusedError, allowed

#: Seconds an answer of the hub may take; stopping a server takes long under emulation.
PATIENCE = 60

#: What asking the hub raises when it does not answer, or answers with an error.
UNANSWERED = (OSError, HTTPException)

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


def refusal(directory: Directory, user: str) -> str | None:
    """Why a user is not let in any more; None for who is, or when the directory does not say."""
    try:
        person = directory.look_up(user)
    except LoginRefusedError as refused:
        return str(refused)
    except DirectoryError as problem:
        log.warning("%s could not be looked up, so nothing is done: %s", user, problem)
        return None
    return None if allowed(directory.ldap, person) else f"{person.dn!r} is in no allowed group"


def check(api: Api, directory: Directory) -> None:
    """Look every user with a server up, and stop the servers of those not let in any more."""
    refusals: dict[str, str | None] = {}
    for user, server in list(api.servers()):
        if user not in refusals:
            refusals[user] = refusal(directory, user)
        if reason := refusals[user]:
            log.warning("stopping the server of %s, who is not let in any more: %s", user, reason)
            try:
                api.stop(user, server)
            except UNANSWERED as error:
                # The others' must not go on running for that.
                log.warning("the server of %s was not stopped, trying again: %s", user, error)


def forever(api: Api, directory: Directory) -> None:
    """Check, again and again."""
    while True:
        time.sleep(directory.ldap.recheck)
        try:
            check(api, directory)
        except UNANSWERED as error:
            log.warning("the hub does not answer: %s", error)


def run() -> None:
    """Check for as long as the hub runs, which has started this and ends it."""
    forever(Api(os.environ), Directory(settings.read(os.environ).ldap))
