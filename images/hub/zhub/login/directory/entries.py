"""Entries as the directory returns them, and how DNs compare; nothing here talks to a server."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from ldap3.core.exceptions import LDAPException
from ldap3.utils.dn import parse_dn

#: Attributes that say whether an account is disabled: Active Directory, 389, OpenLDAP's ppolicy,
#: IBM's directories, RACF.
DISABLED = (
    "useraccountcontrol",
    "accountexpires",
    "nsaccountlock",
    "pwdaccountlockedtime",
    "ibm-pwdaccountlocked",
    "racfattributes",
)


#: Attributes with an identifier that no other entry ever gets: RFC 4530, 389, Active Directory,
#: FreeIPA, IBM's directories.
IDENTITY = ("entryuuid", "nsuniqueid", "objectguid", "ipauniqueid", "ibm-entryuuid")


@dataclass(frozen=True)
class Entry:
    """An entry as the directory returned it; names of attributes in lower case."""

    dn: str
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def values(self, attribute: str) -> Sequence[str]:
        return self.attributes.get(attribute.lower(), ())


def identities(entry: Entry) -> frozenset[str]:
    """Return all that tells an entry from every other, each as `attribute:value`.

    All, because entries of one directory may show different ones: in 389, entries from before its
    plugin for entryUUID have only an nsUniqueId.
    """
    return frozenset(
        f"{attribute}:{value.lower()}"
        for attribute in IDENTITY
        for value in entry.values(attribute)
    )


def same_dn(one: str, other: str) -> bool:
    """Return whether two DNs name the same entry, whatever their case, spaces and escapes."""
    return _comparable(one) == _comparable(other)


# Each group of a person is compared with each that the settings name. To take DNs apart each time
# would be a second of each look-up where there are hundreds of the one and a hundred of the other.
@lru_cache(maxsize=8192)
def _comparable(dn: str) -> tuple[tuple[str, str], ...]:
    try:
        parts = parse_dn(dn, strip=True)
    except LDAPException:
        return (("", dn),)
    return tuple((attribute.lower(), _unescaped(value)) for attribute, value, _ in parts)


def _unescaped(value: str) -> str:
    plain = re.sub(
        rb"\\([0-9A-Fa-f]{2}|.)",
        lambda match: bytes.fromhex(match[1].decode()) if len(match[1]) == 2 else match[1],
        value.encode(),
    )
    return " ".join(plain.decode(errors="replace").casefold().split())


def disabled(entry: Entry) -> str | None:
    """Return why an account is disabled, according to its entry; None when it is not.

    A lock that ends by itself does not count: any stranger can cause it with wrong passwords.
    """
    for value in entry.values("userAccountControl"):
        # [MS-ADTS] 2.2.16, ADS_UF_ACCOUNTDISABLE
        if value.isdigit() and int(value) & 0x2:
            return f"userAccountControl is {value}"
    for value in filter(str.isdigit, entry.values("accountExpires")):
        # [MS-ADTS] 2.3: units of 100 ns since 1601; 0 and the largest number mean never.
        ends = datetime(1601, 1, 1, tzinfo=UTC).timestamp() + int(value) / 1e7
        if 0 < int(value) < 0x7FFFFFFFFFFFFFFF and ends < time.time():
            return f"accountExpires is {value}"
    for attribute, final in (
        ("nsAccountLock", "TRUE"),
        # draft-behera-ldap-password-policy-10, section 5.3.3: locked permanently.
        ("pwdAccountLockedTime", "000001010000Z"),
        # Set by an administrator; wrong passwords set pwdAccountLockedTime.
        ("ibm-pwdAccountLocked", "TRUE"),
        ("racfAttributes", "REVOKED"),
    ):
        if final in (value.upper() for value in entry.values(attribute)):
            return f"{attribute} is {final}"
    return None
