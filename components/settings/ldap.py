"""The site's directory as a stack's config describes it: what is told, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import pulumi

from components.settings import certificates, parsing
from components.settings.config import Config, remove_command, set_command
from components.settings.parsing import RefusedError

KEYS = (
    "ldapServer",
    "ldapPort",
    "ldapTls",
    "ldapCaFile",
    "ldapBindDn",
    "ldapBindPassword",
    "ldapSearchBase",
    "ldapNameAttributes",
    "ldapUserFilter",
    "ldapDnTemplates",
    "ldapAllowedGroups",
    "ldapAllowEveryone",
    "ldapAdminGroups",
    "ldapGroupBase",
    "ldapNestedGroups",
    "ldapRecheck",
)

#: What a command that mends a setting shows where the default would not do.
EXAMPLES = {
    "ldapAdminGroups": "cn=jupyter-admins,ou=groups,dc=example,dc=org",
    "ldapAllowedGroups": "cn=jupyter,ou=groups,dc=example,dc=org",
    "ldapBindDn": "cn=jupyterhub,ou=services,dc=example,dc=org",
    "ldapCaFile": "ldap-ca.pem",
    "ldapDnTemplates": "uid={username},ou=people,dc=example,dc=org",
    "ldapGroupBase": "ou=groups,dc=example,dc=org",
    "ldapNameAttributes": "uid",
    "ldapSearchBase": "ou=people,dc=example,dc=org",
    "ldapServer": "ldap.example.com",
    "ldapUserFilter": "(objectClass=person)",
}


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
    """The directory that knows the users and their passwords."""

    servers: tuple[str, ...]
    """In the order they are asked; each may have a port of its own behind a colon."""
    port: int | None = None
    """None for the one registered for the TLS mode."""
    tls: LdapTls
    ca_pem: pulumi.Input[str] | None = None
    """Certificates to trust; None for those the hub's image trusts."""
    network: pulumi.Input[str] | None = None
    """Docker network to reach it in; None for the engine's own way out."""

    bind_dn: str = ""
    """The service account; empty for none."""
    bind_password: pulumi.Output[str] | None = field(default=None, repr=False)
    """The service account's, a secret to Pulumi."""
    search_base: str = ""
    """DN below which users are found; empty to find them by the templates alone."""
    name_attributes: tuple[str, ...] = ("uid",)
    """What users may type; the first is who they are to the hub."""
    user_filter: str = ""
    """What a user's entry must match besides; empty for nothing."""
    dn_templates: tuple[str, ...] = ()
    """DNs to log in as, with `{username}`; none for the hub's own default."""

    allowed_groups: tuple[str, ...] = ()
    """DNs of the groups whose members are let in."""
    allow_everyone: bool = False
    """Whether all are let in whose password is right."""
    admin_groups: tuple[str, ...] = ()
    """DNs of the groups whose members administer the hub."""
    group_base: str = ""
    """DN below which groups are found that become JupyterHub's; empty for none."""
    nested_groups: bool = False
    """Whether members of a group's groups count."""
    recheck: int = 300
    """Seconds after which the service account looks again whether a user is still let in."""

    def warnings(self, now: datetime) -> list[str]:
        """What is allowed but not advised, a sentence each."""
        told = []
        if isinstance(self.ca_pem, str):
            told += certificates.warnings(parsing.certificates(self.ca_pem.encode()), now)
        if self.tls is LdapTls.NONE:
            whose = " OF USERS AND OF THE SERVICE ACCOUNT" if self.bind_dn else ""
            told.append(
                f"ldapTls is none: PASSWORDS{whose} ARE SENT TO THE DIRECTORY IN CLEAR, and anybody"
                " on the way can read them"
            )
        if not self.dn_templates and not self.search_base:
            told.append(
                f"ldapDnTemplates is empty, so everybody logs in as {EXAMPLES['ldapDnTemplates']};"
                " that fits demo directories only"
            )
        if self.allow_everyone:
            told.append(
                "ldapAllowEveryone is true: everybody whose password the directory accepts may log"
                " in; ldapAllowedGroups would restrict that to members of groups"
            )
        if self.allowed_groups and {*map(str.lower, self.allowed_groups)} <= {
            *map(str.lower, self.admin_groups)
        }:
            told.append(
                "ldapAdminGroups holds all of ldapAllowedGroups: whoever may log in administers the"
                " hub, and may open everybody's server"
            )
        if not self.bind_dn:
            told.append(
                "ldapBindDn is empty, and without a service account nobody notices that a user was"
                " removed from the directory or a group: so everybody's server, tokens and sessions"
                " end a day after their last login"
            )
            if len(self.dn_templates) > 1 and not self.search_base:
                told.append(
                    "ldapDnTemplates has several and ldapBindDn is empty: two people of one name"
                    " in different places may be one user to the hub, who share a server"
                )
        return told


