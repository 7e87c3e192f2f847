"""Who somebody is, and whether that person may use the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import ldap3
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from zhub.login.directory.entries import DISABLED, Entry, disabled, same_dn
from zhub.login.directory.groups import GROUPS_OF_USER, all_groups, is_member, listed_groups
from zhub.login.directory.session import LoginRefusedError, Session, one_line
from zhub.settings.ldap import DN, Ldap

#: What the hub takes for a user's name: also what RACF's users type. Whatever has a meaning in a DN
#: or in a search filter is not in it, except for a "#" at the beginning of a DN's value.
NAME = re.compile(r"[A-Za-z0-9@#$][A-Za-z0-9@#$._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody the directory knows."""

    name: str
    """Who it is to the hub, however the name was typed."""
    dn: str
    groups: frozenset[str] = frozenset()
    """Those of the configured groups that the person is in, as they are configured."""
    all_groups: tuple[str, ...] = ()
    """Names of the groups below the configured base that the person is in."""
    listed_groups: tuple[str, ...] = ()
    """Groups that the person's own entry names, configured or not."""


def allowed(ldap: Ldap, person: Person) -> bool:
    """Whether a person may use the hub."""
    return ldap.allow_everyone or not person.groups.isdisjoint(ldap.allowed_groups)


def administers(ldap: Ldap, person: Person) -> bool:
    """Whether a person is in a group of administrators."""
    return not person.groups.isdisjoint(ldap.admin_groups)


class People:
    """Finds people's entries in a session that is bound as who may read them, groups included."""

    def __init__(self, session: Session, ldap: Ldap) -> None:
        self._session = session
        self._ldap = ldap

    def alone(self, entry: Entry, name: str) -> Entry:
        """Return the entry, if no other template leads to somebody else of that name.

        Raises:
            LoginRefusedError: one does, and the hub would take the two for one user.
        """
        for template in self._ldap.dn_templates:
            dn = filled_in(template, name)
            if not DN.fullmatch(dn) or same_dn(dn, entry.dn):
                continue
            other = self.read(dn)
            if other and not same_dn(other.dn, entry.dn):
                raise LoginRefusedError(
                    f"{self._session.address} has several entries of {name!r}:"
                    f" {entry.dn!r} and {other.dn!r}"
                )
        return entry

    def _wanted(self) -> list[str]:
        return [*self._ldap.name_attributes, *GROUPS_OF_USER, *DISABLED]

    def read(self, dn: str) -> Entry | None:
        """Return one entry, as far as who is bound may read it."""
        found = self._session.search(dn, "(objectClass=*)", ldap3.BASE, self._wanted())
        return found[0] if found else None

    def find(self, name: str, attributes: Sequence[str], also: str = "") -> Entry:
        """Return the one entry with this name.

        Raises:
            LoginRefusedError: there is none, or more than one.
        """
        escaped = escape_filter_chars(name)
        any_of = "".join(f"({attribute}={escaped})" for attribute in attributes)
        filter_ = f"(&(|{any_of}{also}){self._ldap.user_filter})"
        found = self._session.search(
            self._ldap.search_base,
            filter_,
            ldap3.SUBTREE,
            self._wanted(),
            # A base that cannot be read would look as if nobody were there any more.
            may_be_missing=False,
        )
        if len(found) != 1:
            raise LoginRefusedError(
                f"{self._session.address} has {'no entry' if not found else 'several entries'}"
                f" below {self._ldap.search_base!r} for {filter_}"
            )
        (entry,) = found
        identity = self._identity(entry)
        if identity.lower() != name.lower():
            # Found by another of the names: nobody else may have this one as identity.
            return self.find(identity, self._ldap.name_attributes[:1])
        return entry

    def _identity(self, entry: Entry) -> str:
        attribute = self._ldap.name_attributes[0]
        values = entry.values(attribute)
        if len(values) != 1:
            raise LoginRefusedError(
                f"{entry.dn!r} has {len(values)} values of {attribute}, which must be one:"
                " it says who somebody is"
            )
        check_name(values[0])
        return values[0]

    def person(self, entry: Entry, name: str | None = None) -> Person:
        """What there is to know of somebody.

        Args:
            entry: of the person.
            name: where it says who the person is, as in a DN template; else the entry does.
        """
        if reason := disabled(entry):
            raise LoginRefusedError(f"{self._session.address}: the account {entry.dn!r}: {reason}")
        name = name or self._identity(entry)
        # posixGroup has names of users, in which case counts.
        spelt = next(
            (
                value
                for value in entry.values(self._ldap.name_attributes[0])
                if value.lower() == name.lower()
            ),
            name,
        )
        groups = dict.fromkeys((*self._ldap.allowed_groups, *self._ldap.admin_groups))
        return Person(
            name=name.lower(),
            dn=entry.dn,
            groups=frozenset(
                group
                for group in groups
                if is_member(self._session, self._ldap, entry, spelt, group)
            ),
            all_groups=all_groups(self._session, self._ldap, entry, spelt),
            listed_groups=listed_groups(entry),
        )


def filled_in(template: str, name: str) -> str:
    """Return what a template makes of a name."""
    return template.format(username=escape_rdn(name) if DN.fullmatch(template) else name)


def check_name(name: str) -> None:
    """Make sure that a name is made like one.

    Raises:
        LoginRefusedError: it is not.
    """
    if not NAME.fullmatch(name):
        raise LoginRefusedError(f"{one_line(name)[:64]!r} is not made like a name")
