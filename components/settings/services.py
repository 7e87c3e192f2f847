"""Services of the site that use the hub's API, and roles of users and groups."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components.settings import ldap_entries, parsing, scopes
from components.settings.config import Config
from components.settings.ldap import Ldap
from components.settings.objects import Objects, parsed, remove, some
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: Names of the hub's own services and roles, and of JupyterHub's; a test compares them with those.
TAKEN = {
    "idle-culler": "the hub's own service that stops unused servers",
    "metrics": "the hub's own service that Prometheus scrapes",
    "people": "the hub's own service that carries out operators' plans",
    "recheck": "the hub's own service that looks users up again",
    "admin": "JupyterHub's role of administrators",
    "server": "JupyterHub's role of users' servers",
    "token": "JupyterHub's role of tokens",
    "user": "JupyterHub's role of all users: what it gives, everybody has",
}

# JupyterHub's rule for roles (roles.py); shorter, and without what looks odd in an address.
_NAME = re.compile(r"[a-z]([a-z0-9-]{1,38}[a-z0-9])")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{32,200}")
_GROUP = re.compile(r"[^!\s]([^!]{0,253}[^!\s])?")

_MAKE = "openssl rand -hex 32"


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RefusedError(
            "not a name of 3 to 40 lower-case letters, digits and dashes, such as class-start"
        )
    if value in TAKEN:
        raise RefusedError(f"the name of {TAKEN[value]}")
    return value


def _token(value: object) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise RefusedError(
            "not a token of 32 to 200 letters, digits and ._~+/=-, as a program makes it",
            secret=True,
        )
    return value


def _group(text: str) -> str:
    if not _GROUP.fullmatch(text) or not text.isprintable():
        raise RefusedError("not the name of a group of the hub, such as research")
    return text


SERVICE = Objects(
    key="hubServices",
    noun="service",
    fields={
        "name": (_name, "class-start"),
        "scopes": (some(scopes.parse), "read:servers"),
        "token": (_token, _MAKE),
        "url": (parsed(parsing.url), "https://classes.example.com"),
    },
    lists={"scopes"},
    secret="token",  # noqa: S106 - the name of a field
)
ROLE = Objects(
    key="hubRoles",
    noun="role",
    fields={
        "name": (_name, "tutors"),
        "scopes": (some(scopes.parse), "read:servers"),
        "users": (some(parsing.user), "alice"),
        "groups": (some(_group), "research"),
    },
    lists={"scopes", "users", "groups"},
)

HUB_SERVICES = Setting(
    "hubServices",
    (),
    (
        "Programs that use the hub's API: each a name, its scopes, a secret token, perhaps the url"
        " of its own page; docs/api.md"
    ),
    SERVICE,
    example="class-start",
    member="name",
    secret_member="token",  # noqa: S106 - the name of a field
)
HUB_ROLES = Setting(
    "hubRoles",
    (),
    (
        "Further rights of some users on the hub: each a name, scopes, and the users, or the groups"
        " of the directory, that have them; docs/api.md"
    ),
    ROLE,
    example="tutors",
    member="name",
)


@dataclass(frozen=True, kw_only=True)
class Services:
    """What may use the hub's API, besides what users and administrators may do anyway."""

    services: tuple[Mapping[str, Any], ...] = ()
    """Each with name, scopes and url, as the hub gets them; nothing secret."""
    roles: tuple[Mapping[str, Any], ...] = ()
    """Each with name, scopes, users and groups."""
    tokens: pulumi.Output[str] | None = None
    """The services' tokens by their names, as the file that the hub reads; None without any."""

    def warnings(self) -> list[str]:
        """Rights that must not be given lightly, a sentence each."""
        return [
            *_dangers(self.services, SERVICE, "whoever has its token"),
            *_dangers(self.roles, ROLE, "whoever has this role"),
        ]


def _dangers(found: Iterable[Mapping[str, Any]], kind: Objects, who: str) -> Iterator[str]:
    for number, one in enumerate(found):
        for place, scope in enumerate(one["scopes"]):
            if gives := scopes.danger(scope):
                yield (
                    f"{kind.key}: {one['name']} has the scope {scope}, so {who} can {gives};"
                    f" without it: {remove(f'{kind.key}[{number}].scopes[{place}]')}"
                )


