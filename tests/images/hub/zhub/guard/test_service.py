"""What the guard says when it starts, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from zhub import settings
from zhub.guard.service import beyond

MACHINE: Any = SimpleNamespace(info=lambda: {"MemTotal": 24 << 30})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "500 servers may take 1000 GiB of memory together, and the engine's machine has 24"),
        ({"ZHUB_MAX_SERVERS": "12"}, ""),
        ({"ZHUB_MAX_SERVERS": "13"}, "13 servers may take 26 GiB"),
        ({"ZHUB_USERS_MEMORY": "100G"}, ""),
    ],
    ids=str,
)
def test_more_memory_than_there_is(environment: dict[str, str], said: str) -> None:
    found = beyond(MACHINE, settings.read_guard(environment))
    assert found.startswith(said)
    assert bool(found) == bool(said)
