"""Passphrases, backends, and what a killed `pulumi` leaves."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.toolchain.conftest import PASSPHRASE, Clone, Project
from toolchain import stack
from toolchain.console import Problem

pytestmark = pytest.mark.slow


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's state folder, in a shell that has no Pulumi settings."""
    for name in [name for name in os.environ if name.startswith("PULUMI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(stack, "STATE", tmp_path / "state")
    monkeypatch.setattr(stack, "CREDENTIALS", tmp_path / "credentials.json")
    return tmp_path / "state"


def test_the_dev_stacks_passphrase_is_the_public_one(state: Path) -> None:
    assert stack.settings("dev") == {
        "PULUMI_CONFIG_PASSPHRASE": "zhub-dev",
        "PULUMI_CONFIG_PASSPHRASE_FILE": None,
        "PULUMI_BACKEND_URL": state.as_uri(),
    }
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_another_stack_gets_a_passphrase_of_its_own_once_and_aloud(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(stack.settings("site")["PULUMI_CONFIG_PASSPHRASE_FILE"] or "")
    told = capsys.readouterr().err
    assert str(file) in told
    assert "keep a copy" in told
    assert file.read_text() not in told
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) >= 40
    before = file.read_text()
    stack.settings("site")
    assert file.read_text() == before
    assert capsys.readouterr().err == ""
    assert stack.settings("other")["PULUMI_CONFIG_PASSPHRASE_FILE"] != str(file)


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
@pytest.mark.parametrize("of", ["dev", "site"])
def test_the_shells_own_passphrase_stays(
    state: Path, monkeypatch: pytest.MonkeyPatch, name: str, of: str
) -> None:
    monkeypatch.setenv(name, "/own")
    assert stack.settings(of) == {"PULUMI_BACKEND_URL": state.as_uri()}


def test_what_was_set_for_another_stack_does_not_stay(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "zhub-dev")
    assert stack.settings("site")["PULUMI_CONFIG_PASSPHRASE"] is None
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(state / "passphrase-site"))
    assert stack.settings("dev")["PULUMI_CONFIG_PASSPHRASE_FILE"] is None


def test_a_backend_that_was_chosen_stays(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert stack.settings("dev")["PULUMI_BACKEND_URL"] == "s3://bucket"
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    state.with_name("credentials.json").write_text("{}")
    assert "PULUMI_BACKEND_URL" not in stack.settings("dev")


def test_make_env_sets_up_a_shell(clone: Clone) -> None:
    lines = clone.make("env", "STACK=site").stdout
    shell = subprocess.run(
        ["sh", "-euc", f"{lines}\nenv -0"], capture_output=True, text=True, check=True
    )
    variables = dict(line.split("=", 1) for line in shell.stdout.split("\0") if line)
    assert variables["PATH"].split(os.pathsep)[0] == str(clone.root / ".toolchain" / "bin")
    assert variables["PULUMI_BACKEND_URL"] == (clone.root / ".state").as_uri()
    assert Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"]).stat().st_size >= 40
    assert "PULUMI_CONFIG_PASSPHRASE" not in variables


def test_a_stack_name_cannot_leave_its_folder(clone: Clone) -> None:
    result = clone.make("env", "STACK=../site")
    assert result.returncode
    assert "STACK=../site is no stack name" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("line", "address", "remote"),
    [
        ("docker:host: ssh://ops@z.example.com", "ssh://ops@z.example.com", True),
        ('docker:host: "tcp://z.example.com:2376"  # TLS', "tcp://z.example.com:2376", True),
        ("docker:host: unix:///var/run/docker.sock", "unix:///var/run/docker.sock", False),
        ("# docker:host: ssh://ops@z.example.com", None, False),
    ],
)
def test_an_engine_of_another_machine_is_recognised(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    address: str | None,
    *,
    remote: bool,
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    assert stack.engine_address("site") is None
    (tmp_path / "Pulumi.site.yaml").write_text(f"config:\n  {line}\n")
    assert stack.engine_address("site") == address
    assert stack.remote("site") == remote


def test_make_down_without_a_state_gets_no_toolchain(clone: Clone) -> None:
    result = clone.make("down")
    assert result.returncode == 0
    assert "The stack dev is not there: nothing to do." in result.stdout
    assert not (clone.root / ".venv").exists()
    assert not clone.cache.exists()


@pytest.fixture
def driven(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that the module under test takes for the clone's own."""
    monkeypatch.setattr(stack, "ROOT", project.folder)
    monkeypatch.setattr(stack, "STATE", project.state)
    monkeypatch.setenv("PULUMI_BACKEND_URL", project.state.as_uri())
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    return project


def locks(project: Project) -> list[Path]:
    return list((project.state / ".pulumi" / "locks").rglob("*.json"))


def test_after_a_kill_the_lock_and_the_half_made_are_cleared_up(
    driven: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    started = driven.folder / "started"
    program = (
        "import pulumi, pulumi_command\npulumi_command.local.Command('slow', create={create!r})\n"
    )
    driven.write(program.format(create=f"touch {started}; sleep 300"))
    process = driven.start("up", "--yes", "--skip-preview")
    while not started.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(locks(driven)) == 1

    stack._unlock("test")
    stack._half_made("test")

    told = capfd.readouterr().err
    assert f"process {process.pid} of an earlier run is gone: taking its lock away" in told
    assert "cut off in the middle of slow: clearing up" in told
    assert locks(driven) == []
    driven.write(program.format(create="true"))
    driven.pulumi("up", "--yes", "--skip-preview")
    stack._half_made("test")
    assert "cut off" not in capfd.readouterr().err


def test_the_lock_of_a_running_pulumi_is_kept(driven: Project) -> None:
    started = driven.folder / "started"
    driven.write(f"import time\nopen({str(started)!r}, 'w')\ntime.sleep(300)\n")
    process = driven.start("up", "--yes", "--skip-preview")
    try:
        while not started.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        stack._unlock("test")
        assert len(locks(driven)) == 1
        with pytest.raises(Problem, match="currently locked by 1 lock"):
            stack.pulumi("test", "destroy", "--yes", "--stack", "test", quiet=True)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


def test_a_lock_of_another_machine_is_kept(driven: Project) -> None:
    folder = driven.state / ".pulumi" / "locks" / "organization" / "zhub" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    lock = {"pid": 999999999, "username": "ops", "hostname": "elsewhere", "timestamp": ""}
    (folder / "one.json").write_text(json.dumps(lock))
    stack._unlock("test")
    assert len(locks(driven)) == 1


def test_up_ends_with_the_address_and_whom_to_log_in_as(
    driven: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    driven.write(
        "import pulumi\n"
        "pulumi.export('url', 'https://localhost:11119')\n"
        "pulumi.export('certificateFingerprint', 'AB:CD')\n"
        "pulumi.export('demoRoles', {'alice': 'may log in', 'mallory': 'may not log in'})\n"
        "pulumi.export('demoUsers', pulumi.Output.secret({'alice': 'one', 'mallory': 'two'}))\n"
    )
    stack.up("test")
    told = capfd.readouterr().out.partition("JupyterHub is up: ")[2].splitlines()
    assert told[0] == "https://localhost:11119"
    assert [line.split(maxsplit=2) for line in told[2:4]] == [
        ["alice", "one", "may log in"],
        ["mallory", "two", "may not log in"],
    ]
