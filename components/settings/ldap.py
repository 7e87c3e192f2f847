"""The site's directory as a stack's config describes it, and which settings contradict others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pulumi

from components.settings import certificates, parsing
from components.settings import ldap_entries as entries
from components.settings.config import Config
from components.settings.ldap_entries import LdapTls
from components.settings.setting import Setting


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
        found = []
        if isinstance(self.ca_pem, str):
            found += certificates.warnings(parsing.certificates(self.ca_pem.encode()), now)
        if self.tls is LdapTls.NONE:
            whose = " OF USERS AND OF THE SERVICE ACCOUNT" if self.bind_dn else ""
            found.append(
                f"ldapTls is none: PASSWORDS{whose} ARE SENT TO THE DIRECTORY IN CLEAR, and anybody"
                f" on the way can read them; with TLS: {entries.TLS.set_command()}"
            )
        if not self.dn_templates and not self.search_base:
            found.append(
                f"ldapDnTemplates is empty, so everybody logs in as {entries.DN_TEMPLATES.example};"
                " that fits demo directories only"
            )
        if self.allow_everyone:
            found.append(
                "ldapAllowEveryone is true: everybody whose password the directory accepts may log"
                " in; ldapAllowedGroups would restrict that to members of groups"
            )
        if self.allowed_groups and {*map(str.lower, self.allowed_groups)} <= {
            *map(str.lower, self.admin_groups)
        }:
            found.append(
                "ldapAdminGroups holds all of ldapAllowedGroups: whoever may log in administers the"
                " hub: lists users, and starts and stops everybody's server"
            )
        if not self.bind_dn:
            found.append(
                "ldapBindDn is empty, and without a service account nobody notices that a user was"
                " removed from the directory or a group: so everybody's server, tokens and sessions"
                " end a day after their last login"
            )
            if len(self.dn_templates) > 1 and not self.search_base:
                found.append(
                    "ldapDnTemplates has several and ldapBindDn is empty: two people of one name"
                    " in different places may be one user to the hub, who share a server"
                )
        return found


@dataclass(frozen=True)
class Rule:
    """A combination of settings that is refused."""

    when: Mapping[Setting[object] | str, bool]
    """Which settings are set, or on, and which are not; the rest does not matter."""
    about: Setting[object]
    reason: str
    fixes: tuple[str, ...]


#: What rules go by besides single settings.
ACCOUNT = "a service account, or part of one"
IN_CLEAR = "no TLS"

RULES = (
    Rule(
        {entries.SERVER: False},
        entries.SERVER,
        "must be set, or nobody could log in",
        (
            entries.SERVER.set_command(),
            f"or, to try it with demo users: {entries.DEMO_DIRECTORY.set_command('true')}",
        ),
    ),
    Rule(
        {IN_CLEAR: True, entries.CA_FILE: True},
        entries.CA_FILE,
        f"has no use when {entries.TLS} is none",
        (entries.TLS.set_command(),),
    ),
    Rule(
        {entries.ALLOW_EVERYONE: True, entries.ALLOWED_GROUPS: True},
        entries.ALLOWED_GROUPS,
        f"contradicts {entries.ALLOW_EVERYONE}: one of them says who may log in",
        (
            entries.ALLOWED_GROUPS.remove_command(),
            f"or {entries.ALLOW_EVERYONE.remove_command()}",
        ),
    ),
    Rule(
        {entries.ALLOW_EVERYONE: False, entries.ALLOWED_GROUPS: False},
        entries.ALLOWED_GROUPS,
        f"must be set, or else {entries.ALLOW_EVERYONE}: one of them says who may log in",
        (
            entries.ALLOWED_GROUPS.set_command(),
            f"or {entries.ALLOW_EVERYONE.set_command('true')}",
        ),
    ),
    Rule(
        {
            entries.NESTED_GROUPS: True,
            entries.ALLOWED_GROUPS: False,
            entries.ADMIN_GROUPS: False,
            entries.GROUP_BASE: False,
        },
        entries.NESTED_GROUPS,
        f"has no use without {entries.ALLOWED_GROUPS}, {entries.ADMIN_GROUPS} or"
        f" {entries.GROUP_BASE}",
        (entries.NESTED_GROUPS.remove_command(),),
    ),
    *(
        Rule(
            {one: True, other: False},
            other,
            f"must be set when {one} is",
            (
                other.set_command(),
                f"or, to do without a service account: {one.remove_command()}",
            ),
        )
        for one, other in (
            (entries.BIND_DN, entries.BIND_PASSWORD),
            (entries.BIND_PASSWORD, entries.BIND_DN),
        )
    ),
    Rule(
        {entries.RECHECK: True, ACCOUNT: False},
        entries.RECHECK,
        f"has no use without {entries.BIND_DN}, the service account that looks users up",
        (entries.BIND_DN.set_command(), f"or {entries.RECHECK.remove_command()}"),
    ),
    Rule(
        {entries.SEARCH_BASE: True, ACCOUNT: True, entries.DN_TEMPLATES: True},
        entries.DN_TEMPLATES,
        f"has no use when {entries.BIND_DN} finds users below {entries.SEARCH_BASE}",
        (entries.DN_TEMPLATES.remove_command(), f"or {entries.SEARCH_BASE.remove_command()}"),
    ),
    Rule(
        {entries.SEARCH_BASE: True, ACCOUNT: False, entries.DN_TEMPLATES: False},
        entries.SEARCH_BASE,
        f"leaves open who searches: {entries.BIND_DN}, a service account, or the user, by"
        f" {entries.DN_TEMPLATES}",
        (entries.BIND_DN.set_command(), f"or {entries.DN_TEMPLATES.set_command()}"),
    ),
    Rule(
        {entries.SEARCH_BASE: False, ACCOUNT: True, entries.DN_TEMPLATES: False},
        entries.SEARCH_BASE,
        f"must be set, or else {entries.DN_TEMPLATES}, when {entries.BIND_DN} is: one says where"
        " users are",
        (entries.SEARCH_BASE.set_command(), f"or {entries.DN_TEMPLATES.set_command()}"),
    ),
    Rule(
        {entries.SEARCH_BASE: False, entries.USER_FILTER: True},
        entries.USER_FILTER,
        f"has no use without {entries.SEARCH_BASE}",
        (entries.USER_FILTER.remove_command(), f"or {entries.SEARCH_BASE.set_command()}"),
    ),
)


def read(config: Config, now: datetime) -> Ldap | None:
    """Read the settings of the directory; None for the demo directory.

    They are of use only when `config` then has no problems.
    """
    ldap = Ldap(
        servers=config.value(entries.SERVER),
        port=config.value(entries.PORT) or None,
        tls=config.value(entries.TLS),
        ca_pem=config.value(entries.CA_FILE),
        bind_dn=config.value(entries.BIND_DN) or "",
        bind_password=config.value(entries.BIND_PASSWORD),
        search_base=config.value(entries.SEARCH_BASE) or "",
        name_attributes=config.value(entries.NAME_ATTRIBUTES),
        user_filter=config.value(entries.USER_FILTER) or "",
        dn_templates=config.value(entries.DN_TEMPLATES),
        allowed_groups=config.value(entries.ALLOWED_GROUPS),
        allow_everyone=config.value(entries.ALLOW_EVERYONE),
        admin_groups=config.value(entries.ADMIN_GROUPS),
        group_base=config.value(entries.GROUP_BASE) or "",
        nested_groups=config.value(entries.NESTED_GROUPS),
        recheck=config.value(entries.RECHECK),
    )
    demo = config.value(entries.DEMO_DIRECTORY)
    if entries.DEMO_DIRECTORY in config.refused:
        return None
    if demo:
        _check_demo(config)
        return None
    _check(config, ldap)
    if isinstance(ldap.ca_pem, str):
        trusted = parsing.certificates(ldap.ca_pem.encode())
        config.check(entries.CA_FILE, lambda: certificates.check_trusted(trusted, now))
    return ldap


def changes(ldap: Ldap | None, hub: Mapping[str, str] | None) -> list[str]:
    """Return what to know before an `up` after which people have other names in the hub.

    Args:
        ldap: the directory; None for the demo directory, in which they do not change.
        hub: the variables of the stack's hub; None for a stack that has none.
    """
    if ldap is None or not ldap.search_base or not (hub and hub.get("ZHUB_LDAP_SEARCH_BASE")):
        # Found by a template, people are called what they type.
        return []
    first = json.loads(hub.get("ZHUB_LDAP_NAME_ATTRIBUTES") or '["uid"]')[0]
    now = ldap.name_attributes[0]
    if now.lower() == first.lower():
        return []
    others = [one for one in ldap.name_attributes if one.lower() != first.lower()]
    behind = (
        entries.NAME_ATTRIBUTES.set_command(one, item=place)
        for place, one in enumerate((first, *others))
    )
    return [
        (
            f"ldapNameAttributes begins with {first} now and would begin with {now}: everybody"
            " whose two values differ gets another name in the hub, loses the running server and"
            f" begins with an empty home. To let people log in by {now} as well, put it behind"
            f" {first}: {' && '.join(behind)}"
        )
    ]


def _check_demo(config: Config) -> None:
    for setting in config.settings:
        if setting.key.startswith("ldap") and config.is_set(setting):
            config.clash(
                setting,
                f"does not go together with {entries.DEMO_DIRECTORY}, which is a directory of its"
                " own",
                setting.remove_command(),
                f"or, to use your own directory: {entries.DEMO_DIRECTORY.remove_command()}",
            )


def _check(config: Config, ldap: Ldap) -> None:
    facts: dict[Setting[object] | str, bool | None] = {
        setting: config.is_set(setting) for setting in config.settings
    }
    facts |= {
        # Neither on nor off while its value is refused.
        entries.ALLOW_EVERYONE: (
            None if entries.ALLOW_EVERYONE in config.refused else ldap.allow_everyone
        ),
        entries.NESTED_GROUPS: ldap.nested_groups,
        ACCOUNT: config.is_set(entries.BIND_DN) or config.is_set(entries.BIND_PASSWORD),
        IN_CLEAR: ldap.tls is LdapTls.NONE,
    }
    for rule in RULES:
        if all(facts[fact] is state for fact, state in rule.when.items()):
            config.clash(rule.about, rule.reason, *rule.fixes)
    for template in ldap.dn_templates:
        if not facts[entries.SEARCH_BASE] and not parsing.is_dn(template):
            config.clash(
                entries.DN_TEMPLATES,
                f"{json.dumps(template)} is no DN, so {entries.SEARCH_BASE} must say where the"
                " user's entry is",
                entries.SEARCH_BASE.set_command(),
            )
