"""A real stack of this program, driven by the `pulumi` command as by an operator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolchain.__main__ import MORE
from toolchain.engine import client
from toolchain.places import ROOT

PULUMI = ROOT / ".toolchain" / "bin" / "pulumi"
PASSPHRASE = "engine-tests"  # of throw-away stacks, whose state is a temporary folder


def checkout(folder: Path, umask: int = 0o022) -> Path:
    """Copy what is checked in to a folder, with the modes that git gives files at that umask."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.strip("\0").split("\0"):
        source, copy = ROOT / name, folder / name
        if not source.exists():
            continue  # removed, but not yet committed
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        copy.chmod((0o777 if os.access(source, os.X_OK) else 0o666) & ~umask)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o777 & ~umask)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def equipped(folder: Path) -> Path:
    """A checkout that has this clone's toolchain as well, so that a stack can come up from it."""
    project = checkout(folder)
    (project / ".toolchain").symlink_to(ROOT / ".toolchain")
    return project


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts in lists and objects, with their paths as `pulumi config set` has them."""
    if isinstance(value, list):
        for number, element in enumerate(value):
            yield from _leaves(f"{path}[{number}]", element)
    elif isinstance(value, dict):
        for name, element in value.items():
            yield from _leaves(f"{path}.{name}", element)
    else:
        yield path, str(value)


class PulumiError(Exception):
    """A `pulumi` command failed; the text is the output that the operator would read."""


@dataclass(frozen=True)
class Stack:
    """A stack with state and stack file in a separate folder, outside the project.

    `folder` holds the state backend and the stack file, so that the work tree stays clean.
    """

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    project: Path = ROOT
    """The checkout whose program runs, with its own toolchain if it has one."""

    @property
    def prefix(self) -> str:
        """Prefix of the names of the stack's Docker objects."""
        return f"zhub-{self.name}"

    @property
    def config_file(self) -> Path:
        """The stack file, which is not in the project folder."""
        return self.folder / f"Pulumi.{self.name}.yaml"

    @property
    def state_file(self) -> Path:
        """The file backend's checkpoint."""
        return self.folder / ".pulumi" / "stacks" / "zhub" / f"{self.name}.json"

    def labelled(self, role: str, user: str | None = None) -> dict[str, Any]:
        """Return the engine's filter for objects with a role in this stack, perhaps of one user."""
        labels = [f"zhub.stack={self.prefix}", f"zhub.role={role}"]
        return {"label": labels + ([f"zhub.user={user}"] if user else [])}

    def pulumi(self, *arguments: str, timeout: float = 1500) -> str:
        """Run `pulumi` on this stack; `timeout` in seconds. Returns standard output.

        Raises:
            PulumiError: with both streams, when the command fails.
        """
        own = self.project / PULUMI.relative_to(ROOT)
        result = subprocess.run(
            [
                str(own if own.exists() else PULUMI),
                "--non-interactive",
                "--color=never",
                *arguments,
            ],
            cwd=self.project,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if result.returncode:
            raise PulumiError(result.stdout + result.stderr)
        return result.stdout

    def shell(self, script: str, folder: Path = ROOT) -> str:
        """Run lines of bash in a folder, with `pulumi` and `docker`; returns what they print."""
        variables = self.variables()
        tools = [str(PULUMI.parent), str(Path(client()).parent), variables["PATH"]]
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=variables | {"PATH": os.pathsep.join(tools)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    @property
    def toolchain(self) -> list[str]:
        """What runs the commands of `make`, for a stack whose checkout has its stack file.

        Nothing is installed first: the checkout's `.venv` is this clone's.
        """
        program = (
            "import sys; from toolchain import __main__ as it; it.ensure = lambda **_: None;"
            " sys.exit(it.main(sys.argv[1:]))"
        )
        return [sys.executable, "-c", program]

    def operator(self, command: str, **variables: str) -> list[str]:
        """The command behind one of `make` on this stack.

        Args:
            command: of `make`.
            variables: as on its command line, such as `USER`; each other one is empty.
        """
        arguments = [variables.pop(name, "") for name in MORE.get(command, ())]
        assert not variables, f"make {command} has no {', '.join(variables)}"
        return [*self.toolchain, command, self.name, *arguments]

    def make(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `make` on this stack, with what it prints on both streams."""
        return subprocess.run(
            self.operator(command, **variables),
            cwd=self.project,
            env=self.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def variables(self) -> dict[str, str]:
        """The environment of the stack's commands."""
        return {
            **os.environ,
            "PULUMI_BACKEND_URL": self.folder.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            **self.environment,
        }

    def on_stack(self, command: str, *arguments: str) -> str:
        """Run a `pulumi` command that takes this stack and its stack file."""
        own = ("--stack", self.name, "--config-file", str(self.config_file))
        return self.pulumi(*command.split(), *own, *arguments)

    def init(self, config: dict[str, Any]) -> None:
        """Create the stack and set its config, as `pulumi config set` would."""
        self.pulumi("stack", "init", self.name)
        # `stack init` has no --config-file: it writes the passphrase's salt into the project.
        (self.project / f"Pulumi.{self.name}.yaml").replace(self.config_file)
        self.configure(config)

    def configure(self, config: dict[str, Any]) -> None:
        """Set config values of the program, as an operator does, in place of those before."""
        for key, value in config.items():
            if isinstance(value, list):
                self._configure_list(f"zhub:{key}", value)
            else:
                text = value if isinstance(value, str) else json.dumps(value)
                self.on_stack("config set", "--", f"zhub:{key}", text)

    def _configure_list(self, key: str, value: list[Any]) -> None:
        """Set a list, each element separately.

        For an empty one, what there is goes, and the list stays: `config rm` of the last element
        does so. Where there is none, it stays so.
        """
        there = yaml.safe_load(self.config_file.read_text()).get("config", {})
        if key in there:
            self.on_stack("config rm", "--", key)
        for path, element in _leaves(key, value or ["last"] * (key in there)):
            self.on_stack("config set", "--path", "--", path, element)
        if key in there and not value:
            self.on_stack("config rm", "--path", "--", f"{key}[0]")

    def up(self, *arguments: str) -> str:
        """Bring the stack up without asking."""
        return self.on_stack("up", "--yes", *arguments)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in clear."""
        text = self.pulumi("stack", "output", "--stack", self.name, "--json", "--show-secrets")
        outputs: dict[str, Any] = json.loads(text)
        return outputs
