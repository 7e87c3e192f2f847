"""Fixtures of the toolchain's tests: temporary Pulumi projects and clones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.commands import as_typed
from tests.engine.stack import Stack
from toolchain import passphrase, runs, shell, snapshot, stack
from toolchain.places import BIN, CACHE, CLI, ROOT, VENV

PASSPHRASE = "of tests"


def config_as_typed(folder: Path, commands: list[str]) -> dict[str, Any]:
    """What is in the stack file of a new stack when somebody has typed these commands."""
    require_toolchain()
    typed = Stack("e2e-typed", folder)
    typed.init({})
    typed.shell(as_typed(commands, typed.name, typed.config_file))
    found: dict[str, Any] = yaml.safe_load(typed.config_file.read_text())["config"]
    return found


@dataclass(frozen=True)
class Project:
    """A Pulumi project in Python with a stack `test` whose state is a temporary folder."""

    folder: Path
    state: Path

    def write(self, program: str) -> None:
        """Write the program."""
        (self.folder / "__main__.py").write_text(program)

    def environment(self) -> dict[str, str]:
        """The variables of a shell in which only this clone's `pulumi` was set up."""
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "PULUMI_BACKEND_URL": self.state.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_STACK": "test",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `pulumi`, in a process group of its own as a terminal would."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Run `pulumi` and return its output; it must succeed, or fail if `fails` is set."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        assert bool(process.returncode) == fails, output
        return output

    def locks(self) -> list[Path]:
        """The files of the stack's locks."""
        return list((self.state / ".pulumi" / "locks").rglob("*.json"))


def go_install(program: str) -> str:
    """The command that gets a program of `.ci/programs`, as `.ci/run` does."""
    lines = (ROOT / ".ci/programs").read_text().split()
    [found] = [line for line in lines if line.partition("@")[0].endswith(f"/{program}")]
    return f"go install {found}"


def require_toolchain() -> None:
    """Skip if `make toolchain` has not been run."""
    if not (CLI / "pulumi").exists():
        pytest.skip("no toolchain: run `make toolchain`")


@pytest.fixture(scope="session")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An empty program and its stack, to be copied."""
    require_toolchain()
    root = tmp_path_factory.mktemp("pulumi")
    project = Project(root / "project", root / "state")
    project.folder.mkdir()
    project.state.mkdir()
    (project.folder / "Pulumi.yaml").write_text(
        f"name: zhub\nruntime: {{name: python, options: {{virtualenv: {VENV}}}}}\n"
    )
    project.write("")
    project.pulumi("stack", "init", "test")
    return project


@pytest.fixture
def project(empty_project: Project, tmp_path: Path) -> Project:
    project = Project(tmp_path / "project", tmp_path / "state")
    shutil.copytree(empty_project.folder, project.folder)
    shutil.copytree(empty_project.state, project.state)
    return project


@pytest.fixture
def driven(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that the toolchain's modules use as this clone."""
    monkeypatch.setattr(stack, "ROOT", project.folder)
    monkeypatch.setattr(shell, "ROOT", project.folder)
    for module in (runs, shell, stack):
        monkeypatch.setattr(module, "STATE", project.state)
    monkeypatch.setenv("PULUMI_BACKEND_URL", project.state.as_uri())
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    return project


