"""How long a server that was removed may run on where nobody can end it."""

from __future__ import annotations

import time

import pytest
from zhub.contract import LEASE_SECONDS
from zhub.guard import leases


def test_it_counts_from_the_first_time_that_it_was_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, began = leases.Leases(), 1000.0
    monkeypatch.setattr("time.monotonic", lambda: began)
    kept.end("t")
    monkeypatch.setattr("time.monotonic", lambda: began + 60)
    kept.end("t")
    assert kept.left("t") == LEASE_SECONDS - 30
    # Of one that is not known, nothing is known.
    assert kept.left("other") == LEASE_SECONDS + 30
    monkeypatch.setattr("time.monotonic", lambda: began + 1000)
    assert kept.left("t") == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "a minute"), (60, "a minute"), (60.5, "a minute"), (61, "2 minutes")],
)
def test_users_read_minutes(seconds: float, words: str) -> None:
    assert leases.in_words(seconds) == words


def test_what_is_kept_of_leases_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = leases.Leases()
    began = time.monotonic()
    for hour in range(48):
        monkeypatch.setattr("time.monotonic", lambda hour=hour: began + hour * 3600)
        kept.end(f"task-{hour}")
    assert len(kept._since) <= 25
