"""Starting a real Docker engine, next to the machine's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.second_engine import unmount_below
from toolchain import engine
from toolchain.console import Problem

# Not beside tests of whole stacks: on two processors, an engine then takes a minute to start.
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: Debian's client, whatever else is on PATH.
CLIENT = next(filter(engine.builds, engine.clients()), None)


@pytest.fixture
def second_engine(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `dockerd` and a `docker` of a second engine, on a machine without systemd."""
    dockerd = shutil.which("dockerd")
    if dockerd is None or CLIENT is None or os.geteuid():
        pytest.skip("starting an engine needs root, dockerd and a client")
    folder = short_folder
    scripts = {
        # In its own network namespace: with `--bridge=none` dockerd removes docker0.
        "dockerd": f"exec unshare --net {dockerd} --data-root {folder}/data"
        f" --exec-root {folder}/exec --pidfile {folder}/pid -H unix://{folder}/sock"
        # Options that keep it from changing the machine's network and its engine's.
        ' --bridge=none --iptables=false --ip-forward=false --ip-masq=false "$@"',
        "docker": f'exec {CLIENT} -H unix://{folder}/sock "$@"',
    }
    (folder / "bin").mkdir()
    for name, line in scripts.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(engine, "BIN", folder / "clone")
    monkeypatch.setattr(engine, "CACHE", folder / "cache")
    monkeypatch.setattr(engine, "PID_FILES", {folder / "pid": "dockerd"})
    monkeypatch.setattr(engine, "SYSTEMD", folder / "absent")
    yield folder
    if (folder / "pid").exists():
        pid = int((folder / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while (folder / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    unmount_below(folder)


def test_an_engine_that_is_not_running_is_started_and_outlives_make(second_engine: Path) -> None:
    # As after a power cut: the process id file exists, the process does not.
    gone = subprocess.Popen(["true"])
    gone.wait()
    (second_engine / "pid").write_text(str(gone.pid))
    found = engine.ensure()
    assert found == engine.ensure()
    pid = int((second_engine / "pid").read_text())
    assert os.getsid(pid) == pid, "an engine in make's session would end with the terminal"
    assert (second_engine / "cache" / "dockerd.log").stat().st_size


def test_an_engine_that_cannot_start_is_reported_with_its_log(
    second_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machine's own engine runs and would count as one that is still starting.
    monkeypatch.setattr(engine, "START_TIMEOUT", 3)
    (second_engine / "data").write_text("no folder")
    with pytest.raises(Problem, match=r"did not start in 3 s|ended with code 1") as caught:
        engine.ensure()
    assert str(second_engine / "cache" / "dockerd.log") in str(caught.value)
