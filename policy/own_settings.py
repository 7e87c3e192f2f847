"""Rules for what hub and guard know of who gets in, and of what users reach.

All of it must be what the stack's settings say: a program that says anything else to hub or guard
opens what the stack's operators have closed, and nothing in the stack's file shows it. Without such
a variable, the images have defaults of their own, which are for use by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from rules import shown

CONFIG: dict[str, str] = {}
"""The stack's config, as far as policies go by it: by full key, as `pulumi config` has it."""

DEMO = "zhub:demoDirectory"

PROXIES = "ZHUB_TRUSTED_PROXIES"
"""Of the hub that has the proxy in its container; a proxy of its own has an option in its place."""


def _texts(text: str) -> list[str]:
    return [str(one) for one in json.loads(text)]


def _names(text: str) -> list[str]:
    return [one.lower() for one in _texts(text)]


def _networks(text: str) -> list[str]:
    return [str(ip_network(one)) for one in _texts(text)]


@dataclass(frozen=True)
class Wall:
    """What a variable must say."""

    key: str
    """Of the setting."""
    default: str
    """Of the setting, as text."""
    read: Callable[[str], Any] = str
    """Reads a text; two that mean the same are equal then."""
    demo: str | None = None
    """What it must say with the demo directory; None for what the setting says."""

    def problems(self, text: str) -> Iterator[str]:
        """Yield what is wrong with a variable's text."""
        wanted = self.read(CONFIG.get(self.key, self.default))
        if self.demo is not None and CONFIG.get(DEMO) == "true":
            wanted = self.read(self.demo)
        try:
            same = self.read(text) == wanted
        except (ValueError, TypeError):
            same = False
        if not same:
            name = self.key.removeprefix("zhub:")
            yield f" is {shown(text)}; allowed: {shown(wanted)}, as the setting {name} says"


GROUPS = "ou=groups,dc=example,dc=org"

REACH = {
    "ZHUB_USER_INTERNET": Wall("zhub:userInternetAccess", "true"),
    "ZHUB_USER_ALLOWED_NETWORKS": Wall("zhub:userAllowedNetworks", "[]", _networks),
    "ZHUB_USER_BLOCKED_NETWORKS": Wall("zhub:userBlockedNetworks", "[]", _networks),
}
LOGIN = {
    "ZHUB_LDAP_TLS": Wall("zhub:ldapTls", "starttls"),
    "ZHUB_LDAP_ALLOW_EVERYONE": Wall("zhub:ldapAllowEveryone", "false"),
    "ZHUB_LDAP_ALLOWED_GROUPS": Wall(
        "zhub:ldapAllowedGroups", "[]", _texts, f'["cn=jupyter,{GROUPS}"]'
    ),
    "ZHUB_LDAP_ADMIN_GROUPS": Wall(
        "zhub:ldapAdminGroups", "[]", _texts, f'["cn=jupyter-admins,{GROUPS}"]'
    ),
    "ZHUB_ADMIN_USERS": Wall("zhub:adminUsers", "[]", _names),
    "ZHUB_ADMIN_ACCESS": Wall("zhub:adminAccess", "false"),
}
TRUSTED = Wall("zhub:trustedProxies", "[]", _networks)

WALLS: Mapping[str, Mapping[str, Wall]] = {
    "guard": REACH,
    "nodeguard": REACH,
    "hub": LOGIN | {PROXIES: TRUSTED},
    "hub-beside-proxy": LOGIN,
}
"""Variables that must be there, by the name of the container or service."""

KEYS = {DEMO, TRUSTED.key, *(wall.key for walls in WALLS.values() for wall in walls.values())}
"""The settings that these rules go by."""


def problems(name: str, variables: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with the variables of a container or service."""
    given = dict(line.partition("=")[::2] for line in variables)
    for variable, wall in WALLS.get(name, {}).items():
        if variable in given:
            yield from (f"{variable}{problem}" for problem in wall.problems(given[variable]))
        else:
            yield f"lacks {variable}"


def of_proxy(command: Any) -> Iterator[str]:
    """Yield what is wrong with the options of a proxy in a container of its own."""
    try:
        text = json.dumps(json.loads(command[0])["trustedProxies"])
    except (TypeError, ValueError, KeyError, IndexError):
        text = ""
    yield from (f"trustedProxies{problem}" for problem in TRUSTED.problems(text))
