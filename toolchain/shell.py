"""Environment variables for `pulumi`, in `make up` and in `make env`; running it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from toolchain import passphrase
from toolchain.console import Problem
from toolchain.places import BIN, ROOT, STATE
from toolchain.plugins import CREDENTIALS


def settings(stack: str) -> dict[str, str | None]:
    """The environment variables that a plain `pulumi` needs; None for one to unset.

    A passphrase or backend that the operator set in the shell stays, and so does the backend of a
    `pulumi login`. No passphrase is added: .toolchain/bin/pulumi finds it for each command.
    """
    variables: dict[str, str | None] = {"PULUMI_STACK": stack}
    if "PULUMI_OPTION_STACK" in os.environ:
        # It has more weight, and `pulumi stack select NAME` refuses it.
        variables["PULUMI_OPTION_STACK"] = None
    if not passphrase.of_the_shell(stack) or os.environ.get(passphrase.TEXT) == passphrase.PUBLIC:
        variables |= {passphrase.TEXT: None, passphrase.FILE: None}
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
    """Let the process handle Ctrl-C, which it gets from the terminal as well.

    If it were killed instead, its lock would stay, and the state would lack what it has made.
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


def _run(stack: str, arguments: tuple[str, ...], *, quiet: bool) -> tuple[int, str, str]:
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
    return process.returncode, out or "", error or ""


def pulumi(stack: str, *arguments: str, quiet: bool = False) -> str:
    """Run `pulumi` as the operator would.

    Args:
        stack: the stack's name.
        arguments: of `pulumi`.
        quiet: return the output instead of showing it.

    Raises:
        Problem: it failed. Unless `quiet`, its error is on the screen already.
    """
    code, out, error = _run(stack, arguments, quiet=quiet)
    if code:
        detail = f":\n{(error or out).strip()}" if quiet else ", see above"
        raise Problem(f"`pulumi {' '.join(arguments)}` failed{detail}")
    return out


def complaint(stack: str, *arguments: str) -> str:
    """Standard error of a `pulumi` command that is expected to fail."""
    return _run(stack, arguments, quiet=True)[2]
