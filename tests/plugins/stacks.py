"""Stacks for the real CLI, with a test's function as the program, and chosen plugins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2_grpc

from toolchain.places import ROOT

PULUMI = ROOT / ".toolchain" / "bin" / "pulumi"
OURS = ROOT / ".toolchain" / "home"
"""PULUMI_HOME with the plugins of this repository."""

Program = Callable[[], None]


@dataclass
class Run:
    """One run of the CLI: its exit code, what it printed, and the engine's events."""

    code: int
    text: str
    events: list[dict[str, Any]]

    def errors(self) -> list[tuple[str, str]]:
        """Return each error as (name of the resource, message)."""
        found = [event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event]
        return [
            (diagnostic.get("urn", "").rsplit("::", 1)[-1], diagnostic["message"].strip())
            for diagnostic in found
            if diagnostic["severity"] == "error"
        ]

    def warnings(self) -> list[str]:
        """Return the text of every warning."""
        found = [event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event]
        return [d["message"].strip() for d in found if d["severity"] == "warning"]

    def steps(self) -> list[tuple[str, str]]:
        """Return the steps in order, as (operation, name), without unchanged resources."""
        found = [
            event["resourcePreEvent"]["metadata"]
            for event in self.events
            if "resourcePreEvent" in event
        ]
        return [
            (step["op"], step["urn"].rsplit("::", 1)[-1])
            for step in found
            if step["op"] not in ("same", "refresh") and not step["type"].startswith("pulumi:")
        ]


@dataclass
class Stack:
    """A stack in its own state backend; `home` is the PULUMI_HOME with the plugins."""

    folder: Path
    home: Path = OURS
    name: str = "test"
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not PULUMI.exists():
            pytest.skip("no Pulumi CLI here: make toolchain")
        (self.folder / "backend").mkdir(parents=True)
        (self.folder / "Pulumi.yaml").write_text("name: plugins\nruntime: python\n")
        self.cli("stack", "init", self.name)

    def cli(self, *arguments: str) -> str:
        """Run a command that needs no program; return its output."""
        result = subprocess.run(
            self._command(*arguments),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout[-1000:] + result.stderr
        return result.stdout

    def run(self, command: str, program: Program, *arguments: str) -> Run:
        """Run `up`, `preview`, `refresh` … with this program."""
        with self.started(command, program, *arguments) as process:
            text = process.communicate()[0]
        log = self.folder / "events"
        lines = log.read_text().splitlines() if log.exists() else []
        return Run(process.returncode, text, [json.loads(line) for line in lines])

    @contextmanager
    def started(
        self, command: str, program: Program, *arguments: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start such a command and leave it running."""
        server = grpc.server(ThreadPoolExecutor(4))
        language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(program), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        log = self.folder / "events"
        log.unlink(missing_ok=True)
        process = subprocess.Popen(
            self._command(command, *arguments, f"--client=127.0.0.1:{port}", f"--event-log={log}"),
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)
            server.stop(None)

    def up(self, program: Program, *arguments: str) -> Run:
        """Run `pulumi up` without its preview."""
        return self.run("up", program, "--yes", "--skip-preview", *arguments)

    def preview(self, program: Program, *arguments: str) -> Run:
        """Run `pulumi preview`."""
        return self.run("preview", program, "--diff", *arguments)

    def refresh(self, program: Program, *arguments: str) -> Run:
        """Run `pulumi refresh`."""
        return self.run("refresh", program, "--yes", "--skip-preview", *arguments)

    def destroy(self) -> str:
        """Run `pulumi destroy`."""
        return self.cli("destroy", "--yes", "--skip-preview")

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources of the state, secrets in clear."""
        exported = json.loads(self.cli("stack", "export", "--show-secrets"))
        found: list[dict[str, Any]] = exported["deployment"].get("resources", [])
        return found

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the resources of the state by name, secrets in clear."""
        return {resource["urn"].rsplit("::", 1)[-1]: resource for resource in self.resources()}

    def _command(self, *arguments: str) -> list[str]:
        return [str(PULUMI), *arguments, "--non-interactive", "--color=never"]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PULUMI_HOME": str(self.home),
            "PULUMI_BACKEND_URL": (self.folder / "backend").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "of a throw-away stack",
            "PULUMI_STACK": self.name,
            "PULUMI_DEBUG_COMMANDS": "true",  # `--event-log` is one
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **self.environment,
        }
