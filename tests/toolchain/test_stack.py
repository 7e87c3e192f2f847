"""Passphrases, backends, and what a killed `pulumi` leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import docker
import pytest

from tests.toolchain.conftest import Clone, Project
from toolchain import runs, sbom, shell, stack
from toolchain.console import Problem

pytestmark = pytest.mark.slow


def test_a_stack_name_cannot_leave_its_folder(clone: Clone) -> None:
    result = clone.make("env", "STACK=../site")
    assert result.returncode
    assert "STACK=../site: a stack name has letters" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("line", "address", "remote"),
    [
        ("docker:host: ssh://ops@z.example.com", "ssh://ops@z.example.com", True),
        ('docker:host: "tcp://z.example.com:2376"  # TLS', "tcp://z.example.com:2376", True),
        ("docker:host: unix:///var/run/docker.sock", "unix:///var/run/docker.sock", False),
        ("# docker:host: ssh://ops@z.example.com", None, False),
        # Pulumi takes all three for none.
        ('docker:host: ""', None, False),
        ("docker:host:\n  zhub:demoDirectory: true", None, False),
        ("docker:host: # none\n  zhub:demoDirectory: true", None, False),
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


def test_make_down_without_a_state_installs_no_toolchain(clone: Clone) -> None:
    result = clone.make("down")
    assert result.returncode == 0
    assert "Stack dev does not exist: nothing to do." in result.stdout
    assert not (clone.root / ".venv").exists()
    assert not clone.cache.exists()


def test_after_a_kill_the_lock_and_half_made_resources_are_removed(
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
    assert len(driven.locks()) == 1

    runs.unlock("test")
    runs.half_made("test", "zhub-test")

    shown = capfd.readouterr().err
    assert f"removing the lock of an earlier run: its process {process.pid} has ended" in shown
    assert "cleaning up: an earlier run was interrupted while it changed slow" in shown
    assert driven.locks() == []
    driven.write(program.format(create="true"))
    driven.pulumi("up", "--yes", "--skip-preview")
    runs.half_made("test", "zhub-test")
    assert "cut off" not in capfd.readouterr().err


def test_the_lock_of_a_running_pulumi_is_kept(driven: Project) -> None:
    started = driven.folder / "started"
    driven.write(f"import time\nopen({str(started)!r}, 'w')\ntime.sleep(300)\n")
    process = driven.start("up", "--yes", "--skip-preview")
    try:
        while not started.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        runs.unlock("test")
        assert len(driven.locks()) == 1
        with pytest.raises(Problem, match="currently locked by 1 lock"):
            shell.pulumi("test", "destroy", "--yes", "--stack", "test", quiet=True)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


def test_a_lock_of_another_machine_is_kept(driven: Project) -> None:
    folder = driven.state / ".pulumi" / "locks" / "organization" / "zhub" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    lock = {"pid": 999999999, "username": "ops", "hostname": "elsewhere", "timestamp": ""}
    (folder / "one.json").write_text(json.dumps(lock))
    runs.unlock("test")
    assert len(driven.locks()) == 1


def test_only_locks_of_recorded_runs_are_removed(driven: Project) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock = {"pid": ended.pid, "username": "ops", "hostname": socket.gethostname()}
    file = driven.state / ".pulumi/locks/organization/zhub/test/one.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(lock))
    taken = file.stat().st_mtime
    record = driven.state / "runs-test"
    host = socket.gethostname()
    for line in (
        f"{ended.pid + 1} {host} {taken:.0f}",
        f"{ended.pid} elsewhere {taken:.0f}",
        f"{ended.pid} {host} {taken - runs.BEFORE_LOCK - 1:.0f}",  # its number is another's by now
        f"{ended.pid} {host} {taken + 60:.0f}",
    ):
        record.write_text(f"{line}\n")
        runs.unlock("test")
        assert len(driven.locks()) == 1, line
    record.write_text(f"{ended.pid} {host} {taken - 2:.0f}\n")
    runs.unlock("test")
    assert driven.locks() == []


@pytest.mark.parametrize("ps", ["exit 1", "exit 0", "echo pulumi"])
def test_a_lock_is_kept_while_ps_does_not_say_that_its_process_has_ended(
    driven: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ps: str
) -> None:
    """As with BusyBox, whose `ps` has no such options, or where /proc hides others' processes."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ps").write_text(f"#!/bin/sh\n{ps}\n")
    (tmp_path / "bin/ps").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    lock = {"pid": os.getpid(), "username": "ops", "hostname": socket.gethostname()}
    file = driven.state / ".pulumi/locks/organization/zhub/test/one.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(lock))
    runs.unlock("test")
    assert len(driven.locks()) == 1
    (tmp_path / "bin/ps").write_text("#!/bin/sh\necho bash\n")
    runs.unlock("test")
    assert driven.locks() == []


