"""Which groups a user is in, in all the ways in which directories store it."""

from __future__ import annotations

import ldap3
from ldap3.utils.conv import escape_filter_chars

from zhub.login.directory.entries import Entry, same_dn
from zhub.login.directory.session import Session
from zhub.settings.ldap import Ldap

#: Attributes of a user's own entry that name the user's groups: most directories, 389, RACF (SDBM).
GROUPS_OF_USER = ("memberof", "ismemberof", "racfconnectgroupname")

#: Attribute of a posixAccount (RFC 2307): the number of its primary group, which does not list it.
PRIMARY_GROUP = "gidnumber"

#: [MS-ADTS] 3.1.1.3.4.4.3: the matching rule for members of nested groups.
IN_CHAIN = "1.2.840.113556.1.4.1941"


def is_member(session: Session, ldap: Ldap, entry: Entry, name: str, group: str) -> bool:
    """Return whether a user is in a group, by the user's entry or by the group's."""
    if any(same_dn(group, listed) for listed in listed_groups(entry)):
        return True
    found = session.search(
        group, _members(ldap, entry, name), ldap3.BASE, ["1.1"], step="search for groups"
    )
    if not found and ldap.nested_groups:
        found = session.search(
            entry.dn,
            f"(memberOf:{IN_CHAIN}:={escape_filter_chars(group)})",
            ldap3.BASE,
            ["1.1"],
            step="search for nested groups",
        )
    return bool(found)


def listed_groups(entry: Entry) -> tuple[str, ...]:
    """Return the groups that an entry names, as written there."""
    return tuple(value for attribute in GROUPS_OF_USER for value in entry.values(attribute))


def all_groups(session: Session, ldap: Ldap, entry: Entry, name: str) -> tuple[str, ...]:
    """Return the names of the groups below the configured base that a user is in."""
    if not ldap.group_base:
        return ()
    found = session.search(
        ldap.group_base,
        _members(ldap, entry, name),
        ldap3.SUBTREE,
        ["cn"],
        step="search for all groups",
        limit=0,
    )
    return tuple(sorted({cn for group in found for cn in group.values("cn")[:1]}))


def exists(session: Session, group: str) -> bool:
    """Return whether the bound account finds a group."""
    return bool(session.search(group, "(objectClass=*)", ldap3.BASE, ["1.1"]))


def _members(ldap: Ldap, entry: Entry, name: str) -> str:
    """Return the filter of the groups a user is in: groupOf(Unique)Names, posixGroup.

    One filter for all kinds, so that no kind costs a search of its own.
    """
    dn = escape_filter_chars(entry.dn)
    parts = [
        f"(member={dn})",
        f"(uniqueMember={dn})",
        f"(memberUid={escape_filter_chars(name)})",
    ]
    parts += [
        f"(&(objectClass=posixGroup)(gidNumber={number}))"
        for number in entry.values(PRIMARY_GROUP)[:1]
        if number.isascii() and number.isdecimal()
    ]
    if ldap.nested_groups:
        parts.append(f"(member:{IN_CHAIN}:={dn})")
    return f"(|{''.join(parts)})"
