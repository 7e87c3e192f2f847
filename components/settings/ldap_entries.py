"""Settings of the site's directory, and which values they take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import pulumi

from components.settings import parsing
from components.settings.config import Config
from components.settings.parsing import RefusedError
from components.settings.setting import Setting


class LdapTls(StrEnum):
    """How the connection to the directory is secured."""

    STARTTLS = "starttls"
    """Plain connection, upgraded before the password is sent."""
    LDAPS = "ldaps"
    """TLS from the first byte."""
    NONE = "none"
    """Passwords cross the network in clear."""


def _server(text: str) -> str:
    with_port = re.fullmatch(r"([^:]*):([0-9]+)", text)
    if not with_port:
        return parsing.host(text)
    host, port = with_port.groups()
    return f"{parsing.host(host)}:{parsing.whole_number(1, 65535)(port)}"


def _ca_file(path: str) -> str:
    return parsing.ca_certificates(parsing.content(path))


def _bind_name(text: str) -> str:
    # Active Directory takes user@domain and DOMAIN\user for a DN.
    if not parsing.is_dn(text) and not re.fullmatch(r"[^\s@=,\\]+[@\\][^\s@=,\\]+", text):
        raise RefusedError("neither a DN nor user@domain, as Active Directory takes it")
    return text


def _password(text: str) -> pulumi.Output[str]:
    # RFC 4013, section 2.3: no directory accepts them, and what is pasted may end with a line.
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise RefusedError("holds a line break or another control character", secret=True)
    return pulumi.Output.secret(text)


def _attributes(text: str) -> tuple[str, ...]:
    names = parsing.list_of(parsing.attribute)(text)
    if not names:
        raise RefusedError("names no attribute, so nobody would be found")
    return names


def _filter(text: str) -> str:
    """A search filter (RFC 4515), as far as its parentheses tell."""
    depth = 0
    # Parentheses that are meant as such are written \28 and \29.
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0 or (depth == 0 and position < len(text) - 1):
            break
    else:
        if depth == 0 and text.startswith("(") and text.isprintable():
            return text
    raise RefusedError("not a search filter such as (objectClass=person)")


def _template(text: str) -> str:
    """What becomes a DN, or Active Directory's user@domain, with the user's name filled in."""
    if re.findall(r"\{[^}]*\}?|\}", text) != ["{username}"]:
        raise RefusedError("does not hold {username} exactly once, and no other braces")
    # The hub goes by the first part, too.
    if re.match(r"\s*[A-Za-z][A-Za-z0-9.-]*=", text) and not parsing.is_dn(text):
        raise RefusedError(f"not a DN such as {DN_TEMPLATES.example}")
    return text


SERVER = Setting(
    "ldapServer",
    "",
    (
        "Host name or address of the LDAP server, with :port if it is not ldapPort; several, in"
        " the order they are asked, joined by commas"
    ),
    parsing.commas_of(_server),
    example="ldap.example.com",
)
PORT = Setting(
    "ldapPort",
    0,
    "LDAP port; 0 for 636 with ldaps and 389 otherwise",
    parsing.whole_number(1, 65535, also=0),
)
TLS = Setting(
    "ldapTls",
    "starttls",
    "starttls, ldaps, or none: passwords then cross the network in clear",
    parsing.one_of(LdapTls),
)
CA_FILE = Setting(
    "ldapCaFile",
    "",
    (
        "PEM file with the CA of the LDAP server's certificate; empty to trust the public CAs"
        " and extraCaFile"
    ),
    parsing.or_none(_ca_file),
    example="ldap-ca.pem",
)
BIND_DN = Setting(
    "ldapBindDn",
    "",
    (
        "DN of the service account that finds users and checks whether they may still log in;"
        " empty for none"
    ),
    parsing.or_none(_bind_name),
    example="cn=jupyterhub,ou=services,dc=example,dc=org",
)
BIND_PASSWORD = Setting(
    "ldapBindPassword",
    "",
    "The service account's password; set it with --secret",
    parsing.or_none(_password),
    secret=True,
)
SEARCH_BASE = Setting(
    "ldapSearchBase",
    "",
    "DN below which users are found by a search; empty where ldapDnTemplates says where they are",
    parsing.or_none(parsing.dn),
    example="ou=people,dc=example,dc=org",
)
NAME_ATTRIBUTES = Setting(
    "ldapNameAttributes",
    ("uid",),
    "Attributes that hold what users type; the first is their name in the hub",
    _attributes,
    example="uid",
)
USER_FILTER = Setting(
    "ldapUserFilter",
    "",
    "Search filter that users' entries must match as well, such as (objectClass=person)",
    parsing.or_none(_filter),
    example="(objectClass=person)",
)
DN_TEMPLATES = Setting(
    "ldapDnTemplates",
    (),
    "DNs to log in as, each with {username} where the name goes",
    parsing.list_of(_template),
    example="uid={username},ou=people,dc=example,dc=org",
)
ALLOWED_GROUPS = Setting(
    "ldapAllowedGroups",
    (),
    "DNs of the groups whose members may log in",
    parsing.dns,
    example="cn=jupyter,ou=groups,dc=example,dc=org",
)
ALLOW_EVERYONE = Setting(
    "ldapAllowEveryone",
    False,
    "Let in everyone whose password the directory accepts, instead of ldapAllowedGroups",
    parsing.boolean,
)
ADMIN_GROUPS = Setting(
    "ldapAdminGroups",
    (),
    "DNs of the groups whose members administer the hub, once they may log in",
    parsing.dns,
    example="cn=jupyter-admins,ou=groups,dc=example,dc=org",
)
GROUP_BASE = Setting(
    "ldapGroupBase",
    "",
    "DN below which groups become JupyterHub's groups; empty for none",
    parsing.or_none(parsing.dn),
    example="ou=groups,dc=example,dc=org",
)
NESTED_GROUPS = Setting(
    "ldapNestedGroups",
    False,
    "Whether members of a group's groups count as its members; with Active Directory only",
    parsing.boolean,
)
RECHECK = Setting(
    "ldapRecheck",
    300,
    "Seconds after which the service account checks again whether a user may still log in",
    parsing.whole_number(10, 86400),
)
DEMO_DIRECTORY = Setting(
    "demoDirectory",
    False,
    "Run a small LDAP directory with demo users, instead of ldapServer",
    parsing.boolean,
)


def refuse_groups(config: Config, setting: Setting[object], groups: Mapping[str, object]) -> None:
    """Refuse what only members of groups get, as in a stack without a service account.

    Args:
        config: of the stack.
        setting: that names the groups.
        groups: of each of its elements, by name and in order; empty where all users get it.
    """
    for number, (name, names) in enumerate(groups.items()):
        if names:
            config.clash(
                setting,
                f"has {name} for members of groups, and without a service account nobody would"
                " notice that somebody has left a group",
                BIND_DN.set_command(),
                f"or {setting.remove_command(item=number)}",
            )
            return
