"""The stack commands behind `make up`, `make preview` and `make down`, and the shell they need."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from toolchain.console import Problem, output, say
from toolchain.engine import client
from toolchain.places import BIN, ROOT, STATE
from toolchain.plugins import CREDENTIALS

PROJECT = "zhub"
STEP = "pulumi"

#: The dev stack's salt is in the repository, so its passphrase is public as well. What it guards
#: is a demo on this machine's loopback.
DEV = "dev"
DEV_PASSPHRASE = "zhub-dev"  # noqa: S105

#: What Pulumi takes a stack's name to be; here it also becomes part of file names.
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")

#: The types whose half-made objects have to go before they can be made again. A volume is no
#: obstacle, and it may hold data.
HALF_MADE = {
    "docker:index/container:Container": "container",
    "docker:index/network:Network": "network",
}


def checked(stack: str) -> str:
    """The stack's name, if it is one.

    Raises:
        Problem: it is not.
    """
    if not NAME.fullmatch(stack):
        raise Problem(f"STACK={stack} is no stack name: letters, digits, hyphen, underscore, dot")
    return stack


def _passphrase_place(stack: str) -> Path:
    return STATE / f"passphrase-{stack}"


def passphrase_file(stack: str) -> Path:
    """The file with a stack's own passphrase; made, and said aloud, the first time."""
    file = _passphrase_place(stack)
    if not file.exists():
        STATE.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(32))
        say(STEP, f"the secrets of stack {stack} are encrypted with a new passphrase in {file}")
        say(STEP, "keep a copy of that file elsewhere: without it they cannot be read again")
    return file


def passphrase(stack: str, *, make: bool) -> dict[str, str | None]:
    """The passphrase variables for a stack; none when the shell has a passphrase of its own.

    Args:
        stack: its name.
        make: make a passphrase where the stack has none yet, instead of leaving it to Pulumi.
    """
    text, file = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"
    # What an earlier `make env` put there, for whichever stack, is not the shell's own.
    own_text = os.environ.get(text) not in (None, DEV_PASSPHRASE)
    own_file = file in os.environ and Path(os.environ[file]).parent != STATE
    if own_text or own_file:
        return {}
    if stack == DEV:
        return {text: DEV_PASSPHRASE, file: None}
    if not make and not _passphrase_place(stack).exists():
        return {}
    return {text: None, file: str(passphrase_file(stack))}


def settings(stack: str) -> dict[str, str | None]:
    """The environment variables that a plain `pulumi` needs; None for one that must be away.

    A backend or a passphrase that the shell has set stays, and so does one logged in to.
    """
    variables = passphrase(stack, make=True)
    if not CREDENTIALS.exists():
        STATE.mkdir(mode=0o700, exist_ok=True)
        variables["PULUMI_BACKEND_URL"] = os.environ.get("PULUMI_BACKEND_URL") or STATE.as_uri()
    return variables


def exports(stack: str) -> str:
    """Shell lines for `eval "$(make -s env)"`."""
    lines = [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
        for name, value in settings(stack).items()
    ]
    return "\n".join([f'export PATH={shlex.quote(str(BIN))}:"$PATH"', *lines])


def _environment(stack: str) -> dict[str, str]:
    merged: dict[str, str | None] = {**os.environ, **settings(stack)}
    return {name: value for name, value in merged.items() if value is not None}


