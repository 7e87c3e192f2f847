"""Running commands: logs, failures, interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchain import console
from toolchain.console import Problem, run
from toolchain.places import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(console, "LOGS", tmp_path)
    return tmp_path


def test_a_failure_shows_its_last_lines_the_log_and_the_fix(logs: Path) -> None:
    run("step", ["sh", "-c", "echo of the command before"])
    with pytest.raises(Problem) as caught:
        run("step", ["sh", "-c", "seq 100; exit 3"], fix="Type this.")
    text = str(caught.value)
    assert "ended with code 3" in text
    assert "    100\n" in text
    assert "    89\n" in text
    assert "    88\n" not in text
    assert "of the command before" not in text
    assert str(logs / "step.log") in text
    assert text.endswith("Type this.")
    assert "of the command before" in (logs / "step.log").read_text()


def test_a_long_command_is_cut_in_the_message_and_whole_in_the_log(logs: Path) -> None:
    with pytest.raises(Problem) as caught:
        run("step", ["false", "x" * 500, "the end"])
    assert "the end" not in str(caught.value)
    assert "the end" in (logs / "step.log").read_text()


def test_a_missing_command_is_named() -> None:
    with pytest.raises(Problem, match=r"no-such-command cannot be run.*Install it\."):
        run("step", ["no-such-command"], fix="Install it.")


def test_a_command_has_no_standard_input(logs: Path) -> None:
    run("step", ["sh", "-c", "read line || echo nothing to read"])
    assert "\nnothing to read" in (logs / "step.log").read_text()


def test_without_root_the_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    line = "apt-get install --no-install-recommends one two"
    with pytest.raises(Problem, match=f"missing: one, two. As root on Debian: {line}"):
        console.apt_install("step", "one", "two")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_commands_and_removes_temporary_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = f"""
import signal, sys, tempfile, os
# As in a terminal: a shell's background job ignores it, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
from toolchain import __main__ as main, console
from pathlib import Path
console.LOGS = Path({str(tmp_path)!r})
def step():
    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}, prefix="half-"):
        console.run("step", ["sh", "-c", "echo $$ > {tmp_path}/pid; sleep 100"])
        Path({str(tmp_path)!r}, "done").touch()
main.COMMANDS["long"] = lambda name: main.side_by_side(step, step)
sys.exit(main.main(["long"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        assert process.poll() is None
        time.sleep(0.05)
    # Only to this process, as with `kill`; Ctrl-C would reach the commands anyway.
    process.send_signal(number)
    _, error = process.communicate(timeout=15)
    assert process.returncode == 130
    assert error.strip() == "interrupted; run the same command again to go on"
    assert not list(tmp_path.glob("half-*"))
    assert not (tmp_path / "done").exists()


def test_after_an_interruption_no_step_begins() -> None:
    code = """
from toolchain import __main__ as main, console
console.stop_commands()
main.side_by_side(lambda: print("began"))
print("ended")
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == "ended\n"


def test_all_failures_of_parallel_steps_are_reported() -> None:
    from toolchain.__main__ import side_by_side

    def fail(text: str) -> None:
        raise Problem(text)

    with pytest.raises(Problem, match=r"one(.|\n)*two|two(.|\n)*one"):
        side_by_side(lambda: fail("one"), lambda: fail("two"), lambda: None)


def test_an_error_in_the_toolchain_keeps_its_traceback() -> None:
    from toolchain.__main__ import side_by_side

    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda: print(1 // 0))
