"""Running commands: logs, failures, interruptions."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real apt-get, with lists of packages of its own, of which there are none."""
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get")
    folder = tmp_path / "lists"
    folder.mkdir()
    config = tmp_path / "apt.conf"
    config.write_text(f"""
Dir::State::lists "{folder}";
Dir::Cache "{tmp_path}";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "/dev/null";
""")
    monkeypatch.setenv("APT_CONFIG", str(config))
    monkeypatch.setattr(console, "PAUSE", 0.1)
    return folder


@contextmanager
def locked(lists: Path) -> Iterator[Callable[[], None]]:
    """Another apt, which has the lists; yields what makes it end."""
    with (lists / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield lambda: fcntl.lockf(lock, fcntl.LOCK_UN)


def test_while_another_apt_has_the_lists_it_is_waited_for(
    lists: Path, logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """apt itself does not: DPkg::Lock::Timeout is about other locks."""
    with locked(lists) as end:
        timer = threading.Timer(0.5, end)
        timer.start()
        console._apt_get("step", "update", fix="Try again.")
        timer.join()
    assert f"Could not get lock {lists}/lock" in (logs / "step.log").read_text()
    assert capsys.readouterr().err.count("another apt is running: waiting for it") == 1


def test_ci_waits_for_another_apt_too(lists: Path) -> None:
    found = re.search(
        r"^apt\(\) \{.*?^\}", (ROOT / ".ci/run").read_text(), re.DOTALL | re.MULTILINE
    )
    assert found
    script = f"set -euo pipefail; sleep() {{ command sleep 0.1; }}; {found[0]}; apt update"
    with locked(lists) as end:
        timer = threading.Timer(0.5, end)
        timer.start()
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        timer.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Could not get lock" in done.stdout
    script = script.replace("apt update", "apt install --simulate no-such-package")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.count("Unable to locate package") == 1


def test_another_apt_that_does_not_end_is_reported(
    lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0)
    with (
        locked(lists),
        pytest.raises(Problem, match=r"Could not get lock(.|\n)*held by process(.|\n)*Try again\."),
    ):
        console._apt_get("step", "update", fix="Try again.")


def test_other_failures_of_apt_are_not_repeated(lists: Path, logs: Path) -> None:
    with pytest.raises(
        Problem, match=r"Unable to locate package no-such-package(.|\n)*Try again\."
    ):
        console._apt_get("step", "install", "--simulate", "no-such-package", fix="Try again.")
    assert (logs / "step.log").read_text().count("$ apt-get") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/backups/site/manifest.json"),
            (
                "error: /backups/site/manifest.json: Permission denied\n"
                "  To see why: ls -ld /backups/site\n"
            ),
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/proc"),
            "error: /proc: No space left on device\n  To see why: df -h / /proc\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/a b/new", None, "/a b/x"),
            "error: /a b/new: /a b/x: Read-only file system\n",
        ),
        (OSError("the download broke off"), "error: the download broke off\n"),
        (BrokenPipeError(), "error: BrokenPipeError\n"),
    ],
)
def test_what_the_system_refuses_is_one_message_without_a_traceback(
    logs: Path, capsys: pytest.CaptureFixture[str], error: OSError, said: str
) -> None:
    def command() -> None:
        raise error

    assert console.exit_code(command) == 1
    log = logs / "error.log"
    assert capsys.readouterr().err == f"\n{said}  where it happened: {log}\n"
    assert ", in command\n" in log.read_text()


def test_if_the_system_refuses_make_env_its_eval_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolchain import __main__ as main

    def refuse(**_: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/clone/.toolchain")

    monkeypatch.setattr(main, "ensure", refuse)
    assert console.exit_code(lambda: main.print_environment("dev")) == 1
    assert capsys.readouterr().out == "false\n"


def test_where_not_even_the_log_can_be_written_the_message_is_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone of another user."""
    monkeypatch.setattr(console, "LOGS", Path("/proc/logs"))
    assert console.exit_code(lambda: run("step", ["true"])) == 1
    assert capsys.readouterr().err == "\nerror: /proc/logs: No such file or directory\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_ends_commands_and_removes_temporary_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = f"""
import signal, sys, tempfile, time
# As in a terminal: a shell's background job ignores it, and so do its children; or nohup's.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from toolchain import __main__ as main, console
from pathlib import Path
console.LOGS = Path({str(tmp_path)!r})
def step(seconds):
    made = Path({str(tmp_path)!r}, f"made-{{seconds}}")
    made.touch()
    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}, prefix="half-"):
        try:
            console.run("step", ["sh", "-c", "echo $$ > {tmp_path}/pid; sleep 100"])
        finally:
            time.sleep(seconds)
            made.unlink()
        Path({str(tmp_path)!r}, "done").touch()
main.COMMANDS["long"] = lambda name: main.side_by_side(lambda: step(0.5), lambda: step(0))
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
    assert not list(tmp_path.glob("made-*")), "a step has not ended"
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
