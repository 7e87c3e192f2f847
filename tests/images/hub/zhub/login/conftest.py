"""Fixtures: JupyterHub's own database, new."""

from __future__ import annotations

import pytest
from jupyterhub import orm


@pytest.fixture
def without_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let JupyterHub make a new database without looking for migrations.

    To load the scripts of all versions takes two seconds, and a new database needs none.
    """
    monkeypatch.setattr(orm, "check_db_revision", lambda _: None)