def read(config: Config, directory: Ldap | None) -> Services:
    """Read services and roles.

    Args:
        config: of the stack.
        directory: of the site; None for the demo directory.
    """
    services, roles = config.value(HUB_SERVICES), config.value(HUB_ROLES)
    _refuse_lacking(config, HUB_SERVICES, SERVICE, services, ("scopes", "token"))
    _refuse_lacking(config, HUB_ROLES, ROLE, roles, ("scopes",))
    if not config.is_secret(HUB_SERVICES):
        clear = {n: one["name"] for n, one in enumerate(services) if "token" in one}
        _refuse_clear(config, clear)
    _refuse_shared_tokens(config, services)
    names = {one["name"] for one in services}
    for number, role in enumerate(roles):
        if role["name"] in names:
            config.clash(
                HUB_ROLES,
                f"has a role with the name of a service, {role['name']}: a service's scopes are a"
                " role of its name",
                ROLE.set(number, "name"),
            )
        if not role.get("users") and not role.get("groups"):
            config.clash(
                HUB_ROLES,
                f"has the role {role['name']} for nobody",
                ROLE.set(number, "users"),
                f"or {ROLE.set(number, 'groups')}",
            )
    if directory is not None and not directory.group_base:
        _refuse_groups(config, HUB_SERVICES, services)
        _refuse_groups(config, HUB_ROLES, roles)
    tokens = {one["name"]: one.get("token", "") for one in services}
    return Services(
        services=tuple(
            {"name": one["name"], "scopes": one.get("scopes", ()), "url": one.get("url", "")}
            for one in services
        ),
        roles=tuple(
            {
                "name": one["name"],
                "scopes": one.get("scopes", ()),
                "users": one.get("users", ()),
                "groups": one.get("groups", ()),
            }
            for one in roles
        ),
        tokens=pulumi.Output.secret(json.dumps(tokens)) if tokens else None,
    )


def _refuse_lacking(
    config: Config,
    setting: Setting[object],
    kind: Objects,
    found: Iterable[Mapping[str, Any]],
    fields: Iterable[str],
) -> None:
    for number, one in enumerate(found):
        for field in fields:
            if field not in one:
                config.clash(
                    setting,
                    f"{kind.noun} {one['name']}: has no {field}",
                    kind.set(number, field),
                )


def _refuse_shared_tokens(config: Config, services: Iterable[Mapping[str, Any]]) -> None:
    owners: dict[str, str] = {}
    for number, one in enumerate(services):
        other = owners.setdefault(one.get("token", one["name"]), one["name"])
        if other != one["name"]:
            config.clash(
                HUB_SERVICES,
                f"gives {one['name']} the token of {other}",
                SERVICE.set(number, "token"),
            )


def _refuse_groups(
    config: Config, setting: Setting[object], found: Iterable[Mapping[str, Any]]
) -> None:
    """Refuse groups where the hub knows none."""
    for one in found:
        of_scopes = map(scopes.group, one.get("scopes", ()))
        named = [*one.get("groups", ()), *filter(None, of_scopes)]
        if named:
            config.clash(
                setting,
                f"has {one['name']} with the group {named[0]}, and the hub knows no groups without"
                f" {ldap_entries.GROUP_BASE}",
                ldap_entries.GROUP_BASE.set_command(),
            )


def refuse_in_clear(config: Config, stack_file: Mapping[str, Any]) -> None:
    """Note tokens that the stack's file has in clear, beside others that are encrypted.

    Pulumi hands the list over as one value, decrypted, and says only that something in it is
    encrypted.

    Args:
        config: of the stack.
        stack_file: what is in its file; empty where that is elsewhere.
    """
    settings = stack_file.get("config")
    written = settings.get(f"zhub:{HUB_SERVICES}") if isinstance(settings, dict) else None
    clear = {
        number: str(one.get("name"))
        for number, one in enumerate(written if isinstance(written, list) else ())
        if isinstance(one, dict) and isinstance(one.get("token"), str)
    }
    if config.is_secret(HUB_SERVICES):
        _refuse_clear(config, clear)


def _refuse_clear(config: Config, clear: Mapping[int, str]) -> None:
    for number, name in clear.items():
        config.clash(
            HUB_SERVICES,
            f"has the token of {name} in clear in the stack's file, so that it is no secret any"
            " more; make another",
            SERVICE.set(number, "token"),
        )
