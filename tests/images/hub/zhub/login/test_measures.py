"""What the hub counts of the directory: each server asked, failed or passed over, and its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY
from zhub.login import measures
from zhub.login.directory import Directory
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.ldap import Ldap

FIRST, SECOND = "first.example.com", "second.example.com"


class Servers(Directory):
    """Two servers, of which the first gives no answer."""

    def __init__(self) -> None:
        """Count what happens to each."""
        super().__init__(Ldap(servers=(FIRST, SECOND)), asked=measures.asked)
        measures.count_from_now(self.ldap.servers)

    @contextmanager
    def session(self, address: str) -> Iterator[Any]:  # type: ignore[override] # no connection
        if address == FIRST:
            raise DirectoryError("silence")
        yield address


def counted() -> list[tuple[float, ...]]:
    """Of each server: answered, failed, skipped, and how often its time was taken."""

    def value(name: str, **labels: str) -> float:
        found = REGISTRY.get_sample_value(name, labels)
        assert found is not None, "there from the start on, so that an alert sees the first one"
        return found

    return [
        (
            *(
                value("zhub_directory_asked_total", server=server, outcome=outcome)
                for outcome in ("answered", "failed", "skipped")
            ),
            value("zhub_directory_seconds_count", server=server),
        )
        for server in (FIRST, SECOND)
    ]


def test_a_server_that_fails_is_passed_over_and_both_are_counted() -> None:
    servers = Servers()
    before = counted()

    def since() -> list[tuple[float, ...]]:
        pairs = zip(counted(), before, strict=True)
        return [tuple(a - b for a, b in zip(now, then, strict=True)) for now, then in pairs]

    assert servers._ask(str) == SECOND
    assert since() == [(0, 1, 0, 1), (1, 0, 0, 1)]
    # A wrong password is an answer as well.
    with pytest.raises(LoginRefusedError):
        servers._ask(refused)
    assert since() == [(0, 1, 1, 1), (2, 0, 0, 2)]


def refused(_: Any) -> str:
    raise LoginRefusedError("a wrong password")