def read(config: Config, now: datetime) -> Ldap | None:
    """Read the settings of the directory; None for the demo directory.

    They are of use only when `config` then has no problems.
    """
    ldap = Ldap(
        servers=config.value("ldapServer", parsing.commas_of(_server)),
        port=config.value("ldapPort", parsing.whole_number(1, 65535, also=0)) or None,
        tls=config.value("ldapTls", parsing.one_of(LdapTls)),
        ca_pem=config.value("ldapCaFile", parsing.or_none(_ca_file(now))),
        bind_dn=config.value("ldapBindDn", parsing.or_none(_bind_name)) or "",
        bind_password=config.value("ldapBindPassword", parsing.or_none(_password)),
        search_base=config.value("ldapSearchBase", parsing.or_none(parsing.dn)) or "",
        name_attributes=config.value("ldapNameAttributes", _attributes),
        user_filter=config.value("ldapUserFilter", parsing.or_none(_filter)) or "",
        dn_templates=config.value("ldapDnTemplates", parsing.list_of(_template)),
        allowed_groups=config.value("ldapAllowedGroups", parsing.list_of(parsing.dn)),
        allow_everyone=config.value("ldapAllowEveryone", parsing.boolean),
        admin_groups=config.value("ldapAdminGroups", parsing.list_of(parsing.dn)),
        group_base=config.value("ldapGroupBase", parsing.or_none(parsing.dn)) or "",
        nested_groups=config.value("ldapNestedGroups", parsing.boolean),
        recheck=config.value("ldapRecheck", parsing.whole_number(10, 86400)),
    )
    demo = config.value("demoDirectory", parsing.boolean)
    if "demoDirectory" in config.refused:
        return None
    if demo:
        for key in filter(config.is_set, KEYS):
            config.clash(
                key,
                "does not go together with demoDirectory, which is a directory of its own",
                remove_command(key),
                f"or, to use your own directory: {remove_command('demoDirectory')}",
            )
        return None
    _check_server(config, ldap)
    _check_who(config, ldap)
    _check_account(config)
    _check_search(config, ldap)
    return ldap


def _check_server(config: Config, ldap: Ldap) -> None:
    if not config.is_set("ldapServer"):
        config.clash(
            "ldapServer",
            "must be set, or nobody could log in",
            config.set_command("ldapServer"),
            f"or, to try it with demo users: {set_command('demoDirectory', 'true')}",
        )
    if ldap.tls is LdapTls.NONE and config.is_set("ldapCaFile"):
        config.clash("ldapCaFile", "has no use when ldapTls is none", config.set_command("ldapTls"))


def _check_who(config: Config, ldap: Ldap) -> None:
    """Refuse what lets in nobody or everybody by accident."""
    groups, everyone = "ldapAllowedGroups", "ldapAllowEveryone"
    if everyone not in config.refused and config.is_set(groups) == ldap.allow_everyone:
        if ldap.allow_everyone:
            reason = f"contradicts {everyone}: one of them says who may log in"
            mend, other = remove_command(groups), remove_command(everyone)
        else:
            reason = f"must be set, or else {everyone}: one of them says who may log in"
            mend, other = config.set_command(groups), set_command(everyone, "true")
        config.clash(groups, reason, mend, f"or {other}")
    if ldap.nested_groups and not any(
        map(config.is_set, (groups, "ldapAdminGroups", "ldapGroupBase"))
    ):
        config.clash(
            "ldapNestedGroups",
            f"has no use without {groups}, ldapAdminGroups or ldapGroupBase",
            remove_command("ldapNestedGroups"),
        )


def _check_account(config: Config) -> None:
    account, password = "ldapBindDn", "ldapBindPassword"
    for key, other in ((account, password), (password, account)):
        if config.is_set(key) and not config.is_set(other):
            config.clash(
                other,
                f"must be set when {key} is",
                config.set_command(other),
                f"or, to do without a service account: {remove_command(key)}",
            )
    if config.is_set("ldapRecheck") and not _has_account(config):
        config.clash(
            "ldapRecheck",
            f"has no use without {account}, the service account that looks users up",
            config.set_command(account),
            f"or {remove_command('ldapRecheck')}",
        )


def _check_search(config: Config, ldap: Ldap) -> None:
    """Refuse what leaves open where users are, or says it twice."""
    base, templates, account = "ldapSearchBase", "ldapDnTemplates", "ldapBindDn"
    if config.is_set(base):
        if _has_account(config) and config.is_set(templates):
            config.clash(
                templates,
                f"has no use when {account} finds users below {base}",
                remove_command(templates),
                f"or {remove_command(base)}",
            )
        if not _has_account(config) and not config.is_set(templates):
            config.clash(
                base,
                f"leaves open who searches: {account}, a service account, or the user, by"
                f" {templates}",
                config.set_command(account),
                f"or {config.set_command(templates)}",
            )
        return
    if _has_account(config) and not config.is_set(templates):
        config.clash(
            base,
            f"must be set, or else {templates}, when {account} is: one says where users are",
            config.set_command(base),
            f"or {config.set_command(templates)}",
        )
    for template in ldap.dn_templates:
        if not parsing.is_dn(template):
            config.clash(
                templates,
                f"{json.dumps(template)} is no DN, so {base} must say where the user's entry is",
                config.set_command(base),
            )
    if config.is_set("ldapUserFilter"):
        config.clash(
            "ldapUserFilter",
            f"has no use without {base}",
            remove_command("ldapUserFilter"),
            f"or {config.set_command(base)}",
        )


def _has_account(config: Config) -> bool:
    return config.is_set("ldapBindDn") or config.is_set("ldapBindPassword")


def _server(text: str) -> str:
    with_port = re.fullmatch(r"([^:]*):([0-9]+)", text)
    if not with_port:
        return parsing.host(text)
    host, port = with_port.groups()
    return f"{parsing.host(host)}:{parsing.whole_number(1, 65535)(port)}"


def _ca_file(now: datetime) -> Callable[[str], str]:
    def parse(path: str) -> str:
        pem = parsing.content(path)
        certificates.check_trusted(parsing.certificates(pem), now)
        return parsing.ca_certificates(pem)

    return parse


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
        raise RefusedError(f"not a DN such as {EXAMPLES['ldapDnTemplates']}")
    return text
