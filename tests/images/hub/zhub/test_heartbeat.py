"""What the heartbeat records when the engine answers and when it does not."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from pathlib import Path

import pytest
import requests
from zhub.heartbeat import Heartbeat, OneLine

from toolchain.places import ROOT

HEALTH = ROOT / "images/hub/rootfs/usr/local/bin/zhub-health"


def test_changes_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers = iter([True, True, False, False, False, True, True])

    def ask() -> None:
        if not next(answers):
            raise requests.exceptions.ConnectionError("nobody")

    heartbeat = Heartbeat(tmp_path / "file", ask, "the guard")
    logged = []
    for _ in range(7):
        caplog.clear()
        heartbeat.beat()
        logged.append([record.getMessage() for record in caplog.records])
    assert logged == [
        *([], [], ["the guard does not answer: nobody"]),
        *([], [], ["the guard answers again"], []),
    ]


def test_only_an_answer_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "file"

    def ask() -> None:
        raise OSError

    Heartbeat(file, ask, "").beat()
    assert not file.exists()
    Heartbeat(file, lambda: None, "").beat()
    now = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(int(file.read_text()) - now) <= 2


def test_tracebacks_of_lost_connections_are_dropped() -> None:
    def kept(error: Exception | None) -> bool:
        info = (type(error), error, None) if error else None
        return OneLine().filter(logging.LogRecord("x", logging.ERROR, "", 0, "x", (), info))

    assert not kept(requests.exceptions.ConnectionError())
    assert not kept(requests.exceptions.ReadTimeout())
    assert kept(ValueError())
    assert kept(None)


@pytest.mark.parametrize(("age", "status"), [(0, 0), (20, 0), (40, 1), (None, 1), ("", 1)])
def test_an_old_answer_is_unhealthy(tmp_path: Path, age: int | str | None, status: int) -> None:
    file, script = tmp_path / "heartbeat", tmp_path / "health"
    script.write_text(HEALTH.read_text().replace("/run/guard/heartbeat", str(file)))
    if isinstance(age, int):
        file.write_text(f"{int(time.clock_gettime(time.CLOCK_BOOTTIME)) - age}\n")
    elif age is not None:
        file.write_text(age)
    run = subprocess.run(["bash", str(script), "guard"], env=os.environ, check=False)
    assert run.returncode == status
