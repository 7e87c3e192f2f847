#!/usr/bin/env python3
"""Starts servers of a JupyterHub by its API, such as those of a class before its lesson.

Copy this file to any machine that reaches the hub; it needs Python 3.9 or newer and nothing else.
docs/api.md says how to get the token. It ends with 1 unless all servers are ready.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

#: Servers that are asked for at a time; the hub starts them one after the other where it must.
AT_ONCE = 8

#: Seconds the hub has to answer a request, and between two looks whether a server is ready.
PATIENCE = 60
PAUSE = 2


class Refused(Exception):
    """The hub does not do what it was asked; the text says why."""


class Hub:
    """The API of a hub, as https://jupyterhub.readthedocs.io/en/stable/reference/rest-api.html."""

    def __init__(self, url: str, token: str, authority: str | None) -> None:
        self._url = f"{url.rstrip('/')}/hub/api"
        self._token = token
        self._tls = ssl.create_default_context(cafile=authority)

    def ask(self, method: str, path: str) -> Any:
        """Send a request; returns what the hub answers."""
        request = Request(
            f"{self._url}/{path}",
            method=method,
            headers={
                "Authorization": f"token {self._token}",
                "Accept": "application/jupyterhub-pagination+json",
            },
        )
        try:
            with urlopen(request, timeout=PATIENCE, context=self._tls) as answer:
                text = answer.read()
        except HTTPError as error:
            raise Refused(_message(error)) from None
        except (URLError, OSError) as error:
            raise Refused(f"{self._url} does not answer: {error}") from None
        return json.loads(text) if text else None

    def users(self) -> list[str]:
        """Return the names of all users that the token may list."""
        names: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = self.ask("GET", f"users?offset={offset}")
            names += [user["name"] for user in page["items"]]
            following = page["_pagination"]["next"]
            offset = following and following["offset"]
        return names

    def server(self, name: str) -> dict[str, Any] | None:
        """Return what the hub says about a user's server; None if there is none."""
        servers: dict[str, dict[str, Any]] = self.ask("GET", _user(name)).get("servers") or {}
        return servers.get("")

    def start(self, name: str, seconds: float) -> str:
        """Start a user's server and wait until it is ready; returns what to say about it.

        Raises:
            Refused: it is not ready after so many seconds, or the hub says no.
        """
        begin = time.monotonic()
        if self.server(name):
            how = "ready already"
        else:
            self.ask("POST", f"{_user(name)}/server")
            how = "ready"
        while True:
            server = self.server(name)
            if server is None:
                raise Refused("the start has failed; the hub's log says why")
            taken = time.monotonic() - begin
            if server["ready"]:
                return f"{how} after {taken:.0f} s"
            if taken > seconds:
                raise Refused(f"not ready after {taken:.0f} s")
            time.sleep(PAUSE)


def _user(name: str) -> str:
    return f"users/{quote(name, safe='')}"


def _message(error: HTTPError) -> str:
    """What the hub says about a request that it refuses."""
    try:
        said = str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        said = error.reason
    if error.code == 404:
        said += " (no such user, one who has never logged in, or none that the token is for)"
    return f"{said} [{error.code}]"


def main() -> int:
    """Start the servers that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(description="Starts users' servers by a JupyterHub's API.")
    parser.add_argument("url", help="of the hub, as `pulumi stack output url` prints it")
    parser.add_argument("names", nargs="*", help="of the users")
    parser.add_argument("--all", action="store_true", help="all users that the token may list")
    parser.add_argument("--token", required=True, type=Path, help="file with the service's token")
    parser.add_argument("--ca", help="PEM file to verify the hub's certificate with")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each server")
    given = parser.parse_intermixed_args()
    if bool(given.names) == given.all:
        parser.error("give users' names, or --all")
    hub = Hub(given.url, given.token.read_text().strip(), given.ca)

    def start(name: str) -> bool:
        try:
            print(f"{name}: {hub.start(name, given.timeout)}", flush=True)
        except Refused as refused:
            print(f"{name}: {refused}", file=sys.stderr, flush=True)
            return False
        return True

    try:
        names = hub.users() if given.all else given.names
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    if not names:
        print("the token may list no user: nobody of its group has logged in", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(AT_ONCE) as at_once:
        started = list(at_once.map(start, names))
    return 0 if all(started) else 1


if __name__ == "__main__":
    sys.exit(main())
