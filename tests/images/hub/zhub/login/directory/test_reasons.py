"""What servers say about a bind. How OpenLDAP says it is in test_people.py, with a real one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zhub.login.directory.reasons import (
    DISABLED,
    EXPIRED,
    EXPIRED_CONTROL,
    INACTIVATED,
    LOCKED,
    MUST_CHANGE,
    POLICY,
    Reason,
    reason,
)

from tests.images.hub.recorded_answers import DS389, DS389_WRONG, SAMBA, SAMBA_WRONG, Answer

WRONG, RIGHT = 49, 0


def result(code: int, text: str = "", **controls: bytes | None) -> dict[str, Any]:
    """Return a result as ldap3 has it; controls by the names of their constants."""
    oids = {"policy": POLICY, "expired": EXPIRED_CONTROL}
    found = {oids[name]: {"value": value} for name, value in controls.items()}
    return {"result": code, "message": text} | ({"controls": found} if found else {})


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        (WRONG, b"\x30\x03\x81\x01\x00", EXPIRED),
        (WRONG, b"\x30\x03\x81\x01\x01", LOCKED),
        (RIGHT, b"\x30\x03\x81\x01\x02", MUST_CHANGE),
        (WRONG, b"\x30\x00", None),
        (RIGHT, b"\x30\x00", None),
        # It expires soon; it has expired, but lets in a few times still.
        (RIGHT, b"\x30\x05\xa0\x03\x80\x01\x3c", None),
        (RIGHT, b"\x30\x05\xa0\x03\x81\x01\x04", None),
        (RIGHT, b"\x30\x08\xa0\x03\x81\x01\x04\x81\x01\x00", None),
        (WRONG, b"\x30\x08\xa0\x03\x81\x01\x00\x81\x01\x00", EXPIRED),
        # Errors of changing a password, and one that does not exist.
        (WRONG, b"\x30\x03\x81\x01\x05", None),
        (WRONG, b"\x30\x03\x81\x01\x63", None),
        (WRONG, None, None),
    ],
)
def test_the_control_of_password_policies(
    code: int, value: bytes | None, expected: Reason | None
) -> None:
    assert reason(result(code, policy=value)) is expected


@given(st.binary(max_size=20) | st.binary(max_size=12).map(lambda tail: b"\x30\x08\xa0\x03" + tail))
def test_a_malformed_control_says_at_most_that_the_password_must_be_changed(value: bytes) -> None:
    assert reason(result(RIGHT, policy=value)) in (None, MUST_CHANGE)
    assert reason(result(WRONG, policy=value)) in (None, EXPIRED, LOCKED, MUST_CHANGE)


def test_the_older_control_counts_where_the_newer_one_is_missing() -> None:
    assert reason(result(WRONG, expired=b"0")) is EXPIRED
    assert reason(result(RIGHT, expired=b"0")) is MUST_CHANGE
    assert reason(result(RIGHT, expired=b"0", policy=b"\x30\x05\xa0\x03\x81\x01\x04")) is None


@pytest.mark.parametrize(
    ("code", "log", "page"),
    [
        ("525", "", ""),
        ("52e", "", ""),
        ("530", "not at this time", "Your account may not log in at this time."),
        ("531", "not from this machine", "Your account may not log in from the hub's machine."),
        ("532", EXPIRED.log, EXPIRED.page),
        ("533", DISABLED.log, DISABLED.page),
        ("701", "the account has expired", "Your account has expired."),
        ("773", MUST_CHANGE.log, MUST_CHANGE.page),
        # Also after a wrong password: the page must not tell.
        ("775", LOCKED.log, ""),
        ("5320", "", ""),
    ],
)
def test_the_codes_of_active_directory(code: str, log: str, page: str) -> None:
    error = f"AcceptSecurityContext error, data {code}, v4563\0"
    text = f"80090308: LdapErr: DSID-0C090439, comment: {error}"
    found = reason(result(WRONG, text)) or Reason("")
    assert (found.log, found.page) == (log, page)
    assert reason(result(RIGHT, text)) is None


def said(answer: Answer) -> Reason | None:
    controls = {oid: {"value": value} for oid, value in answer.controls}
    return reason({"result": answer.code, "message": answer.text, "controls": controls})


def test_what_samba_was_seen_to_answer() -> None:
    logs = {name: (said(answer) or Reason("")).log for name, answer in SAMBA.items()}
    assert logs == {
        "expired": "the account has expired",
        "disabled": DISABLED.log,
        "reset": MUST_CHANGE.log,
        "night": "not at this time",
        "station": "not from this machine",
        "locked": LOCKED.log,
        "old": EXPIRED.log,
    }
    assert said(SAMBA_WRONG) is None


def test_what_389_was_seen_to_answer() -> None:
    assert {name: said(answer) for name, answer in DS389.items()} == {
        "inactive": INACTIVATED,
        "locked": LOCKED,
        "old": EXPIRED,
        "reset": MUST_CHANGE,
        "grace": None,
    }
    assert said(DS389_WRONG) is None
    # It does not look at the password of either, so the page must not tell.
    assert (INACTIVATED.page, LOCKED.page) == ("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R000100 The password has expired.", EXPIRED),
        ("R004109 The password has expired (srv_authenticate_native_password:3118)", EXPIRED),
        ("R000104 The password is not correct or the user ID is not completely defined", None),
        ("R004110 The user ID has been revoked", None),
        ("The password has expired", None),
    ],
)
def test_the_texts_of_racf(text: str, expected: Reason | None) -> None:
    assert reason(result(WRONG, text)) is expected
