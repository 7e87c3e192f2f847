"""`pulumi` in a shell that has only its folder, and nothing else of this clone."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.docker_tools import engine_or_skip
from tests.toolchain.conftest import Docker, require_toolchain
from toolchain import command, passphrase, runs, stack
from toolchain.console import Problem
from toolchain.passphrase import DEV, PUBLIC
from toolchain.places import BIN, CLI, ROOT

pytestmark = pytest.mark.slow

Pulumi = Callable[..., str]


@pytest.fixture
def bare(tmp_path: Path) -> Pulumi:
    """Runs `pulumi` in this clone, with no other program on PATH and no Pulumi settings."""
    require_toolchain()
    (tmp_path / "state").mkdir()
    variables = {
        "HOME": str(tmp_path),
        "PATH": str(BIN),
        "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
    }

    def pulumi(*arguments: str) -> str:
        result = subprocess.run(
            ["/usr/bin/env", "pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    return pulumi


@pytest.mark.engine
def test_a_plain_preview_of_the_dev_stack(bare: Pulumi) -> None:
    engine_or_skip()
    before = (ROOT / "Pulumi.dev.yaml").read_bytes()
    bare("stack", "init", "--stack", DEV, "--no-select")
    shown = bare("preview", "--stack", DEV)
    assert "to create" in shown
    # It trusts the machine's own CAs, and one of them may be of a kind that Python refuses.
    of_machine = r" 1 warning *$|warning: extracafile: .*"
    assert "warning" not in re.sub(of_machine, "", shown.lower(), flags=re.MULTILINE)
    assert "passphrase" not in shown.lower()
    assert (ROOT / "Pulumi.dev.yaml").read_bytes() == before


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a passphrase for the stack `site`, in a shell without Pulumi settings."""
    root = tmp_path / "clone"
    (root / "part").mkdir(parents=True)
    (root / "Pulumi.yaml").write_text("name: zhub\nruntime: python\n")
    (root / ".state").mkdir()
    (root / ".state" / "passphrase-site").write_text("of the site")
    for name in [name for name in os.environ if name.startswith("PULUMI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(command, "ROOT", root)
    monkeypatch.setattr(command, "PULUMI_HOME", tmp_path / "home")
    monkeypatch.setattr(command, "STATE", root / ".state")
    monkeypatch.setattr(command, "CREDENTIALS", tmp_path / "home" / "credentials.json")
    monkeypatch.setattr(passphrase, "ROOT", root)
    monkeypatch.setattr(passphrase, "STATE", root / ".state")
    monkeypatch.setattr(runs, "STATE", root / ".state")
    monkeypatch.setattr(stack, "ROOT", root)
    monkeypatch.chdir(root)
    return root


def passphrases(*arguments: str) -> dict[str, str]:
    return {
        name.removeprefix("PULUMI_CONFIG_"): value
        for name, value in command.environment(arguments).items()
        if name.startswith("PULUMI_CONFIG_")
    }


@pytest.mark.parametrize(
    "arguments",
    [("preview", "--stack", "site"), ("preview", "-s", "site"), ("up", "--stack=org/zhub/site")],
)
def test_the_stack_of_the_command_gets_its_passphrase(
    clone: Path, arguments: tuple[str, ...]
) -> None:
    assert passphrases(*arguments) == {"PASSPHRASE_FILE": str(clone / ".state/passphrase-site")}


def test_the_stack_of_the_shell_gets_its_passphrase(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_STACK", "dev")
    monkeypatch.chdir(clone / "part")
    assert passphrases("up") == {"PASSPHRASE": PUBLIC}


def test_the_selected_stack_gets_its_passphrase(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_toolchain()
    backend = (clone / ".state").as_uri()
    monkeypatch.setenv("PULUMI_BACKEND_URL", backend)
    assert passphrases("up") == {}
    subprocess.run(
        [CLI / "pulumi", "stack", "init", "site"],
        env={
            "HOME": str(tmp_path),
            "PATH": os.defpath,
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_BACKEND_URL": backend,
            "PULUMI_CONFIG_PASSPHRASE": "of the site",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        },
        check=True,
        capture_output=True,
    )
    assert passphrases("up") == {"PASSPHRASE_FILE": str(clone / ".state/passphrase-site")}
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://another")
    assert passphrases("up") == {}


def test_for_a_stack_without_a_passphrase_here_pulumi_decides(clone: Path) -> None:
    assert passphrases("up", "--stack", "other") == {}
    assert not (clone / ".state" / "passphrase-other").exists()


def test_the_shells_own_passphrase_stays(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "its own")
    assert passphrases("up", "--stack", "site") == {"PASSPHRASE": "its own"}


def test_another_project_gets_no_passphrase(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "Pulumi.yaml").write_text("name: other\nruntime: python\n")
    monkeypatch.chdir(tmp_path / "other")
    assert passphrases("up", "--stack", "site") == {}


@pytest.fixture
def on_another_machine(
    clone: Path, tmp_path: Path, asked_docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack `site` is on another machine's engine, as the CLI says."""
    asked_docker.answers("CUJR:PUOR")
    deployment = {
        "resources": [
            {"type": "pulumi:pulumi:Stack", "outputs": {"engineId": "RTNM:V36G"}},
            {"type": "pulumi:providers:docker", "inputs": {"host": "unix:///var/run/docker.sock"}},
            {"type": "docker:index/volume:Volume"},
        ]
    }
    script = f"""#!/bin/sh
[ "$*" = "stack export --stack site" ] || exit 1
echo '{json.dumps({"deployment": deployment})}'
"""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli/pulumi").write_text(script)
    (tmp_path / "cli/pulumi").chmod(0o755)
    monkeypatch.setattr(command, "CLI", tmp_path / "cli")


@pytest.mark.parametrize(
    "line",
    [
        "refresh --stack site",
        "destroy -s site --yes",
        "down -s site",
        "up -s site --refresh --skip-preview --yes",
        "up -rfs site",
    ],
)
@pytest.mark.usefixtures("on_another_machine")
def test_what_forgets_the_stack_without_running_the_program_is_refused_on_another_machine(
    clone: Path, line: str
) -> None:
    with pytest.raises(Problem, match="stack site is not on this machine"):
        command.environment(line.split())
    assert not (clone / ".state/runs-site").exists()


@pytest.mark.parametrize(
    "line",
    [
        *("preview --refresh -s site", "up -s site", "up --refresh -s site", "up -fs site"),
        # The CLI does not know it, and will say so.
        "refresh -s other",
    ],
)
@pytest.mark.usefixtures("on_another_machine")
def test_what_runs_the_program_first_is_left_to_it(clone: Path, line: str) -> None:
    assert command.environment(line.split())
