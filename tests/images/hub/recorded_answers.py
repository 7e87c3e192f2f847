"""How real servers answered binds, word for word: Samba 4.17.12 and 389 Directory Server 2.3.1.

Debian 12's. The long tests compare them with what the servers of today say.
"""

from __future__ import annotations

from typing import NamedTuple

from zhub.login.directory.reasons import EXPIRED_CONTROL, POLICY


class Answer(NamedTuple):
    """The answer to a bind: result, text, and controls by their numbers."""

    code: int
    text: str = ""
    controls: tuple[tuple[str, bytes], ...] = ()


def _samba(code: str) -> Answer:
    start = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error"
    return Answer(49, f"{start}, data {code}, v1db1")


def _policy(value: bytes, *, expired: bool = False) -> tuple[tuple[str, bytes], ...]:
    older = ((EXPIRED_CONTROL, b"0"),) if expired else ()
    return ((POLICY, value), *older)


SAMBA_WRONG = _samba("52e")
"""Also where there is nobody of that name."""

SAMBA = {
    "expired": _samba("701"),
    "disabled": _samba("533"),
    "reset": _samba("773"),
    "night": _samba("530"),
    "station": _samba("531"),
    "locked": _samba("775"),
    "old": _samba("532"),
}
"""Samba's to the right password, by what the account of the test is called."""

DS389_WRONG = Answer(49)

DS389 = {
    "inactive": Answer(
        53,
        "Account inactivated. Contact system administrator.",
        _policy(b"0\x84\x00\x00\x00\x03\x81\x01\x01"),
    ),
    "locked": Answer(
        19,
        "Exceed password retry limit. Please try later.",
        _policy(b"0\x84\x00\x00\x00\x03\x81\x01\x01"),
    ),
    "old": Answer(
        49, "password expired!", _policy(b"0\x84\x00\x00\x00\x03\x81\x01\x00", expired=True)
    ),
    "reset": Answer(
        0,
        "",
        _policy(
            b"0\x84\x00\x00\x00\x0c\xa0\x84\x00\x00\x00\x03\x80\x01\x00\x81\x01\x02",
            expired=True,
        ),
    ),
    "grace": Answer(
        0,
        "",
        _policy(b"0\x84\x00\x00\x00\t\xa0\x84\x00\x00\x00\x03\x81\x01\x01", expired=True),
    ),
}
"""389's to the right password."""

SAME_AFTER_WRONG = {"inactive", "locked"}
"""Accounts about which 389 says the same after a wrong password. Samba does so of the latter."""
