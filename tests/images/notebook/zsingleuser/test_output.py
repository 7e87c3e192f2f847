"""What kernels write past their notebooks is in the log, but does not flood it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from zsingleuser import output
from zsingleuser.output import BURST, RATE, Log

from toolchain.places import ROOT

MODULE = "jupyter_client.provisioning.local_provisioner"


def test_a_flood_is_left_out_and_said_and_the_log_goes_on() -> None:
    now = 0.0
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    log = Log(writing, lambda: now)

    def passed_on() -> bytes:
        try:
            return os.read(reading, 2 * BURST)
        except BlockingIOError:
            return b""

    part = b"x" * 10_000
    count = 0
    for _ in range(500):
        log.take(part)
        count += len(passed_on())
    assert BURST - len(part) < count <= BURST
    now += len(part) / RATE
    log.take(b"a traceback\n")
    left_out = 500 * len(part) - count
    note = f"\n[zsingleuser] left out: {left_out} bytes that kernels wrote\na traceback\n"
    assert passed_on().decode() == note
    # Said once.
    now += 1
    log.take(b"more\n")
    assert passed_on() == b"more\n"


def test_a_log_that_takes_nothing_keeps_nobody_waiting() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Log(writing).take(b"x")


def test_kernels_write_to_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    provisioner = SimpleNamespace(launch_kernel=subprocess.Popen)
    monkeypatch.setitem(sys.modules, MODULE, provisioner)
    monkeypatch.setattr(output, "BURST", 1000)
    output.install()
    # A kernel's own programs have what it has.
    program = "import os; os.system('echo said; echo complained >&2; yes | head -c 5000000')"
    kernel = provisioner.launch_kernel([sys.executable, "-c", program])
    assert kernel.wait(30) == 0
    taken = ""
    for _ in range(100):
        taken += "".join(capfd.readouterr())
        if "complained" in taken:
            break
        time.sleep(0.05)
    assert "said\ncomplained\n" in taken
    assert len(taken) < 2000


def test_the_page_on_logs_says_how_much() -> None:
    page = " ".join((ROOT / "docs" / "logs.md").read_text().split())
    assert f"takes {BURST >> 20} MB at once and then {RATE // 1000} kB a second" in page
