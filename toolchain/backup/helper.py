"""Short-lived containers on the stack's engine, which read or write one volume each."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolchain.backup import jobs
from toolchain.backup.engine import Engine
from toolchain.backup.inside import BLOCK, MARK, VOLUME, pipe
from toolchain.backup.jobs import Job
from toolchain.console import Problem

#: What the container runs.
PROGRAM = Path(__file__).with_name("inside.py")
PYTHON = "/opt/jupyter/bin/python3"

#: Of the engine's limits for a helper: a copy of the database is in its memory.
MEMORY = "512m"

#: Seconds that a helper gets to remove what it has half made, when its command is interrupted.
TIDY_SECONDS = 20

#: Lines of a helper's messages that are shown, and characters of a line.
TAIL = 12
WIDTH = 200

#: Bytes of a helper's messages that are read: users choose the names in tar's.
SAID = 1 << 24

#: Label of the container of a command that is at work: what the operator has typed.
COMMAND = "zhub.command"

#: What a job says at its end.
Report = dict[str, Any]


class JobFailed(Problem):
    """A helper could not do its job, such as with a volume that cannot be read."""

    def __init__(self, text: str, last: str = "") -> None:
        """Keep the last line that the helper has said, which is its own and not a program's."""
        super().__init__(text)
        self.last = last


@dataclass(frozen=True)
class Helpers:
    """Runs jobs on an engine."""

    engine: Engine
    image: str

    def command(self, job: Job, name: str, *more: str) -> list[str]:
        """The `docker run` of a job, with the least rights that it can do with.

        Args:
            job: what to do.
            name: the container's.
            more: options.
        """
        limits = ("--memory", MEMORY, "--memory-swap", MEMORY, "--pids-limit", "32")
        rights = ("--cap-drop=ALL", *(f"--cap-add={name}" for name in job.capabilities))
        mount = f"type=volume,source={job.volume},target={VOLUME},volume-nocopy"
        if job.folder:
            mount = f"type=bind,source={job.folder},target={VOLUME}"
        return [
            *(*self.engine.docker, "run", "--rm", "--interactive", f"--name={name}"),
            "--network=none",
            *("--read-only", "--tmpfs=/tmp", *limits, *rights, f"--user={job.user}"),
            # A log would be a copy of all that is streamed.
            *("--security-opt=no-new-privileges", "--log-driver=none", "--env=LC_ALL=C"),
            *("--label", f"zhub.stack={self.engine.prefix}", "--label", "zhub.role=backup", *more),
            *(
                ("--mount", mount + ("" if job.writes else ",readonly"))
                if job.volume or job.folder
                else ()
            ),
            *(f"--entrypoint={PYTHON}", self.image, "-I", "-c", PROGRAM.read_text()),
            *(job.name, *job.arguments),
        ]

    def make_home(self, volume: str, user: str, *, mounted: bool) -> None:
        """Make a home where the stack has them, and its folder.

        Raises:
            Problem: it failed, such as when there are files of an earlier home.
        """
        path = self.engine.homes_path() if mounted else ""
        driver = self.engine.homes_driver() if mounted else ""
        with self.engine.homes_around() if driver else nullcontext("") as around:
            if path or around:
                self.ask(jobs.make_folder(path, volume, around))
        self.engine.make_home(volume, user, mounted=mounted, path=path, driver=driver)

    def remove_home(self, volume: str) -> None:
        """Remove a home that was just made, as far as it was."""
        removed = self.engine.find("volume", "rm", volume) is not None
        if not removed:
            return
        with suppress(Problem), self.engine.homes_around() as around:
            if (path := self.engine.homes_path()) or around:
                self.ask(jobs.remove_folder(path, volume, around))

    def ask(self, job: Job) -> Report:
        """Do a job that streams nothing; returns its report."""
        return self.receive(job, lambda _: None)

    def receive(self, job: Job, take: Callable[[bytes], object]) -> Report:
        """Do a job that streams something from the engine; returns its report.

        Raises:
            JobFailed: it failed.
        """
        with self._running(job) as (process, result):
            stream = pipe(process.stdout)
            while block := stream.read(BLOCK):
                take(block)
            return result()

    def send(self, job: Job, blocks: Iterable[bytes]) -> Report:
        """Do a job that streams something to the engine; returns its report.

        Raises:
            JobFailed: it failed.
        """
        with self._running(job) as (process, result):
            stream = pipe(process.stdin)
            with suppress(BrokenPipeError):  # the helper says why
                for block in blocks:
                    stream.write(block)
                stream.close()
            return result()

    @contextmanager
    def holding(self, name: str, command: str) -> Iterator[str]:
        """Have a container of this name meanwhile, which says what is at work.

        Yields:
            nothing; or why there is none.
        """
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.command(jobs.hold(), name, "--label", f"{COMMAND}={command}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                # Ctrl-C is for the command that it is about.
                start_new_session=True,
            )
            try:
                runs = bool(pipe(process.stdout).readline())
                said.seek(0)
                yield "" if runs else said.read().decode(errors="replace").strip()
            finally:
                if not _ended(process):
                    process.kill()
                    process.wait()

    @contextmanager
    def _running(self, job: Job) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], Report]]]:
        """A helper's process, and what waits for its end and returns the report."""
        if job.volume:
            # `docker run` would make a volume that is missing.
            try:
                self.engine.ask("volume", "inspect", "--format", "{{.Name}}", job.volume)
            except Problem as problem:
                raise JobFailed(str(problem)) from None
        name = f"{self.engine.prefix}-backup-{secrets.token_hex(4)}"
        with tempfile.TemporaryFile() as said:
            # Standard input stays open meanwhile: the helper ends with it.
            process = subprocess.Popen(
                self.command(job, name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            try:
                yield process, lambda: _report(job, process, said)
            finally:
                if not _ended(process):
                    process.kill()
                    self.engine.find("rm", "--force", name)
                    process.wait()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Close a helper's input, with which it ends and removes what it has half made.

    Returns:
        whether it has ended in time.
    """
    for stream in (pipe(process.stdout), pipe(process.stdin)):
        with suppress(BrokenPipeError):
            stream.close()
    try:
        process.wait(timeout=TIDY_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _report(job: Job, process: subprocess.Popen[bytes], said: IO[bytes]) -> Report:
    """Wait for the end; returns the report.

    Raises:
        JobFailed: it failed, with what it said.
    """
    code = process.wait()
    said.seek(max(0, said.seek(0, os.SEEK_END) - SAID))
    lines = said.read().decode(errors="replace").splitlines()
    last = lines[-1] if lines else ""
    if code or not last.startswith(MARK):
        where = f" of volume {job.volume}" if job.volume else ""
        where = f" in {job.folder}" if job.folder else where
        raise JobFailed(f"{job.name}{where} ended with code {code}:\n{_shown(lines)}", last)
    report: Report = json.loads(last.removeprefix(MARK))
    return report | {"said": _shown(lines[:-1])}


def _shown(lines: list[str]) -> str:
    # The beginning of a long line has the name, and its end what is wrong with it.
    half = WIDTH // 2
    short = (
        line if len(line) <= WIDTH else f"{line[:half]} … {line[-half:]}" for line in lines[-TAIL:]
    )
    return "\n".join(f"    {line}" for line in short)