def test_up_prints_the_address_and_the_demo_users(
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
    shown = capfd.readouterr().out.partition("JupyterHub is up: ")[2].splitlines()
    assert shown[0] == "https://localhost:11119"
    assert [line.split(maxsplit=2) for line in shown[2:4]] == [
        ["alice", "one", "may log in"],
        ["mallory", "two", "may not log in"],
    ]


#: Creates a file, which is removed with the stack, and a protected resource.
PROTECTED = """
import pulumi, pulumi_command
pulumi_command.local.Command("server", create="touch {file}", delete="rm {file}")
pulumi_command.local.Command(
    "state", create="true", opts=pulumi.ResourceOptions(protect={protect})
)
"""


def test_down_of_a_protected_stack_removes_nothing(driven: Project) -> None:
    file = driven.folder / "server"
    driven.write(PROTECTED.format(file=file, protect=True))
    driven.pulumi("up", "--yes", "--skip-preview")
    before = driven.pulumi("stack", "export")
    with pytest.raises(Problem) as caught:
        stack.down("test")
    assert "stack test is protected (state): nothing was removed" in str(caught.value)
    assert "would remove 2 Command" in str(caught.value)
    assert "pulumi config set protect false && pulumi up\n  make down STACK=test" in str(
        caught.value
    )
    assert "in place of its second line:\n  pulumi config set retain true && pulumi up" in str(
        caught.value
    )
    assert file.exists()
    assert driven.pulumi("stack", "export") == before

    driven.write(PROTECTED.format(file=file, protect=False))
    driven.pulumi("up", "--yes", "--skip-preview")
    stack.down("test")
    assert not file.exists()
    assert stack.resources("test") == []


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("", "destroy --skip-preview"),
        ("retain_on_delete=True", "destroy --skip-preview"),
        ("protect=True", "state delete --all --force"),
    ],
)
def test_no_engine_is_known_of_a_stack_that_was_removed(
    driven: Project, option: str, command: str
) -> None:
    """So its next `up` may go to any."""
    driven.write(
        "import pulumi, pulumi_command\n"
        "opts = pulumi.ResourceOptions(" + option + ")\n"
        "pulumi_command.local.Command('state', create='true', opts=opts)\n"
        "pulumi.export('engineId', 'RTNM:V36G')\n"
    )
    driven.pulumi("up", "--yes", "--skip-preview")
    assert "RTNM:V36G" in driven.pulumi("stack", "export")
    driven.pulumi(*command.split(), "--yes")
    assert "RTNM:V36G" not in driven.pulumi("stack", "export")


def test_an_earlier_state_is_brought_back_from_the_backends_backups(driven: Project) -> None:
    """As docs/more-than-one.md says."""
    driven.write("import pulumi\npulumi.export('engineId', 'RTNM:V36G')\n")
    driven.pulumi("up", "--yes", "--skip-preview")
    before = driven.pulumi("stack", "export")
    [first] = (driven.state / ".pulumi/backups/zhub/test").glob("test.*.json")
    driven.pulumi("state", "delete", "--all", "--yes")
    assert driven.pulumi("stack", "export") != before
    shutil.copyfile(first, driven.state / ".pulumi/stacks/zhub/test.json")
    assert driven.pulumi("stack", "export") == before


