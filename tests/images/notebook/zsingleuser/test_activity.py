"""What counts as use of a server, and what does not."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from zsingleuser import activity

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("method", "uri", "accept"),
    [
        ("GET", "lab", BROWSER),
        ("GET", "files/data.csv?_xsrf=1", BROWSER),
        ("GET", "api/contents/a/b.ipynb?type=notebook&content=1&hash=0", "*/*"),
        ("GET", "api/contents/a.txt?content=1&type=file", "*/*"),
        ("PUT", "api/contents/a.txt?1", "*/*"),
        ("PATCH", "api/contents/a.txt", "*/*"),
        ("POST", "api/kernels/1/interrupt", "*/*"),
        ("POST", "api/sessions", "*/*"),
        ("DELETE", "api/terminals/1", "*/*"),
    ],
)
def test_what_a_person_does_counts(method: str, uri: str, accept: str) -> None:
    assert activity.by_person(method, uri, accept)


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("GET", "api/contents/?content=1"),
        ("GET", "api/contents/a?type=directory&content=1"),
        ("GET", "api/contents/a.txt?type=file&content=0"),
        ("GET", "api/kernels"),
        ("GET", "api/kernels/1/channels?session_id=2"),
        ("GET", "api/sessions?1"),
        ("GET", "api/terminals"),
        ("GET", "api/metrics/v1"),
        ("GET", "static/lab/main.js"),
        ("HEAD", "lab"),
        ("POST", "git/repository/status"),
        ("PUT", "lab/api/workspaces/default"),
        ("POST", "api/me"),
    ],
)
def test_what_an_open_page_repeats_does_not(method: str, uri: str) -> None:
    assert not activity.by_person(method, uri, "*/*")
    assert not activity.by_person(method, uri, "application/json")


class Kernels(dict[str, Any]):
    """Kernels of a server, as the manager that has them."""

    last_kernel_activity = datetime(2030, 1, 1, tzinfo=UTC)
    list_kernel_ids, get_kernel = dict.keys, dict.__getitem__


def settings(**more: Any) -> dict[str, Any]:
    """Settings of a server that has run for hours."""
    started = Kernels.last_kernel_activity - HOUR
    return {
        "started": started,
        "kernel_manager": Kernels(),
        "last_activity_times": {},
        activity.REPEATED: started + 9 * HOUR,
        **more,
    }


def test_a_busy_kernel_is_in_use_now_and_an_idle_one_was_when_it_last_said_something() -> None:
    states = ("idle", "starting", "restarting", "dead")
    kernels = Kernels({state: SimpleNamespace(execution_state=state) for state in states})
    kernels["just made"] = SimpleNamespace()
    found = settings(kernel_manager=kernels)
    assert activity.last_activity(found) == Kernels.last_kernel_activity
    kernels["works"] = SimpleNamespace(execution_state="busy")
    before = datetime.now(UTC)
    assert before <= activity.last_activity(found) <= datetime.now(UTC)


@pytest.mark.parametrize("name", [activity.PERSON, "terminal_last_activity"])
def test_the_last_of_several_times_counts(name: str) -> None:
    later = Kernels.last_kernel_activity + HOUR
    assert activity.last_activity(settings(**{name: later})) == later
    assert activity.last_activity(settings(last_activity_times={"extension": later})) == later
    earlier = later - 3 * HOUR
    assert activity.last_activity(settings(**{name: earlier})) == Kernels.last_kernel_activity


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[str], None]]]:
    """The process ID of an interactive shell in a terminal, and what types into it."""
    shell, typed = pty.fork()
    if not shell:
        os.execvp("bash", ["bash", "--norc", "-i"])  # noqa: S606 - as a terminal does

    def enter(line: str) -> None:
        os.write(typed, f"{line}\n".encode())

    yield shell, enter
    # The shell hands a hang-up on, but not always when it comes soon after a line.
    for process in in_session(shell):
        os.kill(process, signal.SIGKILL)
    os.close(typed)
    os.waitpid(shell, 0)


def in_session(leader: int) -> list[int]:
    """The IDs of the processes of a terminal's session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(folder.name)) == leader:
                found.append(int(folder.name))
    return found


def wait_until(shell: int, *, works: bool) -> None:
    end = time.monotonic() + 30
    while activity.runs_programs([shell]) is not works:
        assert time.monotonic() < end, subprocess.run(["ps", "-efj"], check=True)
        time.sleep(0.05)


@pytest.mark.parametrize("line", ["sleep 1000", "sleep 1000 &"], ids=["in front", "behind"])
def test_a_program_in_a_terminal_is_work(
    terminal: tuple[int, Callable[[str], None]], line: str
) -> None:
    shell, enter = terminal
    wait_until(shell, works=False)
    enter(line)
    wait_until(shell, works=True)
    term = SimpleNamespace(ptyproc=SimpleNamespace(pid=shell))
    found = settings(terminal_manager=SimpleNamespace(terminals={"1": term}))
    assert activity.last_activity(found) > datetime.now(UTC) - timedelta(seconds=60)
    assert not activity.runs_programs([os.getpid()]), "only of these terminals"


def test_a_program_that_was_stopped_is_not(terminal: tuple[int, Callable[[str], None]]) -> None:
    shell, enter = terminal
    enter("sleep 1000 &")
    wait_until(shell, works=True)
    enter("kill -STOP %1")
    wait_until(shell, works=False)
    enter("kill -CONT %1")
    wait_until(shell, works=True)
    enter("kill %1")
    wait_until(shell, works=False)


def test_a_process_may_end_while_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").symlink_to("nowhere")
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "stat").write_text("8 (a) R (b) S 1 8 5 34816 8 4194304\n")
    assert activity.runs_programs([5], tmp_path)
    assert not activity.runs_programs([8], tmp_path)


def test_kernels_that_nobody_uses_end_only_where_that_is_set() -> None:
    assert activity.options({}) == activity.options({"ZHUB_KERNEL_IDLE_TIMEOUT": "0"}) == []
    assert activity.options({"ZHUB_KERNEL_IDLE_TIMEOUT": "600"}) == [
        "--MappingKernelManager.cull_idle_timeout=600",
        "--MappingKernelManager.cull_interval=150",
        "--MappingKernelManager.cull_connected=True",
    ]
