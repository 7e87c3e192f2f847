"""Short-lived containers on the stack's engine, which read or write one volume each."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from toolchain.backup import labels
from toolchain.backup.inside import BLOCK, MARK, VOLUME, pipe
from toolchain.console import Problem, output

#: What the container runs.
PROGRAM = Path(__file__).with_name("inside.py")
PYTHON = "/opt/jupyter/bin/python3"

#: Of the engine's limits for a helper: a copy of the database is in its memory.
MEMORY = "512m"

#: User and group of the hub, which its volume belongs to.
HUB_USER = "1000:1000"

#: Rights to pack and unpack files of all owners and modes. What is mounted is read-only where
#: nothing is written, and the container has nothing else.
READ = ("DAC_OVERRIDE",)
WRITE = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")

#: Lines of a helper's messages that are shown, and characters of a line.
TAIL = 12
WIDTH = 200

#: Bytes of a helper's messages that are read: users choose the names in tar's.
SAID = 1 << 24

#: Seconds that an `up` may take to replace a container, and between two looks.
REPLACED_SECONDS = 60
PAUSE = 1.0

#: What a job says at its end.
Report = dict[str, Any]


class JobFailed(Problem):
    """A helper could not do its job, such as with a volume that cannot be read."""


@dataclass(frozen=True)
class Job:
    """What a helper does."""

    name: str
    """Of a job of inside.py."""
    volume: str = ""
    """Name of the volume it gets; none if empty."""
    arguments: tuple[str, ...] = ()
    user: str = "0:0"
    capabilities: tuple[str, ...] = ()
    writes: bool = False
    """Whether it may write there."""
    folder: str = ""
    """Folder of the engine's machine that it gets instead of a volume."""


def save_home(volume: str) -> Job:
    return Job("save-home", volume, capabilities=READ)


def size(volume: str, seconds: int) -> Job:
    """Count what a volume takes, for so many seconds at most."""
    return Job("size", volume, (str(seconds),), capabilities=READ)


def empty(volume: str) -> Job:
    """Look whether there is anything in a volume."""
    return Job("empty", volume, capabilities=READ)


def put_home(volume: str, sha256: str, into: str = "", *, partly: bool = False) -> Job:
    """Unpack a home with this checksum; into a new folder of it, if one is named.

    With `partly`, all but paths that are too long to be unpacked.
    """
    arguments = (sha256, into, "partly" if partly else "")
    return Job("put-home", volume, arguments, capabilities=WRITE, writes=True)


def make_folder(path: str, name: str) -> Job:
    """Make an empty folder in one of the engine's machine; one that is there must be empty."""
    return Job("make-folder", "", (name,), capabilities=READ, writes=True, folder=path)


def remove_folder(path: str, name: str) -> Job:
    """Remove a folder with all that is in it."""
    rights = ("DAC_OVERRIDE", "FOWNER")
    return Job("remove-folder", "", (name,), capabilities=rights, writes=True, folder=path)


def save_state(volume: str) -> Job:
    # SQLite writes beside a database, also to read it.
    return Job("save-state", volume, user=HUB_USER, writes=True)


def put_state(volume: str, sha256: str, *, keep: bool) -> Job:
    """Replace what a hub keeps; with `keep`, leave the database before in the volume."""
    arguments = (sha256, "keep" if keep else "")
    return Job("put-state", volume, arguments, user=HUB_USER, writes=True)


def look(volume: str) -> Job:
    return Job("look", volume, user=HUB_USER, writes=True)


def mark(volume: str) -> Job:
    return Job("mark", volume, user=HUB_USER, writes=True)


def release() -> Job:
    return Job("release", user=HUB_USER)