@pytest.mark.engine
def test_down_lists_the_volumes_that_are_kept(
    driven: Project, engine: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    (driven.folder / "Pulumi.test.yaml").write_text(f"config:\n  zhub:prefix: {name}\n")
    stack.print_kept_volumes("test", "docker")
    assert capsys.readouterr().out == ""
    made, rm = [], "docker volume rm"
    try:
        parts = {"user-ann-home": "home", "shared_team": "shared", "state": "state"}
        for part, role in {**parts, "audit": "audit", "certs": "certs"}.items():
            labels = {"zhub.stack": name, "zhub.role": role}
            made.append(engine.volumes.create(f"{name}-{part}", labels=labels))
        stack.print_kept_volumes("test", "docker")
        shown = capsys.readouterr().out
        assert f"volumes are kept. To remove them for good: {rm} {name}-user-ann-home\n" in shown
        assert f"folders are kept. To remove them for good: {rm} {name}-shared_team\n" in shown
        assert f"database is kept (retain). To remove it for good: {rm} {name}-state\n" in shown
        assert f"audit log is kept (retain). To remove it for good: {rm} {name}-audit\n" in shown
        assert "certs" not in shown
        (driven.folder / "Pulumi.test.yaml").write_text(
            f"config:\n  zhub:prefix: {name}\n  docker:host: unix:///var/run/docker.sock\n"
        )
        stack.print_kept_volumes("test", "docker")
        line = f"docker --host unix:///var/run/docker.sock volume rm {name}-state"
        assert line in capsys.readouterr().out
    finally:
        for volume in made:
            volume.remove()


@pytest.mark.parametrize("retain", [False, True])
def test_up_says_what_down_keeps(
    driven: Project, capfd: pytest.CaptureFixture[str], *, retain: bool
) -> None:
    driven.write(
        "import pulumi, pulumi_tls\n"
        "pulumi_tls.PrivateKey('certificate', algorithm='RSA', rsa_bits=2048,\n"
        f"    opts=pulumi.ResourceOptions(retain_on_delete={retain}))\n"
        "pulumi.export('url', 'https://localhost')\n"
        "pulumi.export('certificateFingerprint', 'AB:CD')\n"
    )
    stack.up("test")
    words = "except homes and shared folders"
    words += " and the hub's database." if retain else ".\n"
    assert words in capfd.readouterr().out


def test_up_fails_on_a_policy_violation(driven: Project, capfd: pytest.CaptureFixture[str]) -> None:
    driven.write("import pulumi_docker\npulumi_docker.Volume('state', driver_opts={'o': 'bind'})\n")
    for command in (stack.preview, stack.up):
        with pytest.raises(Problem, match="failed, see above"):
            command("test")
        assert "[mandatory]" in capfd.readouterr().out
    assert stack.resources("test") == []


def test_names_on_the_engine_follow_the_stacks_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    assert stack.prefix("site") == "zhub-site"
    (tmp_path / "Pulumi.site.yaml").write_text("config:\n  zhub:prefix: zhub-old # renamed\n")
    assert stack.prefix("site") == "zhub-old"
    (tmp_path / "Pulumi.site.yaml").write_text("config:\n  zhub:prefix:\n  zhub:port: 8443\n")
    assert stack.prefix("site") == "zhub-site"


def test_images_to_look_at_are_the_stacks_by_digest(
    driven: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag may be another stack's by the time somebody looks."""
    monkeypatch.setattr(stack, "keeps_no_state", lambda: False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert stack.images("test", ["jupyter_hub_s390x"]) == {"jupyter_hub_s390x": "jupyter_hub_s390x"}
    assert stack.images("test", []) == stack.images("other", []) == {}
    with pytest.raises(Problem, match="stack test has no images yet: make up STACK=test builds"):
        sbom.chosen("test", [])
    driven.write(
        "import pulumi\n"
        "pulumi.export('hubDigest', 'sha256:1')\n"
        "pulumi.export('filterDigest', 'registry.example.com/f@sha256:2')\n"
        "pulumi.export('url', 'https://localhost')\n"
    )
    driven.pulumi("up", "--yes", "--skip-preview")
    assert stack.images("test", []) == {
        "zhub-test_hub": "sha256:1",
        "zhub-test_filter": "registry.example.com/f@sha256:2",
    }


@pytest.mark.parametrize("elsewhere", [True, False])
def test_images_are_looked_at_on_the_stacks_engine_with_its_files_for_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, elsewhere: bool
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    monkeypatch.setattr(stack, "outputs", lambda _: {"hubDigest": "sha256:1"})
    for name in ("DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"):
        # So that what the code sets is gone after the test.
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    if elsewhere:
        monkeypatch.setenv("DOCKER_HOST", "ssh://other.example.com")
    settings = "config:\n  docker:host: tcp://z.example.com:2376\n  docker:certPath: tls\n"
    (tmp_path / "Pulumi.site.yaml").write_text(settings)
    assert stack.images("site", []) == {"zhub-site_hub": "sha256:1"}
    found = [os.environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CERT_PATH")]
    expected = ["tcp://z.example.com:2376", f"{tmp_path}/tls"]
    assert found == (["ssh://other.example.com", None] if elsewhere else expected)
    assert os.environ.get("DOCKER_TLS_VERIFY") == (None if elsewhere else "1")
