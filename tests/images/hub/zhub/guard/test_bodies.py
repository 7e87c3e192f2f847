"""Bodies of requests that guard and engine could understand differently."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zhub.guard.bodies import Refused, parse_body


@pytest.mark.parametrize(
    "text",
    [
        '{"HostConfig": {}, "HostConfig": {"Privileged": true}}',
        '{"HostConfig": {"Privileged": false, "privileged": true}}',
        '{"Memory": 1, "MEMORY": 2}',
        '{"\\u0053tra\u00dfe": 1, "STRASSE": 2}',
        '{"Memory": NaN}',
        '{"Memory": Infinity}',
        "[" * 100_000,
        "[]",
        "1",
        "{",
        '{"a": 1} {"b": 2}',
        "\xff",
    ],
)
def test_an_ambiguous_body_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_body(text.encode("latin-1"))


@given(st.binary(max_size=200))
def test_any_body_is_an_object_or_refused(text: bytes) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(parse_body(text), dict)
