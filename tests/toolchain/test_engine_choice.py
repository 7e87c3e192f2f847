"""Which Docker client and engine are used, and the errors if there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from toolchain import engine
from toolchain.console import Problem

pytestmark = pytest.mark.slow


def client(folder: Path, version: str, *, buildx: bool = False) -> Path:
    """Make a `docker` that only prints its version and whether it has the plugin."""
    folder.mkdir()
    script = folder / "docker"
    script.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && {{ echo "{version}"; exit; }}\n'
        f'[ "$1" = buildx ] && exit {0 if buildx else 1}\n'
        "exit 1\n"
    )
    script.chmod(0o755)
    return script


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engine, "BIN", tmp_path / "bin")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_first_client_that_can_build_is_linked(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = client(places / "a", "Docker version 28.2.2, build e6534b4")
    other = client(places / "b", "podman version 4.3.1")
    good = client(places / "c", "Docker version 28.2.2, build e6534b4", buildx=True)
    later = client(places / "d", "Docker version 20.10.24+dfsg1, build 297e128")
    folders = [script.parent for script in (without, other, good, later)]
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), "/bin"]))
    assert Path(engine.client()).readlink() == good
    assert Path(engine.client()) == places / "bin" / "docker"


def test_before_buildx_clients_can_build_by_themselves(places: Path) -> None:
    assert engine.builds(str(client(places / "a", "Docker version 20.10.24+dfsg1, build 1")))


def test_a_broken_link_to_a_client_is_replaced(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = client(places / "a", "Docker version 20.10.24+dfsg1, build 297e128")
    (places / "bin").mkdir()
    (places / "bin" / "docker").symlink_to(places / "gone")
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}/bin")
    assert Path(engine.client()).readlink() == script


def test_an_engine_elsewhere_is_never_started_here(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = client(places / "a", "Docker version 20.10.24+dfsg1, build 297e128")
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(Problem, match=r"DOCKER_HOST=tcp://127.0.0.1:1 does not answer.*unset"):
        engine.ensure()
    assert not engine.local()


def test_without_root_the_error_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, places: Path
) -> None:
    script = client(places / "a", "Docker version 20.10.24+dfsg1, build 297e128")
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(engine, "is_root", lambda: False)
    monkeypatch.setattr(engine, "SOCKET", places / "absent.sock")
    with pytest.raises(Problem, match="As root: systemctl start docker"):
        engine.ensure()
    (places / "docker.sock").touch(mode=0o400)
    monkeypatch.setattr(engine, "SOCKET", places / "docker.sock")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do anything
    with pytest.raises(Problem, match="usermod -aG docker"):
        engine.ensure()


def test_a_context_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "z")
    with pytest.raises(Problem, match="unset DOCKER_CONTEXT"):
        engine.ensure()


def test_pid_files_of_a_dead_engine_or_another_process_are_removed(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = places / "docker.pid"
    monkeypatch.setattr(engine, "PID_FILES", {file: "dockerd"})
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        file.write_text(str(pid))
        engine._forget_dead_engine()
        assert not file.exists()


@pytest.mark.engine
def test_the_running_engines_pid_file_is_kept(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = subprocess.run(["pidof", "dockerd"], capture_output=True, text=True, check=False).stdout
    if not pid.strip():
        pytest.skip("no dockerd runs on this machine")
    file = places / "docker.pid"
    file.write_text(pid.split()[0])
    monkeypatch.setattr(engine, "PID_FILES", {file: "dockerd"})
    engine._forget_dead_engine()
    assert file.exists()


def test_the_handler_counts_only_if_enabled_and_fixed(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = places / "qemu-s390x"
    monkeypatch.setattr(engine, "HANDLER", handler)
    assert not engine.emulates()
    for text, good in (
        ("enabled\ninterpreter /usr/bin/qemu\nflags: PF\n", True),
        ("enabled\ninterpreter /usr/bin/qemu\nflags: P\n", False),
        ("disabled\ninterpreter /usr/bin/qemu\nflags: PF\n", False),
    ):
        handler.write_text(text)
        assert engine.emulates() == good
