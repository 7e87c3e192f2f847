"""command:local:Command."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import IO, ClassVar, cast

from plugins.calls import Call, Cancelled, Created, ResourceError
from plugins.properties import Property
from plugins.property_types import ANYTHING, ListOf, MapOf, Scalar, one_of
from plugins.resource import Resource
from plugins.values import Properties

TEXT = Scalar("string", converts=False)

#: Seconds that a command has to end by itself after a cancellation. The engine kills the plugin
#: after five.
GRACE = 3

LOGGED = {
    "stdout": ("stdout",),
    "stderr": ("stderr",),
    "stdoutAndStderr": ("stdout", "stderr"),
    "none": (),
}


class Command(Resource):
    """A command on this machine, run when the resource is created, updated and deleted."""

    token = "command:local:Command"
    exact_secrets = True
    properties: ClassVar = (
        Property("create", TEXT),
        Property("update", TEXT),
        Property("delete", TEXT),
        Property("triggers", ListOf(ANYTHING), replaces=True),
        Property("stdin", TEXT),
        Property("dir", TEXT),
        Property("environment", MapOf(TEXT)),
        Property("interpreter", ListOf(TEXT)),
        Property("logging", one_of(*LOGGED)),
        Property("addPreviousOutputInEnv", Scalar("boolean", converts=False)),
        Property("assetPaths", ListOf(TEXT), unsupported=True),
        Property("archivePaths", ListOf(TEXT), unsupported=True),
        # Any change runs a command, so a preview knows neither.
        Property("stdout", TEXT, output=True, stable=False),
        Property("stderr", TEXT, output=True, stable=False),
    )

    def create(self, inputs: Properties, call: Call) -> Created:
        id = f"{call.name}{secrets.token_hex(4)}"
        return Created(id, {**inputs, **_run(inputs.get("create"), inputs, {}, call)})

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        command = new.get("update", new.get("create"))
        return {**new, **_run(command, new, state, call)}

    def delete(self, id: str, state: Properties, call: Call) -> None:
        _run(state.get("delete"), state, state, call)


def _run(command: str | None, inputs: Properties, before: Properties, call: Call) -> Properties:
    """Run the command; return its stdout and stderr, or those from before if there is none."""
    if command is None:
        return {name: before.get(name, "") for name in ("stdout", "stderr")}
    arguments = [*(inputs.get("interpreter") or ["/bin/sh", "-c"]), command]
    environment = {**os.environ, **inputs.get("environment", {})}
    if inputs.get("addPreviousOutputInEnv", True):
        for name in ("stdout", "stderr"):
            if before.get(name):
                environment[f"PULUMI_COMMAND_{name.upper()}"] = before[name]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if inputs.get("stdin") else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=inputs.get("dir"),
            env=environment,
            # A session of its own, so that the whole group can be ended, and so that a command that
            # reads from the terminal fails at once instead of hanging.
            start_new_session=True,
        )
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise ResourceError(f"{reason}: running {_quoted(command)}") from error
    except ValueError as error:  # a null byte in an argument or the environment
        raise ResourceError(f"{error}: running {_quoted(command)}") from error

    transcript: list[str] = []
    logged = LOGGED[inputs.get("logging", "stdoutAndStderr")]
    stdout, stderr = (
        _Stream(cast("IO[bytes]", pipe), transcript, call.status if name in logged else None)
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr))
    )
    ended = threading.Event()
    with call.on_cancel(lambda: _end(process, ended)):
        _feed(process, inputs.get("stdin", ""))
        stdout.join()
        stderr.join()
        code = process.wait()
        ended.set()
    if code != 0:
        if call.cancelled:
            raise Cancelled
        how = f"exit status {code}" if code > 0 else f"signal: {signal.Signals(-code).name}"
        raise ResourceError(f"{how}: running {_quoted(command)}:\n{''.join(transcript)}")
    return {"stdout": stdout.text.removesuffix("\n"), "stderr": stderr.text.removesuffix("\n")}


class _Stream(threading.Thread):
    """Reads one output of a command line by line, into its own text and the shared transcript."""

    def __init__(
        self,
        pipe: IO[bytes],
        transcript: list[str],
        log: Callable[[str], None] | None,
    ) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._transcript = transcript
        self._log = log
        self._lines: list[str] = []
        self.start()

    def run(self) -> None:
        with self._pipe:
            for raw in self._pipe:
                # The state must be UTF-8.
                line = raw.decode(errors="replace")
                self._lines.append(line)
                self._transcript.append(line)
                if self._log:
                    self._log(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "".join(self._lines)


def _feed(process: subprocess.Popen[bytes], text: str) -> None:
    if process.stdin is None:
        return
    try:
        with process.stdin:
            process.stdin.write(text.encode())
    except BrokenPipeError:
        return  # the command need not read all of its input


def _end(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    """Ask the command's process group to end; kill what is left of it after `GRACE`."""

    def kill() -> None:
        # Until `ended`, nobody has waited for the first process, so its group id is not reused.
        if not ended.wait(GRACE):
            _signal_group(process, signal.SIGKILL)

    _signal_group(process, signal.SIGTERM)
    threading.Thread(target=kill, daemon=True).start()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def _quoted(command: str) -> str:
    return json.dumps(command, ensure_ascii=False)
