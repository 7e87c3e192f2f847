"""Which groups a user is in, in all the ways in which directories store it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ldap3
from ldap3.core import results
from ldap3.utils.conv import escape_bytes, escape_filter_chars

from zhub.login.directory.entries import Entry, same_dn
from zhub.login.directory.session import NOTHING, Session, UnknownRuleError
from zhub.settings.ldap import Ldap

#: Attributes of a user's own entry that name the user's groups: most directories, 389, RACF (SDBM).
GROUPS_OF_USER = ("memberof", "ismemberof", "racfconnectgroupname")

#: Attribute of a posixAccount (RFC 2307): the number of its primary group, which does not list it.
PRIMARY_GROUP = "gidnumber"

#: Attributes of Active Directory's users: the number of the primary group, which does not list them
#: either, and the SID. The group's SID is the user's with that number at its end.
PRIMARY_GROUP_AD, SID = "primarygroupid", "objectsid"

#: [MS-ADTS] 3.1.1.3.4.4.3: the matching rule for members of nested groups.
IN_CHAIN = "1.2.840.113556.1.4.1941"

#: Results when there is no such group. One DN that is none, as with a plus in a name that is not
#: escaped, must not keep everybody out.
NO_GROUP = NOTHING | {results.RESULT_INVALID_DN_SYNTAX}


def memberships(session: Session, ldap: Ldap, entry: Entry, name: str) -> tuple[str, ...]:
    """Return filters for the groups a user is in; the first that the server understands counts.

    One filter for all kinds of groups, so that no kind costs a search of its own:
    groupOf(Unique)Names, posixGroup, Active Directory's.

    Args:
        session: bound as an account that may read groups.
        ldap: the directory's settings.
        entry: the user's.
        name: the user's, as a posixGroup lists it.
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
    primary = primary_sid(entry)
    if primary:
        parts.append(f"(objectSid={escape_bytes(primary)})")
    direct = f"(|{''.join(parts)})"
    if not ldap.nested_groups:
        return (direct,)
    parts.append(f"(member:{IN_CHAIN}:={dn})")
    if primary:
        # The rule leaves the primary group out, and so the groups that it is in.
        group = session.search(
            f"<SID={primary.hex()}>",  # [MS-ADTS] 3.1.1.3.1.2.4: an entry by its SID
            "(objectClass=*)",
            ldap3.BASE,
            ["1.1"],
            step="search for the primary group",
        )
        parts += [f"(member:{IN_CHAIN}:={escape_filter_chars(found.dn)})" for found in group]
    return (f"(|{''.join(parts)})", direct)


def primary_sid(entry: Entry) -> bytes:
    """Return the SID of the primary group in Active Directory; empty where there is none.

    [MS-DTYP] 2.4.2.2: the last four bytes of a SID are its last number, the lowest byte first.
    """
    for own, number in zip(entry.values(SID)[:1], entry.values(PRIMARY_GROUP_AD), strict=False):
        if number.isascii() and number.isdecimal() and int(number) < 1 << 32:
            return bytes.fromhex(own)[:-4] + int(number).to_bytes(4, "little")
    return b""


def is_member(
    session: Session, ldap: Ldap, entry: Entry, filters: Sequence[str], group: str
) -> bool:
    """Return whether a user is in a group, by the user's entry or by the group's.

    Args:
        session: as for `memberships`.
        ldap: the same.
        entry: the same.
        filters: what `memberships` returns.
        group: DN of the group.
    """
    if any(same_dn(group, listed) for listed in listed_groups(entry)):
        return True
    step = "search for groups"
    if _search(session, filters, group, ldap3.BASE, ["1.1"], step=step, nothing=NO_GROUP):
        return True
    in_chain = f"(memberOf:{IN_CHAIN}:={escape_filter_chars(group)})"
    nested = [in_chain] if ldap.nested_groups else []
    step = "search for nested groups"
    return bool(_search(session, nested, entry.dn, ldap3.BASE, ["1.1"], step=step))


def listed_groups(entry: Entry) -> tuple[str, ...]:
    """Return the groups that an entry names, as written there."""
    return tuple(value for attribute in GROUPS_OF_USER for value in entry.values(attribute))


def all_groups(session: Session, ldap: Ldap, filters: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the groups below the configured base that a user is in."""
    if not ldap.group_base:
        return ()
    step = "search for all groups"
    base, scope = ldap.group_base, ldap3.SUBTREE
    found = _search(session, filters, base, scope, ["cn"], step=step, limit=0)
    return tuple(sorted({cn for group in found for cn in group.values("cn")[:1]}))


def _search(
    session: Session, filters: Sequence[str], base: str, scope: Any, wanted: list[str], **more: Any
) -> list[Entry]:
    """Return what the first filter finds that the server understands."""
    for filter_ in filters:
        try:
            return session.search(base, filter_, scope, wanted, **more)
        except UnknownRuleError:
            continue
    return []


def exists(session: Session, group: str) -> bool:
    """Return whether the bound account finds a group."""
    return bool(session.search(group, "(objectClass=*)", ldap3.BASE, ["1.1"], nothing=NO_GROUP))


def refuses_nested(session: Session, group: str) -> bool:
    """Return whether the server says that it does not know the rule for nested groups."""
    in_chain = f"(member:{IN_CHAIN}:={escape_filter_chars(group)})"
    try:
        session.search(group, in_chain, ldap3.BASE, ["1.1"], nothing=NO_GROUP)
    except UnknownRuleError:
        return True
    return False
