"""Finds a user's entry, and decides whether the user may use the hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import ldap3
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from zhub.contract import USER_NAME
from zhub.login.directory import reasons
from zhub.login.directory.entries import DISABLED, IDENTITY, Entry, disabled, identities, same_dn
from zhub.login.directory.groups import (
    GROUPS_OF_USER,
    PRIMARY_GROUP,
    PRIMARY_GROUP_AD,
    SID,
    all_groups,
    is_member,
    listed_groups,
    memberships,
)
from zhub.login.directory.session import (
    NOTHING,
    LoginRefusedError,
    Session,
    UnclearNameError,
    one_line,
)
from zhub.settings.ldap import DN, Ldap

#: User names that the hub accepts, including RACF's. They have no character with a meaning in a DN
#: or in a search filter, except for a "#", which has one at the beginning of a DN's value. In lower
#: case, they are all that the guard takes for names of users.
NAME = re.compile(USER_NAME.pattern, re.ASCII | re.IGNORECASE)

#: Mail addresses that a search finds people by. What is before the "@" may have an apostrophe or a
#: plus, which have no meaning in a filter. ASCII only: directories take many characters of Unicode
#: for one, and guesses of one user's password would count as those of many.
MAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._'+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the directory."""

    name: str
    """Name of the user in the hub, however it was typed at login."""
    dn: str
    groups: frozenset[str] = frozenset()
    """The configured groups that the person is in, as written in the settings."""
    all_groups: tuple[str, ...] = ()
    """Names of the groups below the configured base that the person is in."""
    listed_groups: tuple[str, ...] = ()
    """Groups that the person's own entry names, configured or not."""
    identities: frozenset[str] = frozenset()
    """What tells the person from everyone else who ever had the name; empty if not shown."""


def allowed(ldap: Ldap, person: Person) -> bool:
    """Return whether a person may use the hub."""
    return ldap.allow_everyone or not person.groups.isdisjoint(ldap.allowed_groups)


def administers(ldap: Ldap, person: Person) -> bool:
    """Return whether a person is in a group of administrators."""
    return not person.groups.isdisjoint(ldap.admin_groups)


class People:
    """Finds users' entries and groups, in a session bound as an account that may read them."""

    def __init__(self, session: Session, ldap: Ldap) -> None:
        self._session = session
        self._ldap = ldap

    def alone(self, entry: Entry, name: str) -> Entry:
        """Return the entry, if no other template finds another person of that name.

        Raises:
            LoginRefusedError: one does: the hub would treat the two as one user.
        """
        for template in self._ldap.dn_templates:
            dn = filled_in(template, name)
            if not DN.fullmatch(dn) or same_dn(dn, entry.dn):
                continue
            other = self.read(dn)
            if other and not same_dn(other.dn, entry.dn):
                raise UnclearNameError(
                    f"{self._session.address} has several entries for {name!r}:"
                    f" {entry.dn!r} and {other.dn!r}"
                )
        return entry

    def _wanted(self) -> list[str]:
        primary = (PRIMARY_GROUP, PRIMARY_GROUP_AD, SID)
        return [*self._ldap.name_attributes, *GROUPS_OF_USER, *primary, *DISABLED, *IDENTITY]

    def read(self, dn: str, nothing: Collection[int] = NOTHING) -> Entry | None:
        """Return one entry, with the attributes that the bound account may read.

        Args:
            dn: its DN.
            nothing: results for which there is none.
        """
        wanted = self._wanted()
        found = self._session.search(dn, "(objectClass=*)", ldap3.BASE, wanted, nothing=nothing)
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
            # Otherwise a base that cannot be read would look as if all users had been removed.
            nothing=(),
        )
        if len(found) != 1:
            refusal = UnclearNameError if found else LoginRefusedError
            raise refusal(
                f"{self._session.address} has {'several entries' if found else 'no entry'}"
                f" below {self._ldap.search_base!r} for {filter_}"
            )
        (entry,) = found
        identity = self._identity(entry)
        if identity.lower() != name.lower():
            # Found by another of the user's names: no other entry may have this identity.
            return self.find(identity, self._ldap.name_attributes[:1])
        return entry

    def _identity(self, entry: Entry) -> str:
        attribute = self._ldap.name_attributes[0]
        values = entry.values(attribute)
        if len(values) != 1:
            raise UnclearNameError(
                f"{entry.dn!r} has {len(values)} values of {attribute}, but must have exactly one:"
                " it is the user's name in the hub"
            )
        check_name(values[0])
        return values[0]

    def enabled(self, entry: Entry) -> Entry:
        """Return an entry if it does not say that its account is disabled.

        At a login, ask after the bind: only who has the right password is told.

        Raises:
            LoginRefusedError: it does.
        """
        if found := disabled(entry):
            raise LoginRefusedError(
                f"{self._session.address}: the account {entry.dn!r}: {found}", reasons.DISABLED
            )
        return entry

    def person(self, entry: Entry, name: str | None = None) -> Person:
        """Return the person of an entry, with groups.

        Args:
            entry: of the person.
            name: the person's name in the hub, when it comes from a DN template; None to take it
                from the entry.

        Raises:
            LoginRefusedError: the entry has no usable name.
        """
        name = name or self._identity(entry)
        # posixGroup lists names of users, which are case-sensitive.
        spelt = next(
            (
                value
                for value in entry.values(self._ldap.name_attributes[0])
                if value.lower() == name.lower()
            ),
            name,
        )
        filters = memberships(self._session, self._ldap, entry, spelt)
        return Person(
            name=name.lower(),
            dn=entry.dn,
            groups=frozenset(
                group
                for group in self._ldap.configured_groups
                if is_member(self._session, self._ldap, entry, filters, group)
            ),
            all_groups=all_groups(self._session, self._ldap, filters),
            listed_groups=listed_groups(entry),
            identities=identities(entry),
        )


def filled_in(template: str, name: str) -> str:
    """Return a template with the name filled in, escaped if the template is a DN."""
    return template.format(username=escape_rdn(name) if DN.fullmatch(template) else name)


def may_be_typed(ldap: Ldap, name: str) -> bool:
    """Return whether the directory may be asked about a name that was typed at login."""
    return bool(NAME.fullmatch(name) or (ldap.searches and MAIL.fullmatch(name)))


def check_name(name: str) -> None:
    """Make sure that a name matches NAME, as every user's name in the hub does.

    Raises:
        LoginRefusedError: it does not.
    """
    if not NAME.fullmatch(name):
        raise no_name(name)


def no_name(name: str) -> LoginRefusedError:
    """Return the error for something that is no user name."""
    return LoginRefusedError(f"{one_line(name)[:64]!r} is not a valid user name")
