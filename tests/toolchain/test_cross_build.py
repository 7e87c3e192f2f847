"""The CLI built for s390x on another machine, and packages without an s390x wheel."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest

from toolchain import cli, engine, environment
from toolchain.console import Problem
from toolchain.pins import PULUMI
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

#: A minimal CLI: same module path, same package, same variable for the version.
MODULE = {
    "go.mod": "module github.com/pulumi/pulumi\n\ngo 1.25\n",
    "go.sum": "",
    "sdk/v3/go/common/version/version.go": "package version\n\nvar Version string\n",
    "pkg/v3/cmd/pulumi/main.go": """package main

import "github.com/pulumi/pulumi/sdk/v3/go/common/version"

func main() { println(version.Version) }
""",
}


def run_s390x(program: Path, *arguments: str) -> str:
    """Run an s390x program on this machine's kernel; returns its output."""
    if platform.machine() != "s390x" and not engine.emulates():
        pytest.skip("no s390x emulation: run `make up`")
    result = subprocess.run(
        [str(program), *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return result.stdout.strip()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minimal CLI instead of the real one, built with the Go in the real cache."""
    for name, text in MODULE.items():
        file = tmp_path / "module" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    go = cli.go_command()
    monkeypatch.setattr(cli, "go_command", lambda: go)
    monkeypatch.setattr(cli, "MODULE", tmp_path / "module")
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("small")
def test_it_runs_on_s390x_and_is_built_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.cross_build("s390x")
    program = cli.built_folder("s390x") / "pulumi"
    assert run_s390x(program) == f"v{PULUMI}"
    shown = capsys.readouterr().err
    assert f"scp -r {program.parent} HOST:.cache/zhub/" in shown
    before = program.stat()
    cli.cross_build("s390x")
    assert program.stat() == before


def test_the_real_one_runs_on_s390x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = cli.built_folder("s390x") / "pulumi"
    if not program.exists():
        pytest.skip("the CLI for s390x takes long to build: run `make cli`")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
    assert run_s390x(program, "version") == f"v{PULUMI}"


def test_an_unknown_processor_is_refused() -> None:
    with pytest.raises(Problem, match="ARCH=s390: must be one of amd64, arm64, s390x"):
        cli.cross_build("s390")


def test_the_packages_without_wheels_are_left_out_of_the_lock() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    names = [name for name, _ in environment.FROM_DISTRIBUTION.values()]
    shorter = environment.without(names, lock)
    assert "--hash" in shorter
    gone = [
        line.split("==")[0]
        for line in lock.splitlines()
        if "==" in line and line.partition("==")[0] + "==" not in shorter
    ]
    assert sorted(gone) == sorted(names)


def test_every_other_package_has_a_wheel_for_s390x(tmp_path: Path) -> None:
    """Asks the package index, whose files may have changed since the lock was made."""
    lock = tmp_path / "requirements.txt"
    names = [name for name, _ in environment.FROM_DISTRIBUTION.values()]
    lock.write_text(environment.without(names, (ROOT / "requirements.txt").read_text()))
    platforms = [f"manylinux_2_{minor}_s390x" for minor in (17, 28, 34)]
    result = subprocess.run(
        [
            *(environment.PYTHON, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--require-hashes", "--target", tmp_path / "target"),
            *(f"--platform={name}" for name in [*platforms, "manylinux2014_s390x"]),
            *("--python-version=3.13", "--report", tmp_path / "report.json", "-r", lock),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(json.loads((tmp_path / "report.json").read_text())["install"]) > 20
