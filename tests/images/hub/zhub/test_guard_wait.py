"""The hub waits for its guard, also for one that is gone and has left its socket."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from zhub import engine
from zhub.settings import SettingsError


def left_socket(path: Path) -> None:
    """Leave a socket on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


@pytest.mark.slow
def test_a_guard_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    left_socket(path)
    guards = []

    def come_back() -> None:
        time.sleep(0.3)
        path.unlink()
        guard = socket.socket(socket.AF_UNIX)
        guard.bind(str(path))
        guard.listen()
        guards.append(guard)

    thread = threading.Thread(target=come_back)
    thread.start()
    engine._wait_for(path, 30)
    thread.join()
    assert len(guards) == 1
    guards[0].close()


@pytest.mark.slow
def test_a_guard_that_stays_away_is_named(tmp_path: Path) -> None:
    left_socket(tmp_path / "engine.sock")
    for path in (tmp_path / "engine.sock", tmp_path / "none.sock"):
        with pytest.raises(SettingsError, match="the guard has not answered"):
            engine._wait_for(path, 0.05)