@contextmanager
def _patient(process: subprocess.Popen[str]) -> Iterator[None]:
    """Leave Ctrl-C to the process, which gets it from the terminal too and ends in good order.

    Killed instead, it would leave its lock and not write down what it has made.
    """

    def pass_on(number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM:
            process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pulumi(stack: str, *arguments: str, quiet: bool = False) -> str:
    """Run `pulumi` as the operator would; with `quiet`, hand over its output instead.

    Raises:
        Problem: it failed. What failed is on the screen already, unless `quiet`.
    """
    pipe = subprocess.PIPE if quiet else None
    with (
        subprocess.Popen(
            [BIN / "pulumi", *arguments],
            cwd=ROOT,
            env=_environment(stack),
            stdin=subprocess.DEVNULL if quiet else None,
            stdout=pipe,
            stderr=pipe,
            text=True,
        ) as process,
        _patient(process),
    ):
        out, error = process.communicate()
    if process.returncode:
        detail = f":\n{(error or out).strip()}" if quiet else ", see above"
        raise Problem(f"`pulumi {' '.join(arguments)}` failed{detail}")
    return out or ""


def engine_address(stack: str) -> str | None:
    """Where the stack file says that its engine is; None where it leaves that to the machine."""
    file = ROOT / f"Pulumi.{stack}.yaml"
    text = file.read_text() if file.exists() else ""
    found = re.search(r"^\s*docker:host:\s*['\"]?([^\s'\"]+)", text, re.MULTILINE)
    return found[1] if found else None


def remote(stack: str) -> bool:
    """Whether the stack's engine is another machine's, so that none is needed here."""
    return (engine_address(stack) or "").startswith(("ssh://", "tcp://"))


def keeps_no_state() -> bool:
    """Whether this clone's own state folder is in use and has never held a stack."""
    elsewhere = CREDENTIALS.exists() or "PULUMI_BACKEND_URL" in os.environ
    return not elsewhere and not (STATE / ".pulumi" / "stacks").exists()


def exists(stack: str) -> bool:
    """Whether the state backend knows the stack."""
    listed = json.loads(pulumi(stack, "stack", "ls", "--json", quiet=True))
    return stack in {entry["name"].rsplit("/", 1)[-1] for entry in listed}


def _unlock(stack: str) -> None:
    """Take away the lock of a `pulumi` of this machine that was killed."""
    folder = STATE / ".pulumi" / "locks" / "organization" / PROJECT / stack
    for file in folder.glob("*.json"):
        lock: dict[str, Any] = json.loads(file.read_text())
        name = output(["ps", "-p", str(lock["pid"]), "-o", "comm="]) or ""
        if lock["hostname"] == socket.gethostname() and Path(name).name != "pulumi":
            say(STEP, f"process {lock['pid']} of an earlier run is gone: taking its lock away")
            file.unlink()


def _half_made(stack: str) -> None:
    """Remove containers and networks that a killed run made but could not write down."""
    state = json.loads(pulumi(stack, "stack", "export", "--stack", stack, quiet=True))
    pending = (state["deployment"] or {}).get("pending_operations") or []
    if not pending:
        return
    names = ", ".join(operation["resource"]["urn"].rsplit("::", 1)[-1] for operation in pending)
    say(STEP, f"an earlier run was cut off in the middle of {names}: clearing up")
    for operation in pending:
        resource = operation["resource"]
        kind = HALF_MADE.get(resource["type"])
        name = resource.get("inputs", {}).get("name")
        if operation["type"] == "creating" and kind and name and not remote(stack):
            _remove_own(stack, kind, name)
    pulumi(
        stack,
        *("refresh", "--yes", "--stack", stack, "--clear-pending-creates"),
        *("--skip-preview", "--non-interactive"),
        quiet=True,
    )


def _remove_own(stack: str, kind: str, name: str) -> None:
    """Remove a container or network, if it is there and carries the stack's label."""
    docker = client()
    label = '{{index .Labels "zhub.stack"}}'
    if kind == "container":
        label = '{{index .Config.Labels "zhub.stack"}}'
    if output([docker, kind, "inspect", "--format", label, name]) == f"{PROJECT}-{stack}":
        force = ["--force"] if kind == "container" else []
        output([docker, kind, "rm", *force, name])


def up(stack: str) -> None:
    """Bring the stack up and say how to get in.

    Raises:
        Problem: `pulumi up` failed.
    """
    _unlock(stack)
    pulumi(stack, "stack", "select", "--create", stack, quiet=True)
    _half_made(stack)
    pulumi(stack, "up", "--yes", "--skip-preview", "--stack", stack)
    shown = ("stack", "output", "--stack", stack, "--json", "--show-secrets")
    outputs = json.loads(pulumi(stack, *shown, quiet=True))
    print(f"\nJupyterHub is up: {outputs['url']}")
    if roles := outputs.get("demoRoles"):
        print("Log in as one of the demo users:")
        for name, role in roles.items():
            print(f"  {name:8} {outputs['demoUsers'][name]}  {role}")
    print(f"Its certificate has the SHA-256 fingerprint {outputs['certificateFingerprint']}")
    own = "" if stack == DEV else f" STACK={stack}"
    print(
        f'\nNext: eval "$(make -s env{own})" for plain pulumi commands in this shell, such as\n'
        "      pulumi config set idleTimeout 1800 && pulumi preview\n"
        f"      make down{own} takes it all away again, except the users' volumes."
    )


def preview(stack: str) -> None:
    """Show what `up` would change.

    Raises:
        Problem: `pulumi preview` failed.
    """
    pulumi(stack, "stack", "select", "--create", stack, quiet=True)
    pulumi(stack, "preview", "--diff", "--stack", stack)


def down(stack: str) -> None:
    """Destroy the stack.

    Raises:
        Problem: `pulumi destroy` failed.
    """
    _unlock(stack)
    if exists(stack):
        _half_made(stack)
        pulumi(stack, "destroy", "--yes", "--skip-preview", "--stack", stack)
    else:
        print(f"The stack {stack} is not there: nothing to do.")


def tell_kept_volumes(stack: str, docker: str) -> None:
    """Say which volumes of users are left on the engine, and how to remove them."""
    label = ["--filter", f"label=zhub.stack={PROJECT}-{stack}", "--filter", "label=zhub.role=home"]
    volumes = output([docker, "volume", "ls", "--quiet", *label])
    if volumes:
        names = " ".join(volumes.split())
        print(f"\nThe users' volumes are kept. To remove them for good: docker volume rm {names}")
