"""What an operator can do about what a server of the directory answers."""

from __future__ import annotations

_TLS = "the server takes passwords only over TLS: set ldapTls to starttls or ldaps"

#: By what the answer says: names of results (RFC 4511, appendix A), and a text of 389's.
_ALL = {
    "strongerAuthRequired": _TLS,
    "confidentialityRequired": _TLS,
    "Minimum SSF not met": _TLS,
    "noSuchObject": "the server has no such entry, or does not show it: see ldapSearchBase",
    "referral": (
        "the entry is in another part of the directory: see ldapSearchBase, or set ldapServer to a"
        " server of that part; Active Directory's global catalog, at port 3269, has all domains"
    ),
}


def on(answer: object, otherwise: str = "the log of that server says why") -> str:
    """The advice on an answer, as its error's text has it."""
    return next((text for said, text in _ALL.items() if said in str(answer)), otherwise)
