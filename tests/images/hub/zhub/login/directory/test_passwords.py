"""How passwords are written."""

from __future__ import annotations

import pytest
from zhub.login.directory.passwords import spellings


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("Sommer²2024", "Sommer22024"),
        ("10µF-Kondensator", "10μF-Kondensator"),
        ("nº1", "no1"),
        ("a\u00a0b", "a b"),
        ("soft\u00adly", "softly"),
    ],
)
def test_what_preparing_changes_is_tried_as_typed_first(typed: str, prepared: str) -> None:
    assert spellings(typed) == (typed.encode(), prepared.encode())


@pytest.mark.parametrize(
    "password",
    [
        "wonder land 1",
        " ",
        "grün & blau ß € § é",
        "pass\U0001f600word",
        # What cannot be prepared is sent as typed.
        "a\tb",
        "\u05e9\u05dc\u05dd abc",
        "\u00ad",
        "\ue000",
    ],
)
def test_everything_else_is_one_bind(password: str) -> None:
    assert spellings(password) == (password.encode(),)


@pytest.mark.parametrize("password", ["", "\0", "wonder\0land", "\ud800"])
def test_what_no_password_has_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="the password "):
        spellings(password)
