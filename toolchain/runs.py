"""Clean up after a `pulumi` that was killed: its lock, and what it had half made.

A lock in a state backend names process, user, machine and time. In a shared backend that is not
enough to remove it: two machines may have the same name, and the lock may be a colleague's. So each
run of this clone is recorded when it begins.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolchain import deployed
from toolchain.console import Problem, output, run, say
from toolchain.engine import client
from toolchain.places import STATE
from toolchain.shell import complaint, pulumi, settings

STEP = "pulumi"

#: The project's name in Pulumi.yaml.
PROJECT = "zhub"

#: How many runs of a stack are recorded.
REMEMBERED = 50

#: Seconds between the beginning of a run and its lock, at the most. Pulumi takes the lock before
#: the preview, so a run that waits for an answer has it already.
BEFORE_LOCK = 600

#: How Pulumi describes a lock (pkg/backend/diy/lock.go).
LOCK = re.compile(
    r"^\s*(?P<place>\S+): created by .*@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<time>\S+)$",
    re.MULTILINE,
)

#: Types whose half-made objects must be removed before they can be created again. A volume need not
#: be, and it may hold data.
HALF_MADE = {
    "docker:index/container:Container": "container",
    "docker:index/network:Network": "network",
    "docker:index/service:Service": "service",
}


@dataclass(frozen=True)
class Lock:
    """A lock on a stack."""

    place: str
    host: str
    pid: int
    time: float
    """When it was taken, in seconds since 1970."""


def _file(stack: str) -> Path:
    return STATE / f"runs-{stack}"


def record(stack: str) -> None:
    """Record that this process becomes a `pulumi` that may lock the stack."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    file = _file(stack)
    lines = file.read_text().splitlines()[-REMEMBERED:] if file.exists() else []
    lines.append(f"{os.getpid()} {socket.gethostname()} {time.time():.0f}")
    file.write_text("\n".join([*lines, ""]))


def _ours(stack: str, lock: Lock) -> bool:
    """Whether a recorded run of this clone took the lock."""
    if not _file(stack).exists():
        return False
    runs = [line.split() for line in _file(stack).read_text().splitlines()]
    # A lock's time has whole seconds. An older run's process number may be a colleague's by now.
    return any(
        (int(pid), host) == (lock.pid, lock.host) and -1 <= lock.time - float(begin) < BEFORE_LOCK
        for pid, host, begin in runs
    )


def _gone(lock: Lock) -> bool:
    """Whether the process that took the lock on this machine has ended."""
    if lock.host != socket.gethostname():
        return False
    try:
        os.kill(lock.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, as another user
        pass
    # Another program may have its number now. No answer, as where ps lacks an option, says nothing.
    name = output(["ps", "-p", str(lock.pid), "-o", "comm="])
    return bool(name) and Path(name or "").name != "pulumi"


def _locks_in_clone(stack: str) -> list[Lock]:
    """The locks on a stack in this clone's own state folder."""
    folder = STATE / ".pulumi" / "locks" / "organization" / PROJECT / stack
    locks = []
    for file in folder.glob("*.json"):
        lock: dict[str, Any] = json.loads(file.read_text())
        locks.append(Lock(file.as_uri(), lock["hostname"], lock["pid"], file.stat().st_mtime))
    return locks


def _locks_elsewhere(stack: str) -> list[Lock]:
    """The locks on an existing stack in another backend, as Pulumi reports them."""
    # The stack exists, so this fails and changes nothing; the error names a lock if there is one.
    error = complaint(stack, "stack", "init", "--stack", stack, "--no-select", "--non-interactive")
    return [
        Lock(
            found["place"],
            found["host"],
            int(found["pid"]),
            datetime.fromisoformat(found["time"]).timestamp(),
        )
        for found in LOCK.finditer(error)
    ]


def unlock(stack: str) -> None:
    """Remove the lock of a `pulumi` of this clone that was killed on this machine."""
    if settings(stack).get("PULUMI_BACKEND_URL") == STATE.as_uri():
        # Releases before recorded no runs: then the folder alone says whose lock it is.
        known = _file(stack).exists()
        locks = [
            lock
            for lock in _locks_in_clone(stack)
            if (_ours(stack, lock) or not known) and _gone(lock)
        ]
    elif _file(stack).exists():
        locks = _locks_elsewhere(stack)
        if len(locks) != 1 or not _ours(stack, locks[0]) or not _gone(locks[0]):
            return
    else:
        return
    for lock in locks:
        say(STEP, f"removing the lock of an earlier run: its process {lock.pid} has ended")
        place = urlsplit(lock.place)
        if place.scheme == "file":
            Path(place.path).unlink(missing_ok=True)
        else:
            pulumi(stack, "cancel", "--yes", "--stack", stack, quiet=True)


def _state(stack: str) -> dict[str, Any]:
    state = json.loads(pulumi(stack, "stack", "export", "--stack", stack, quiet=True))
    return state["deployment"] or {}


def half_made(stack: str, prefix: str) -> None:
    """Remove what a killed run made but did not record in the state: see HALF_MADE.

    Args:
        stack: its name.
        prefix: of its names on the engine.

    Raises:
        Problem: somebody else's run has the lock, or the stack is on another machine's engine;
            nothing was removed.
    """
    state = _state(stack)
    pending = state.get("pending_operations") or []
    if not pending:
        return
    deployed.refuse_elsewhere(stack, state)
    options = deployed.docker_options(state)
    made = [found for operation in pending for found in _made(operation, prefix, options)]
    # A run that is still going has pending operations, too. This fails because of its lock.
    pulumi(
        stack,
        *("refresh", "--yes", "--stack", stack, "--clear-pending-creates"),
        *("--skip-preview", "--non-interactive"),
        quiet=True,
    )
    names = ", ".join(operation["resource"]["urn"].rsplit("::", 1)[-1] for operation in pending)
    say(STEP, f"cleaning up: an earlier run was interrupted while it changed {names}")
    # A run that ended only just now has recorded what it made.
    recorded = [resource.get("id") or "" for resource in _state(stack).get("resources") or []]
    for kind, found in made:
        if not any(one.startswith(found) for one in recorded):
            force = ["--force"] if kind == "container" else []
            run(STEP, [client(), *options, kind, "rm", *force, found])


def _made(operation: dict[str, Any], prefix: str, options: Sequence[str]) -> list[tuple[str, str]]:
    """The kind and id of what a pending operation made on the engine, if it has the stack's label.

    The id may be the beginning of one.

    Raises:
        Problem: the engine does not answer.
    """
    resource = operation["resource"]
    kind = HALF_MADE.get(resource["type"])
    name = resource.get("inputs", {}).get("name")
    if operation["type"] != "creating" or not kind or not name:
        return []
    if kind == "service":
        # It lists the beginnings of ids only, and its filter takes the beginning of a name.
        listed = ["--format", "{{.ID}} {{.Name}}"]
    else:
        every = ["--all"] if kind == "container" else []
        listed = [*every, "--quiet", "--no-trunc", "--filter", f"name=^/?{re.escape(name)}$"]
    label = f"label=zhub.stack={prefix}"
    command = [client(), *options, kind, "ls", *listed, "--filter", label]
    found = output(command)
    if found is None:
        raise Problem(
            f"an earlier run may have left a {kind} {name}, but the stack's engine does not "
            f"answer. Try: {shlex.join(command)}"
        )
    lines = [line.split() for line in found.splitlines()]
    return [(kind, one) for one, *names in lines if names in ([], [name])]
