"""One bind, as the hub sends it, and all that the server answers."""

from __future__ import annotations

import ldap3
from zhub.login.directory.reasons import POLICY

from tests.images.hub.recorded_answers import Answer


def answer(host: ldap3.Server, dn: str, password: str) -> Answer:
    """Bind, and return what the server said."""
    connection = ldap3.Connection(host, dn, password, auto_referrals=False)
    connection.bind(controls=[(POLICY, False, None)])
    result = connection.result
    connection.unbind()
    controls = result.get("controls") or {}
    values = ((oid, control["value"]) for oid, control in sorted(controls.items()))
    return Answer(result["result"], result["message"], tuple(values))
