"""Settings of the site's directory, and of who may log in."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from zhub.settings import parsing
from zhub.settings.parsing import Value

T = TypeVar("T")

#: RFC 4512, section 2.5: the name of an attribute, or its number.
ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}|[0-9]+(\.[0-9]+)+")

#: A template or group that is a DN begins with an attribute and its value.
DN = re.compile(r"\s*[A-Za-z][A-Za-z0-9.-]*=.+", re.DOTALL)

#: The default DN to bind with, which fits demo directories.
DEMO_TEMPLATE = "uid={username},ou=people,dc=example,dc=org"


class LdapTls(StrEnum):
    """How the connection to the directory is secured."""

    STARTTLS = "starttls"
    """Plain connection, upgraded before the password is sent."""
    LDAPS = "ldaps"
    """TLS from the first byte."""
    NONE = "none"
    """Passwords cross the network in clear."""


@dataclass(frozen=True, kw_only=True)
class Ldap:
    """The directory's settings. Names in capitals are the environment variables they come from."""

    servers: tuple[str, ...]
    """`--ldap` or ZHUB_LDAP_SERVERS: host names or addresses, in the order they are asked."""
    port: int = 389
    """ZHUB_LDAP_PORT; by default the registered port of the TLS mode."""
    tls: LdapTls = LdapTls.STARTTLS
    """ZHUB_LDAP_TLS."""
    ca_file: Path | None = None
    """ZHUB_LDAP_CA_FILE: PEM certificates to trust; None for the system's store."""
    dn_templates: tuple[str, ...] = ()
    """ZHUB_LDAP_DN_TEMPLATES: DNs to bind with, with `{username}`; unused when a search finds
    users."""
    bind_dn: str = ""
    """ZHUB_LDAP_BIND_DN: the service account; none when empty."""
    bind_password_file: Path | None = None
    """ZHUB_LDAP_BIND_PASSWORD_FILE: contains only the service account's password."""
    search_base: str = ""
    """ZHUB_LDAP_SEARCH_BASE: DN below which users are searched."""
    name_attributes: tuple[str, ...] = ("uid",)
    """ZHUB_LDAP_NAME_ATTRIBUTES: names that users may type; the first is their name in the hub."""
    user_filter: str = ""
    """ZHUB_LDAP_USER_FILTER: a filter that users' entries must match as well (RFC 4515)."""
    allowed_groups: tuple[str, ...] = ()
    """ZHUB_LDAP_ALLOWED_GROUPS: DNs of the groups whose members may log in."""
    allow_everyone: bool = False
    """ZHUB_LDAP_ALLOW_EVERYONE: whoever can bind may log in."""
    admin_groups: tuple[str, ...] = ()
    """ZHUB_LDAP_ADMIN_GROUPS: DNs of the groups whose members administer the hub."""
    further_groups: tuple[str, ...] = ()
    """DNs of other groups that the stack's settings name: what members get depends on them."""
    group_base: str = ""
    """ZHUB_LDAP_GROUP_BASE: DN below which a user's groups are searched, to become groups of
    JupyterHub; none when empty."""
    nested_groups: bool = False
    """ZHUB_LDAP_NESTED_GROUPS: whether members of a group's groups count, by Active Directory's
    matching rule."""
    recheck: int = 300
    """ZHUB_LDAP_RECHECK: seconds after which the service account checks again whether a user may
    still log in."""

    @property
    def configured_groups(self) -> tuple[str, ...]:
        """All groups that the settings name, each once."""
        return tuple(
            dict.fromkeys((*self.allowed_groups, *self.admin_groups, *self.further_groups))
        )

    def endpoint(self, address: str) -> tuple[str, int]:
        """Return host and port of a server, whose address may contain its own port."""
        host, colon, port = address.rpartition(":")
        # More colons are an IPv6 address.
        return (host, int(port)) if colon and ":" not in host else (address, self.port)

    @property
    def searches(self) -> bool:
        """Whether users are found with the service account before they bind."""
        return bool(self.bind_dn and self.search_base)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are allowed but not advised, a sentence each."""
        found = []
        if self.tls is LdapTls.NONE:
            found.append(
                "PASSWORDS ARE SENT TO THE DIRECTORY IN CLEAR: anybody on the way can read them."
                " Set ZHUB_LDAP_TLS to starttls or ldaps."
            )
        if self.dn_templates == (DEMO_TEMPLATE,):
            found.append(
                f"users log in as {DEMO_TEMPLATE}, which fits demo directories only;"
                " set ZHUB_LDAP_DN_TEMPLATES or ZHUB_LDAP_SEARCH_BASE to where your users are"
            )
        if self.allow_everyone:
            found.append(
                "everyone whose password the directory accepts may log in;"
                " ZHUB_LDAP_ALLOWED_GROUPS would restrict it to members of groups"
            )
        if not self.bind_dn:
            found.append(
                "without a service account (ZHUB_LDAP_BIND_DN) the hub cannot notice that a user"
                " was removed from the directory, so every user's server, tokens and sessions end"
                " a day after the last login"
            )
        return tuple(found)


def balanced(text: str) -> bool:
    """Return whether a text may be a search filter: enclosed in parentheses, all in pairs."""
    depth = 0
    for position, character in enumerate(re.sub(r"\\.", "  ", text)):
        depth += (character == "(") - (character == ")")
        if depth < 0 or (depth == 0 and position < len(text) - 1):
            return False
    return depth == 0 and text.startswith("(")


def _filter(text: str) -> str:
    if text and not balanced(text):
        raise ValueError(text)
    return text


def _attributes(text: str) -> tuple[str, ...]:
    names = parsing.texts(text)
    if not names or not all(map(ATTRIBUTE.fullmatch, names)):
        raise ValueError(text)
    return names


def _dn(text: str) -> str:
    if text and not DN.fullmatch(text):
        raise ValueError(text)
    return text


def _certificates(text: str) -> Path | None:
    path = parsing.file(text)
    if path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except OSError as error:
            raise ValueError(text) from error
    return path


def read(value: Value) -> Ldap:
    """Read the settings of the directory."""
    texts = 'a JSON list of texts, such as ["one", "two"]'
    tls = value("LDAP_TLS", LdapTls.NONE, LdapTls, "starttls, ldaps or none")
    groups = value("LDAP_ALLOWED_GROUPS", "[]", parsing.texts, texts)
    search_base = value("LDAP_SEARCH_BASE", "", _dn, "a DN such as dc=example,dc=org")
    return Ldap(
        servers=value(
            "LDAP_SERVERS",
            "",
            parsing.hosts,
            "one or more host names or addresses, joined by commas",
        ),
        port=value(
            "LDAP_PORT",
            "636" if tls is LdapTls.LDAPS else "389",
            parsing.number(1, 65535),
            "a port number from 1 to 65535",
        ),
        tls=tls,
        ca_file=value("LDAP_CA_FILE", "", _certificates, "the path of a file of PEM certificates"),
        dn_templates=value(
            "LDAP_DN_TEMPLATES",
            json.dumps([] if search_base else [DEMO_TEMPLATE]),
            parsing.templates,
            f"{texts}, each with {{username}} once",
        ),
        bind_dn=value("LDAP_BIND_DN", "", str, "a DN"),
        bind_password_file=value("LDAP_BIND_PASSWORD_FILE", "", parsing.file, "the path of a file"),
        search_base=search_base,
        name_attributes=value(
            "LDAP_NAME_ATTRIBUTES", '["uid"]', _attributes, 'a JSON list such as ["uid", "mail"]'
        ),
        user_filter=value(
            "LDAP_USER_FILTER", "", _filter, "a search filter such as (objectClass=person)"
        ),
        allowed_groups=groups,
        allow_everyone=value(
            "LDAP_ALLOW_EVERYONE", "false" if groups else "true", parsing.boolean, "true or false"
        ),
        admin_groups=value("LDAP_ADMIN_GROUPS", "[]", parsing.texts, texts),
        group_base=value("LDAP_GROUP_BASE", "", _dn, "a DN such as ou=groups,dc=example,dc=org"),
        nested_groups=value("LDAP_NESTED_GROUPS", "false", parsing.boolean, "true or false"),
        recheck=value(
            "LDAP_RECHECK", "300", parsing.number(10, 86400), "seconds, from 10 to 86400"
        ),
    )


def problems(ldap: Ldap) -> list[str]:
    """Return settings that conflict, a sentence each."""
    found = []
    if ldap.allow_everyone == bool(ldap.allowed_groups):
        found.append(
            "exactly one of ZHUB_LDAP_ALLOWED_GROUPS (a JSON list of group DNs)"
            " and ZHUB_LDAP_ALLOW_EVERYONE=true must say who may log in"
        )
    if bool(ldap.bind_dn) != bool(ldap.bind_password_file):
        found.append("ZHUB_LDAP_BIND_DN and ZHUB_LDAP_BIND_PASSWORD_FILE must be set together")
    if ldap.search_base and bool(ldap.bind_dn) == bool(ldap.dn_templates):
        found.append(
            "with ZHUB_LDAP_SEARCH_BASE, exactly one of ZHUB_LDAP_BIND_DN (an account to search"
            " with) and ZHUB_LDAP_DN_TEMPLATES (to search as the user) must be set"
        )
    if not ldap.search_base:
        found += [
            f"{template!r} in ZHUB_LDAP_DN_TEMPLATES is not a DN: set ZHUB_LDAP_SEARCH_BASE to"
            " where users' entries are"
            for template in ldap.dn_templates
            if not DN.fullmatch(template)
        ]
        if ldap.user_filter:
            found.append("ZHUB_LDAP_USER_FILTER has no effect without ZHUB_LDAP_SEARCH_BASE")
    return found
