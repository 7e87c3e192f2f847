"""Filters are kept set for as long as the engine answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from zhub import engine, settings
from zhub.guard import keeping
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
