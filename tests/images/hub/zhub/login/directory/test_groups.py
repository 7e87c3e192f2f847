"""Primary groups by their SID. Groups of real servers are in the tests of logins."""

from __future__ import annotations

import base64

import pytest
from zhub.login.directory.entries import Entry
from zhub.login.directory.groups import primary_sid

#: Samba's administrator, S-1-5-21-1544246680-3280208343-4254630039-500.
OWN = base64.b64decode("AQUAAAAAAAUVAAAAmFULXNcBhMOXgJj99AEAAA==")


def of(*numbers: str) -> bytes:
    attributes = {"objectsid": [OWN.hex()], "primarygroupid": numbers}
    return primary_sid(Entry("CN=Administrator,CN=Users,DC=example,DC=org", attributes))


def test_the_groups_sid_ends_in_its_number() -> None:
    # Domain Users is S-1-5-21-…-513.
    assert of("513") == OWN[:-4] + bytes([1, 2, 0, 0])
    assert of("4294967295") == OWN[:-4] + b"\xff" * 4


@pytest.mark.parametrize("number", ["", "-1", "4294967296", "²", "x"])
def test_what_is_no_number(number: str) -> None:
    assert of(number) == b""


def test_entries_without_one() -> None:
    assert of() == b""
    assert primary_sid(Entry("uid=alice,dc=example,dc=org", {"primarygroupid": ["513"]})) == b""
