"""How a password is written in a bind."""

from __future__ import annotations

from ldap3.core.exceptions import LDAPException
from ldap3.protocol.sasl.sasl import sasl_prep


def spellings(password: str) -> tuple[bytes, ...]:
    """Return a password as typed, and as RFC 4513 (section 5.1.3) wants it, where the two differ.

    Servers compare bytes. Most programs set passwords as they were typed, some prepare them
    (SASLprep, RFC 4013): then ² is 2, and a space that does not break is a space. ASCII, and ä, é
    or ß as keyboards make them, are the same in both.

    Raises:
        ValueError: it is empty, which would be an unauthenticated bind, and servers accept those;
            or it has a character that no password has, such as NUL, where some servers' text ends.
    """
    if not password or "\0" in password:
        raise ValueError("the password is empty, or has a NUL in it")
    try:
        typed = password.encode()
    except UnicodeEncodeError:
        raise ValueError("the password is not text in Unicode") from None
    try:
        prepared: str = sasl_prep(password)  # type: ignore[no-untyped-call]
    except LDAPException:
        # It cannot be prepared (a tab, Hebrew beside Latin letters), or nothing is left of it.
        return (typed,)
    return tuple(dict.fromkeys((typed, prepared.encode())))
