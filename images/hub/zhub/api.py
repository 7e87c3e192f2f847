"""The hub's API, for the hub's own services and for commands in its container."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

#: Timeout of a request to the hub, in seconds; stopping a server takes long under emulation.
PATIENCE = 60

#: Raised by a request when the hub does not answer, or answers with an error.
UNANSWERED = (OSError, HTTPException)


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    user: str
    name: str
    """Empty for the user's default server."""
    folders: tuple[str, ...] = ()
    """The shared folders that it has, as zhub.settings.folders writes them."""
    profile: str | None = None
    """The name of the profile that was chosen; None of one from before the stack had profiles."""


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

    def users(self, state: str = "") -> Iterator[dict[str, Any]]:
        """Yield JupyterHub's models of all users, or of those in a state such as `active`."""
        chosen = f"state={state}&" if state else ""
        offset: int | None = 0
        while offset is not None:
            page = self._ask("GET", f"users?{chosen}offset={offset}")
            yield from page["items"]
            following = page["_pagination"]["next"]
            offset = following and following["offset"]

    def servers(self) -> Iterator[Server]:
        """Yield the running servers."""
        for user in self.users("active"):
            for name, server in user["servers"].items():
                # None while it starts, of a server that a release before has started, and where the
                # token may not see it.
                state = server.get("state") or {}
                options = server.get("user_options") or {}
                folders, profile = tuple(state.get("folders", ())), options.get("profile")
                # Until a start looks at its options, they are whatever its user has sent.
                known = profile if isinstance(profile, str) else None
                yield Server(user["name"], name, folders, known)

    def user(self, name: str) -> dict[str, Any]:
        """Return JupyterHub's model of a user."""
        found: dict[str, Any] = self._ask("GET", _user(name))
        return found

    def tokens(self, name: str) -> list[dict[str, Any]]:
        """Return what JupyterHub knows of a user's tokens, without the tokens themselves."""
        found: list[dict[str, Any]] = self._ask("GET", f"{_user(name)}/tokens")["api_tokens"]
        return found

    def stop(self, user: str, server: str = "") -> None:
        self._ask("DELETE", _server(user, server))

    def start(self, user: str, server: str = "") -> None:
        self._ask("POST", _server(user, server))

    def delete(self, name: str) -> None:
        """Stop a user's servers and delete the user, with all tokens."""
        self._ask("DELETE", _user(name))


def _user(name: str) -> str:
    return f"users/{quote(name, safe='')}"


def _server(user: str, server: str) -> str:
    return f"{_user(user)}/servers/{quote(server, safe='')}" if server else f"{_user(user)}/server"
