"""A process that hangs is ended; any other goes on, and ends as it would alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.built import wait_until
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

WATCHED = """
import os, signal, sys, time
from zhub.watchdog import watched
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
lives = watched(1)
print(os.getpid(), flush=True)
while True:
    lives()
    time.sleep(0.1)
"""


def start(code: str) -> tuple[subprocess.Popen[str], int]:
    """Run code that prints the number of the process that is watched."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "images" / "hub")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, int(process.stdout.readline())


def test_a_process_that_hangs_is_ended_and_said_so() -> None:
    # The watch begins with the first sign of life, so that must come before it is stopped.
    process, child = start(WATCHED.replace("print", "lives()\nprint"))
    os.kill(child, signal.SIGSTOP)
    _, said = process.communicate(timeout=30)
    assert process.returncode == signal.SIGKILL
    assert said == "hangs: no sign of life for 1 s; ended, to be started again\n"
    assert not Path(f"/proc/{child}").exists()


def test_a_signal_reaches_it_and_its_status_is_passed_on() -> None:
    process, _ = start(WATCHED)
    time.sleep(1.5)
    assert process.poll() is None, "it lives, and is left alone"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 7


def test_a_start_may_take_as_long_as_it_takes() -> None:
    process, child = start(WATCHED.replace("lives()\n    time", "time"))
    time.sleep(1.5)
    assert process.poll() is None
    os.kill(child, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == signal.SIGKILL


def test_a_pause_of_both_is_no_hang() -> None:
    """As by `docker pause`, or of a machine that is suspended."""
    process, child = start(WATCHED)
    both = (child, process.pid)
    for each in both:
        os.kill(each, signal.SIGSTOP)
    time.sleep(3)
    for each in reversed(both):
        os.kill(each, signal.SIGCONT)
    time.sleep(1.5)
    assert process.poll() is None
    process.terminate()
    wait_until(lambda: process.poll() is not None, seconds=30)
    process.communicate()


def test_a_process_whose_watch_is_gone_ends_as_well(tmp_path: Path) -> None:
    """It would not be noticed when it hangs."""
    left = tmp_path / "left"
    code = WATCHED.replace("sys.exit(7)", f"(open({str(left)!r}, 'w').close(), sys.exit(7))")
    process, child = start(code)
    process.kill()
    _, said = process.communicate(timeout=30)
    wait_until(lambda: left.exists() and not Path(f"/proc/{child}/cmdline").exists(), seconds=10)
    assert said == "what watches this process has ended, and so does this\n"