@dataclass(frozen=True)
class Docker:
    """A `docker` that is the first on PATH, and notes what it is asked."""

    file: Path
    log: Path

    def answers(self, id: str | None) -> None:
        """Have the engine answer with this ID; None for no answer."""
        answer = f"echo {id}" if id else "exit 1"
        self.file.write_text(f'#!/bin/sh\necho "$*" >> {self.log}\n{answer}\n')
        self.file.chmod(0o755)

    def asked(self) -> list[str]:
        """The arguments of all commands so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def asked_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    folder = tmp_path / "asked"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Docker(folder / "docker", folder / "log")


@dataclass(frozen=True)
class Clone:
    """The toolchain in a folder of its own, with a cache of its own."""

    root: Path
    cache: Path

    def environment(self, **more: str) -> dict[str, str]:
        """This process's variables, with the clone's own cache and no Pulumi settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI")}
        return {**kept, "XDG_CACHE_HOME": str(self.cache), **more}

    def make(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `make` in the clone, with more environment variables."""
        return subprocess.run(
            ["make", "-s", *arguments],
            cwd=self.root,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def python(self, code: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python code that imports the clone's toolchain."""
        return subprocess.run(
            ["python3", "-c", code],
            cwd=self.root,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    root = tmp_path / "clone with space"
    root.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy2(ROOT / name, root / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "toolchain", root / "toolchain", ignore=ignored)
    (root / snapshot.FILE).parent.mkdir(parents=True)
    shutil.copy(ROOT / snapshot.FILE, root / snapshot.FILE)
    return Clone(root, tmp_path / "cache")


@dataclass(frozen=True)
class Site:
    """A whole clone with its toolchain, and a shell without Pulumi settings."""

    root: Path

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The shell's variables, with more of them."""
        return {
            "HOME": str(self.root.parent),
            "PATH": f"{self.root / '.toolchain/bin'}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(CACHE.parent),
            **(more or {}),
        }

    def shell(
        self, script: str, more: Mapping[str, str] | None = None, *, fails: bool = False
    ) -> str:
        """Run lines of shell in the clone; returns their output and errors.

        Args:
            script: the lines; `pulumi` is this clone's.
            more: environment variables.
            fails: the script must fail, instead of succeed.
        """
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert bool(result.returncode) == fails, result.stdout
        return result.stdout

    def salt(self, stack: str) -> str:
        """What a stack's file says its secrets are encrypted with."""
        return passphrase.entry(self.root / f"Pulumi.{stack}.yaml", "encryptionsalt")

    def opens(self, stack: str, text: str) -> bool:
        """Whether a passphrase decrypts a stack's secrets."""
        return passphrase.opens(self.salt(stack), text)

    def own(self, stack: str) -> str:
        """The passphrase that the clone keeps for a stack."""
        return (self.root / ".state" / f"passphrase-{stack}").read_text()


def make_site(root: Path) -> Site:
    """Copy this clone's files, except ignored ones, and install the toolchain with `make env`."""
    require_toolchain()
    known = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(known, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    return Site(root)


@pytest.fixture(scope="session")
def whole_clone(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A clone with the toolchain that `make env` installs, without a stack."""
    site = make_site(tmp_path_factory.mktemp("whole") / "clone")
    shown = site.shell('eval "$(make -s env STACK=site)"; pulumi version; echo "on $PULUMI_STACK"')
    assert re.search(r"^v3\.", shown, re.MULTILINE)
    assert "on site" in shown
    return site


@pytest.fixture
def site(whole_clone: Site) -> Iterator[Site]:
    """Such a clone for one test, which may create stacks in it."""
    before = set(whole_clone.root.glob("Pulumi.*"))
    yield whole_clone
    for file in set(whole_clone.root.glob("Pulumi.*")) - before:
        file.unlink()
    shutil.rmtree(whole_clone.root / ".state")
    (whole_clone.root / ".state").mkdir(mode=0o700)
    shutil.rmtree(whole_clone.root / ".toolchain/home/workspaces", ignore_errors=True)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder; a missing file is answered with the given status."""

    def __init__(self, *arguments: Any, refusal: int, **options: Any) -> None:
        self._refusal = refusal
        super().__init__(*arguments, **options)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        super().send_error(self._refusal if code == HTTPStatus.NOT_FOUND else code)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def serving(root: Path, refusal: int = HTTPStatus.NOT_FOUND) -> Iterator[str]:
    """Serve a folder by http on loopback; yields the address."""

    def handler(*arguments: object) -> Quiet:
        return Quiet(*arguments, directory=str(root), refusal=refusal)

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
