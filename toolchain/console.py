"""Progress messages, running commands, and failures."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolchain.places import LOGS

#: Seconds between two signs of life of a long step.
PULSE = 30

#: Characters of a failed command that a message shows.
WIDTH = 100

#: Lines of a failed command's log that are shown.
TAIL = 12


class Problem(Exception):
    """A failure that the operator can fix; the text says what failed, why, and what to type."""


def printable(text: str, but: str = "") -> str:
    """A text as it may go to a terminal: with a "?" for each character that nobody would see.

    What others have chosen, such as names, could move the cursor, or look like another line.

    Args:
        text: any.
        but: such characters that stay.
    """
    return "".join(c if c.isprintable() or c in but else "?" for c in text)


def say(step: str, text: str) -> None:
    """Print one line of progress, with the name of its step in front."""
    # To standard error: what `make env` prints on standard output is evaluated by a shell.
    print(f"{step:>10}  {printable(text)}", file=sys.stderr, flush=True)


@contextmanager
def timed(step: str, text: str) -> Iterator[None]:
    """Print when a step begins, that it still runs, and how long it took."""
    begin = time.monotonic()
    done = threading.Event()

    def pulse() -> None:
        while not done.wait(PULSE):
            say(step, f"… {text} ({time.monotonic() - begin:.0f} s so far)")

    say(step, f"{text} …")
    threading.Thread(target=pulse, daemon=True).start()
    try:
        yield
    finally:
        done.set()
    say(step, f"{text}: done in {time.monotonic() - begin:.0f} s")


def output(command: Sequence[str | Path], timeout: float = 60) -> str | None:
    """Standard output of a command that may fail; None when it does."""
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


_running: set[subprocess.Popen[bytes]] = set()
_stopping = threading.Event()
_started_logs: set[str] = set()
_lock = threading.Lock()


def stop_commands() -> None:
    """End every command that `run` has started, and let it start no other."""
    with _lock:
        _stopping.set()
        for process in _running:
            process.terminate()


def stopping() -> bool:
    """Whether `stop_commands` has been called."""
    return _stopping.is_set()


def _log_of(step: str) -> Path:
    """The step's log file, emptied the first time that this process uses it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{step}.log"
    with _lock:
        if step not in _started_logs:
            _started_logs.add(step)
            log.write_text("")
    return log


def run(  # noqa: PLR0913 - passed by name
    step: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    fix: str = "",
    tail: int = TAIL,
    folder: Path | None = None,
) -> None:
    """Run a command with its output in a log file; a failure shows the last lines of it.

    Args:
        step: names the log file.
        command: the program and its arguments.
        environment: added to this process's own.
        fix: what to do about a failure; the last sentence of the message.
        tail: how many lines of the log a failure shows.
        folder: to run it in; this process's own by default.

    Raises:
        Problem: the command failed, is missing, or was not started because of an interruption.
    """
    shown = shlex.join(map(str, command))
    log = _log_of(step)
    with log.open("ab") as file:
        file.write(f"\n$ {shown}\n".encode())
        file.flush()
        begin = file.tell()
        with _lock:
            if stopping():
                raise Problem(f"interrupted, not started: {shown}")
            try:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise Problem(f"{command[0]} cannot be run: {error.strerror}. {fix}") from error
            _running.add(process)
        code = process.wait()
        with _lock:
            _running.discard(process)
    if code:
        with log.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").split("\n")
        last = "\n".join([f"    {line}" for line in lines if line.strip()][-tail:])
        raise Problem(f"{_short(shown)} ended with code {code}:\n{last}\n  log: {log}\n  {fix}")


def _short(command: str) -> str:
    """A command as a message shows it; the log has all of it."""
    return command if len(command) <= WIDTH else f"{command[:WIDTH]}…"


def is_root() -> bool:
    """Whether this process may install packages and start services."""
    return os.geteuid() == 0


_apt = threading.Lock()

#: Seconds to wait for another apt: a machine that has just booted runs apt-daily.
PATIENCE = 300

#: Seconds between two tries.
PAUSE = 5

#: What apt says, without a locale, if another one holds a lock.
LOCKED = "Could not get lock"


def _apt_get(step: str, *arguments: str, fix: str) -> None:
    """Run apt-get, and wait as long as another apt has a lock.

    DPkg::Lock::Timeout is about dpkg's own locks, and not about those of lists and archives.

    Raises:
        Problem: it failed.
    """
    end = time.monotonic() + PATIENCE
    waits = False
    command = ["apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={PATIENCE}", *arguments]
    while True:
        try:
            run(
                step,
                command,
                environment={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
                fix=fix,
            )
        except Problem as problem:
            if LOCKED not in str(problem) or time.monotonic() > end:
                raise
            if not waits:
                say(step, "another apt is running: waiting for it")
            waits = True
            time.sleep(PAUSE)
        else:
            return


def apt_install(step: str, *packages: str) -> None:
    """Install Debian packages, one installation at a time.

    Raises:
        Problem: this is not Debian or not root; the message has the command to type.
    """
    line = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if not is_root() or not Path("/usr/bin/apt-get").exists():
        raise Problem(f"missing: {', '.join(packages)}. As root on Debian: {line}")
    with _apt, timed(step, f"installing {', '.join(packages)}"):
        _apt_get(step, "update", fix="Do the package mirrors answer? Try: apt-get update")
        _apt_get(step, *line.split()[1:], fix=f"Try: {line}")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and the like until the end, also from commands that are run meanwhile."""
    held = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    came: list[int] = []
    # Commands inherit what is blocked. Another thread may get the signal all the same, and then
    # Python's own handler would interrupt this one, which is the main one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    handlers = {one: signal.signal(one, lambda number, _: came.append(number)) for one in held}
    try:
        yield
    finally:
        for one, handler in handlers.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in came:
            os.kill(os.getpid(), number)


def exit_code(command: Callable[[], object]) -> int:
    """Run a command, print what the operator has to fix, and return the exit code."""
    try:
        command()
    except (Problem, OSError) as problem:
        return fail(problem)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def fail(problem: Problem | OSError) -> int:
    """Print what the operator has to fix; returns the exit code."""
    text = of_system(problem) if isinstance(problem, OSError) else str(problem)
    text = printable(text.replace("\r\n", "\n"), "\n\t")
    print(f"\nerror: {text.rstrip()}", file=sys.stderr)
    return 1


#: What shows why the system refuses a file, by the error's number.
LOOK = {
    errno.EACCES: "ls -ld",
    errno.EPERM: "ls -ld",
    errno.ENOSPC: "df -h",
    errno.EDQUOT: "df -h",
}


def of_system(error: OSError) -> str:
    """What to say of a file that the system refuses, such as one of another user.

    The traceback goes to a log, if that can be written.
    """
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    text = ": ".join([*files, error.strerror or str(error) or type(error).__name__])
    if files and (look := LOOK.get(error.errno or 0)):
        folders = dict.fromkeys(str(Path(name).parent) for name in files)
        text += f"\n  To see why: {look} {shlex.join([*folders, *filter(os.path.lexists, files)])}"
    log = LOGS / "error.log"
    try:
        LOGS.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), errors="backslashreplace")
    except OSError:
        return text
    return f"{text}\n  where it happened: {log}"
