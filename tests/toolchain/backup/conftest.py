"""Fixtures of the tests of backups."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Keep what a backup sets for its process from the tests that come after."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
