"""Services of the site that use the hub's API, and roles of users and groups."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhub.settings import parsing
from zhub.settings.parsing import Value

OWN = frozenset({"idle-culler", "metrics", "people", "recheck", "admin", "server", "token", "user"})
"""Names of the hub's own services and roles, and of JupyterHub's roles."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{1,38}[a-z0-9])")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program that uses the hub's API."""

    name: str
    scopes: tuple[str, ...]
    url: str = ""
    """Its own page, to which the hub's pages have a link; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """Further rights of users."""

    name: str
    scopes: tuple[str, ...]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Names of JupyterHub's groups."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What may use the hub's API, besides what users and administrators may do anyway."""

    services: tuple[Service, ...] = ()
    """ZHUB_SERVICES: JSON list."""
    roles: tuple[Role, ...] = ()
    """ZHUB_ROLES: JSON list."""
    tokens_file: Path | None = None
    """ZHUB_SERVICE_TOKENS_FILE: the services' tokens by their names, in JSON."""

    @property
    def by_groups(self) -> bool:
        """Whether some right depends on who is in a group of the hub."""
        given = [one.scopes for one in self.services] + [one.scopes for one in self.roles]
        limited = any("!group=" in scope for scopes in given for scope in scopes)
        return limited or any(role.groups for role in self.roles)


def tokens(file: Path) -> dict[str, str]:
    """Read the tokens of services.

    Raises:
        ValueError: the file has something else.
        OSError: it cannot be read.
    """
    found = json.loads(file.read_text())
    if not isinstance(found, dict) or not all(isinstance(token, str) for token in found.values()):
        # The text would show tokens.
        raise ValueError("no JSON object of texts")
    return found


def read(value: Value) -> Services:
    """Read the settings of services and roles."""
    return Services(
        services=value(
            "SERVICES", "[]", _services, "a JSON list of services, each with name and scopes"
        ),
        roles=value("ROLES", "[]", _roles, "a JSON list of roles, each with name and scopes"),
        tokens_file=value("SERVICE_TOKENS_FILE", "", parsing.file, "the path of a file"),
    )


def problems(found: Services) -> list[str]:
    """Return what is wrong with services, a sentence each."""
    wanted = {service.name for service in found.services}
    try:
        known = tokens(found.tokens_file).keys() if found.tokens_file else set()
    except (OSError, ValueError) as error:
        return [f"the services' tokens cannot be read from {found.tokens_file}: {error}"]
    lacking = sorted(wanted - known)
    names = [*(one.name for one in found.services), *(one.name for one in found.roles)]
    return [
        *(
            f"the service {name} has no token in the file of ZHUB_SERVICE_TOKENS_FILE"
            for name in lacking
        ),
        *(
            f"there are two services or roles with the name {name}"
            for name in sorted({name for name in names if names.count(name) > 1})
        ),
    ]


def _services(text: str) -> tuple[Service, ...]:
    return tuple(
        Service(name=name, scopes=scopes, url=str(item.get("url", "")))
        for name, scopes, item in map(_named, parsing.elements(text))
    )


def _roles(text: str) -> tuple[Role, ...]:
    return tuple(
        Role(
            name=name,
            scopes=scopes,
            users=parsing.strings(item.get("users", [])),
            groups=parsing.strings(item.get("groups", [])),
        )
        for name, scopes, item in map(_named, parsing.elements(text))
    )


def _named(item: Any) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    if not isinstance(item, dict):
        raise ValueError(item)  # noqa: TRY004 - of the text, as all parsers
    name = item.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in OWN:
        raise ValueError(name)
    return name, parsing.strings(item.get("scopes")), item
