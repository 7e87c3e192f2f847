"""`make doctor` says what a restart of the stack's engine does to users' servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain import doctor, engine


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo true", "live-restore: on; users' servers run on"),
        ("echo false", "live-restore: off; a restart of the engine ends all users' servers"),
        ("exit 1", None),
    ],
)
def test_live_restore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str | None
) -> None:
    client = tmp_path / "docker"
    client.write_text(f'#!/bin/sh\n[ "$1" = info ] && {script}\n')
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    found = list(doctor._live_restore("nowhere"))
    assert [(one.good, one.text.startswith(said or "")) for one in found] == [(True, True)] * bool(
        said
    )
