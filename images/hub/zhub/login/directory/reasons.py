"""Why a server refuses a bind, where it says more than that name or password is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldap3.core import results
from pyasn1.codec.ber import decoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import namedtype, tag, univ

POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"
"""Control that asks what the password policy says: draft-behera-ldap-password-policy-10. Servers
that do not know it ignore it."""

EXPIRED_CONTROL = "2.16.840.1.113730.3.4.4"
"""Control that Netscape's directories and their heirs send unasked: draft-vchu-ldap-pwd-policy."""

_CHANGE = "Change it where you change it for your other accounts, and log in here again."


@dataclass(frozen=True)
class Reason:
    """Why the directory refuses a login."""

    log: str
    page: str = ""
    """What the login page says. Empty for what servers also say after a wrong password: a stranger
    would learn from it that the name exists."""
    advice: str = "this has to be changed in the directory"
    """What helps, for `make doctor`."""


_BY_USER = "the user has to change the password, where the site lets users do that"

EXPIRED = Reason("the password has expired", f"Your password has expired. {_CHANGE}", _BY_USER)
MUST_CHANGE = Reason(
    "the password must be changed first",
    f"You have to change your password first. {_CHANGE}",
    _BY_USER,
)
DISABLED = Reason(
    "the account is disabled",
    "Your account is disabled.",
    "the account has to be enabled again in the directory",
)
INACTIVATED = Reason("the account is disabled", advice=DISABLED.advice)
LOCKED = Reason(
    "the account is locked",
    advice="most locks end by themselves after a while; the directory's administrator can end them",
)

#: The errors of POLICY. Servers do not look at the password of a locked account, and tell the other
#: two only who has the right one.
_POLICY = {0: EXPIRED, 1: LOCKED, 2: MUST_CHANGE}

#: Active Directory's, named in [MS-ERREF] 2.2. It is reported to say all but 775 only to who has
#: the right password.
_ACTIVE_DIRECTORY = {
    "530": Reason("not at this time", "Your account may not log in at this time."),
    "531": Reason("not from this machine", "Your account may not log in from the hub's machine."),
    "532": EXPIRED,
    "533": DISABLED,
    "701": Reason("the account has expired", "Your account has expired."),
    "773": MUST_CHANGE,
    "775": LOCKED,
}
_ACTIVE_DIRECTORY_SAYS = re.compile(r"AcceptSecurityContext error, data ([0-9a-f]+)\b")

#: 389, about accounts with nsAccountLock. It does not look at the password, and says in POLICY that
#: the account is locked.
_INACTIVATED = "Account inactivated"

#: z/OS LDAP, SDBM and native authentication: R000100, R004109. RACF looks at the password first.
_RACF_EXPIRED = re.compile(r"\bR00\d{4} The password has expired")


def reason(result: Mapping[str, Any]) -> Reason | None:
    """Return why a server refuses a bind; None where it accepts it, or does not say why not.

    A bind that succeeds is refused only if the password must be changed first: a server that says
    so lets the user do nothing else.

    Args:
        result: of the bind, as ldap3 has it.
    """
    accepted = result["result"] == results.RESULT_SUCCESS
    controls = result.get("controls") or {}
    said: Reason | None = None
    if POLICY in controls:
        said = _POLICY.get(_error(controls[POLICY]["value"]))
    elif EXPIRED_CONTROL in controls:
        said = MUST_CHANGE if accepted else EXPIRED
    if accepted:
        return said if said is MUST_CHANGE else None
    text = result.get("message") or ""
    if not said and (code := _ACTIVE_DIRECTORY_SAYS.search(text)):
        said = _ACTIVE_DIRECTORY.get(code[1])
    if text.startswith(_INACTIVATED):
        said = INACTIVATED
    return said or (EXPIRED if _RACF_EXPIRED.search(text) else None)


def _tagged(kind: Any, form: int, number: int) -> Any:
    return kind.subtype(implicitTag=tag.Tag(tag.tagClassContext, form, number))


class _Response(univ.Sequence):
    """The value of POLICY. Its warning, how long one may still log in, is not read."""

    componentType = namedtype.NamedTypes(  # noqa: N815 - pyasn1's name
        namedtype.OptionalNamedType("warning", _tagged(univ.Any(), tag.tagFormatConstructed, 0)),
        namedtype.OptionalNamedType("error", _tagged(univ.Enumerated(), tag.tagFormatSimple, 1)),
    )


def _error(value: bytes | None) -> int:
    """Return the error in the value of POLICY; -1 for none."""
    try:
        answer, _ = decoder.decode(value or b"", asn1Spec=_Response())
    except PyAsn1Error:
        return -1
    return int(answer["error"]) if answer["error"].isValue else -1