@dataclass(frozen=True)
class Engine:
    """A stack's engine, as the `docker` command reaches it."""

    docker: tuple[str, ...]
    """The command, with the options for this engine."""
    prefix: str
    """Of the stack's names."""

    def ask(self, *arguments: str) -> str:
        """What a `docker` command prints.

        Raises:
            Problem: it fails.
        """
        done = subprocess.run(
            [*self.docker, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Problem(f"`docker {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def find(self, *arguments: str) -> str | None:
        """Like `ask`, for something that may not be there; None then."""
        return output([*self.docker, *arguments])

    def image(self) -> str:
        """The image of the stack's hub.

        Raises:
            Problem: the stack is not up.
        """
        self.ask("version", "--format", "{{.Server.Version}}")
        hub = f"{self.prefix}-hub"
        found = self._of_own(hub, "{{.Image}}")
        if found is None:
            raise Problem(
                f"the engine has no container {hub}. If you mean another stack, name it:"
                " STACK=NAME. If this stack is not up: make up STACK=NAME"
            )
        return found

    def _of_own(self, name: str, shown: str) -> str | None:
        """What `docker` shows of one of the stack's own containers; None if there is none.

        While the stack has others, an `up` may be replacing this one: it is waited for.
        """
        show = ("container", "inspect", "--format", shown, name)
        others = ("container", "ls", "--quiet", "--filter", f"label=zhub.stack={self.prefix}")
        end = time.monotonic() + REPLACED_SECONDS
        while (found := self.find(*show)) is None:
            if time.monotonic() > end or not self.ask(*others):
                return None
            time.sleep(PAUSE)
        return found

    def homes(self) -> dict[str, str]:
        """The users' volumes, and whose each is."""
        return labels.fitting(self._volumes("home", "zhub.user"), self.home_of)

    def _volumes(self, role: str, label: str) -> list[list[str]]:
        listed = self.ask(
            *("volume", "ls", "--format", labels.row(".Name", f'(.Label "{label}")')),
            *("--filter", f"label=zhub.stack={self.prefix}", "--filter", f"label=zhub.role={role}"),
        )
        return labels.rows(listed)

    def written(self) -> dict[str, int]:
        """The bytes that users' servers have written outside their volumes, by users.

        Of none on a swarm: only the engines of the servers' machines know.
        """
        servers = [] if self.on_swarm() else self.servers()
        if not servers:
            return {}
        # One that ends meanwhile is left out, and the command then says that it failed.
        shown = labels.row('(index .Config.Labels "zhub.user")', ".SizeRw")
        listed = self.find("container", "inspect", "--size", "--format", shown, *servers) or ""
        return {user: int(size) for user, size in labels.rows(listed)}

    def home_of(self, user: str) -> str:
        """The name of a user's volume, also when there is none."""
        return labels.home_of(self.prefix, user)

    def shared(self) -> dict[str, str]:
        """The volumes that several users share, by the folder's name."""
        found = labels.fitting(self._volumes("shared", "zhub.folder"), self._shared_of)
        return {folder: volume for volume, folder in found.items()}

    def _shared_of(self, folder: str) -> str:
        return f"{self.prefix}-shared_{folder}"

    def shared_paths(self) -> list[str]:
        """The shared folders at paths of the engine's machine, as the stack's guard has them."""
        listed = json.loads(self._of_guard("ZHUB_SHARED_FOLDERS") or "[]")
        return [folder["path"] for folder in listed if folder.get("path")]

    def homes_path(self) -> str:
        """The site's folder for homes, as the stack's guard has it; empty for the engine's own."""
        return self._of_guard("ZHUB_HOMES_PATH")

    def homes_paths(self) -> list[str]:
        """All folders of the site's choice that may have homes, also left ones."""
        former = json.loads(self._of_guard("ZHUB_FORMER_HOMES_PATHS") or "[]")
        return [*filter(None, [self.homes_path()]), *former]

    def home_limit(self) -> int:
        """The bytes that a home should not have more than, by the guard; 0 for no limit."""
        mebibytes = self._of_guard("ZHUB_HOME_LIMIT").removesuffix("M")
        return int(mebibytes or 0) << 20

    def _of_guard(self, name: str) -> str:
        """A variable of the stack's guard; empty where it has none of the name."""
        guard = f"{self.prefix}-guard"
        variables = self._of_own(guard, "{{json .Config.Env}}")
        if variables is None:
            raise Problem(f"the engine has no container {guard}: pulumi up --refresh")
        found = dict(line.partition("=")[::2] for line in json.loads(variables))
        return str(found.get(name, ""))

    def device(self, volume: str, path: str) -> str:
        """Where a home that is made now has its files on the engine's machine.

        Args:
            volume: its name.
            path: the site's folder; empty for the engine's own.
        """
        if path:
            return f"{path}/{volume}"
        root = self.ask("info", "--format", "{{.DockerRootDir}}")
        return f"{root}/volumes/{volume}/_data"

    def make_home(self, volume: str, user: str, *, mounted: bool, path: str = "") -> None:
        """Make a home as the guard does, which refuses others.

        Args:
            volume: its name.
            user: whose it is.
            mounted: have it mounted, so that pruning leaves it (images/hub/zhub/guard/homes.py).
            path: the site's folder, in which the home's is there; empty for the engine's own.
        """
        self._make(volume, {"zhub.role": "home", "zhub.user": user}, mounted=mounted, path=path)

    def make_shared(self, folder: str) -> str:
        """Make the volume of a shared folder as the guard does; returns its name."""
        volume = self._shared_of(folder)
        self._make(volume, {"zhub.role": "shared", "zhub.folder": folder}, mounted=True)
        return volume

    def _make(self, volume: str, own: dict[str, str], *, mounted: bool, path: str = "") -> None:
        # The engine makes none anew, and says nothing: whoever then fails would remove that one.
        if self.find("volume", "inspect", "--format", "{{.Name}}", volume):
            raise Problem(
                f"there is a volume {volume} already, with other labels: see what is in it, and"
                f" whose it is (docker volume inspect {volume}), copy what is needed, and remove it"
            )
        own = {"zhub.stack": self.prefix, **own}
        options: dict[str, str] = {}
        if mounted:
            options = {"type": "none", "o": "bind", "device": self.device(volume, path)}
        self.ask(
            *("volume", "create", "--driver=local"),
            *(f"--opt={key}={text}" for key, text in options.items()),
            *(f"--label={key}={text}" for key, text in own.items()),
            volume,
        )

    def on_swarm(self) -> bool:
        """Whether users' servers are services of a swarm, by the stack's guard."""
        return self._of_guard("ZHUB_SWARM") == "true"

    def servers(self, user: str = "") -> list[str]:
        """The users' servers that there are, on any machine; of one user, or of all."""
        wanted = {"zhub.stack": self.prefix, "zhub.role": "notebook"}
        if user:
            wanted["zhub.user"] = user
        listed = ["container", "ls", "--all", "--format", "{{.Names}}"]
        if self.on_swarm():
            listed = ["service", "ls", "--format", "{{.Name}}"]
        filters = (f"--filter=label={key}={text}" for key, text in wanted.items())
        return self.ask(*listed, *filters).split()

    def remove_servers(self, names: Sequence[str]) -> None:
        """Remove users' servers that the hub does not stop."""
        command = ("service", "rm") if self.on_swarm() else ("rm", "--force")
        self.ask(*command, *names)


@dataclass(frozen=True)
class Helpers:
    """Runs jobs on an engine."""

    engine: Engine
    image: str

    def command(self, job: Job, name: str) -> list[str]:
        """The `docker run` of a job, with the least rights that it can do with."""
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
            *("--label", f"zhub.stack={self.engine.prefix}", "--label", "zhub.role=backup"),
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
        if path:
            self.ask(make_folder(path, volume))
        self.engine.make_home(volume, user, mounted=mounted, path=path)

    def remove_home(self, volume: str) -> None:
        """Remove a home that was just made, as far as it was."""
        removed = self.engine.find("volume", "rm", volume) is not None
        if removed and (path := self.engine.homes_path()):
            with suppress(Problem):
                self.ask(remove_folder(path, volume))

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
                if process.poll() is None:
                    process.kill()
                    self.engine.find("rm", "--force", name)
                process.wait()
                for stream in (pipe(process.stdin), pipe(process.stdout)):
                    with suppress(BrokenPipeError):
                        stream.close()


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
        raise JobFailed(f"{job.name}{where} ended with code {code}:\n{_shown(lines)}")
    report: Report = json.loads(last.removeprefix(MARK))
    return report | {"said": _shown(lines[:-1])}


def _shown(lines: list[str]) -> str:
    # The beginning of a long line has the name, and its end what is wrong with it.
    half = WIDTH // 2
    short = (
        line if len(line) <= WIDTH else f"{line[:half]} … {line[-half:]}" for line in lines[-TAIL:]
    )
    return "\n".join(f"    {line}" for line in short)
