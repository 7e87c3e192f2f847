"""Filters are kept set for as long as the engine answers."""

from __future__ import annotations

from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from zhub import engine, settings
from zhub.guard import filters, keeping
from zhub.guard.confinement import Confinement


@pytest.mark.parametrize(
    ("listens", "seconds"),
    [(True, keeping.LOST_SECONDS), (False, keeping.REFUSED_SECONDS)],
)
def test_a_guard_that_loses_its_engine_exits_to_be_restarted(
    monkeypatch: pytest.MonkeyPatch, *, listens: bool, seconds: int
) -> None:
    """With live-restore, a restarted engine has a new socket; the guard would keep the old one."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Gone:
        asked = 0

        def events(self, **_: Any) -> Any:
            self.asked += 1
            raise ConnectionRefusedError

    monkeypatch.setattr(keeping, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 1 + now))
    monkeypatch.setattr(engine, "listens", lambda _: listens)
    gone: Any = Gone()
    guard_settings = settings.read_guard({"ZHUB_PREFIX": "site"})
    helpers: Any = None
    with pytest.raises(keeping.EngineLostError):
        Confinement(gone, helpers, guard_settings).watch()
    assert seconds <= gone.asked <= seconds + 3


@pytest.mark.parametrize("counts", [True, False])
def test_a_kernel_that_cannot_count_connections_is_said_and_filters_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, counts: bool
) -> None:
    class Helpers:
        def __init__(self) -> None:
            self.set: list[str] = []

        def sweep(self) -> None:
            pass

        def run(self, command: list[str], **_: Any) -> str:
            if "ct count" in command[1] and not counts:
                raise RuntimeError("No such file or directory")
            self.set.append(command[1])
            return ""

    monkeypatch.setattr(Confinement, "look", lambda _: None)
    helpers: Any = Helpers()
    client: Any = None
    guard = Confinement(client, helpers, settings.read_guard({"ZHUB_PREFIX": "site"}))
    guard.begin()
    server = {"Id": "abc", "State": {"StartedAt": "now"}}
    guard.server(server, IPv4Network("10.213.0.16/28"))
    assert [filters.TOO_MANY in text for text in helpers.set] == [counts, counts]
    assert ("modprobe nft_connlimit" in caplog.text) != counts
