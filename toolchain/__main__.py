"""The commands behind the Makefile: `python3 -m toolchain COMMAND [STACK]`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from toolchain import base, cli, doctor, engine, environment, people, plugins, shell, stack, users
from toolchain.backup import homes, sizes
from toolchain.backup import restore as restoring
from toolchain.backup import save as saving
from toolchain.console import (
    Problem,
    apt_install,
    exit_code,
    fail,
    output,
    say,
    stop_commands,
    stopping,
)
from toolchain.passphrase import DEV

#: A command that takes longer, in seconds, prints how long it took.
LONG = 10


def ensure_pulumi() -> None:
    """The CLI with its language host and plugins."""
    plugins.ensure(official=cli.ensure())


def ensure_engine() -> None:
    """An engine that can build and run s390x images, with the base images."""
    architecture = engine.ensure()
    engine.ensure_emulation(architecture)
    base.ensure(architecture)


def _run(threads: list[threading.Thread], ends: list[threading.Event]) -> None:
    """Start threads and wait for all; an interrupt also ends the commands they run.

    Args:
        threads: none of them begins its work after `stop_commands`.
        ends: has one for each thread that has begun, set when it ends. After a join that was
            interrupted, Python 3.11 takes a thread that runs for one that has ended.
    """
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop_commands()
        for end in ends:
            end.wait(timeout=10)  # temporary folders are removed on the way out
        raise


def side_by_side(*steps: Callable[[], None]) -> None:
    """Run steps at the same time, and wait for all of them.

    Raises:
        Problem: one or more steps failed; the text has all their messages.
        KeyboardInterrupt: after the steps' commands were ended.
    """
    failures: list[BaseException] = []
    ends: list[threading.Event] = []

    def keep_failure(step: Callable[[], None]) -> None:
        end = threading.Event()
        ends.append(end)
        try:
            if not stopping():
                step()
        except BaseException as failure:  # noqa: BLE001 - raised below, in the main thread
            failures.append(failure)
        finally:
            end.set()

    _run([threading.Thread(target=keep_failure, args=(step,), daemon=True) for step in steps], ends)
    for failure in failures:
        if not isinstance(failure, Problem):
            raise failure
    if failures:
        raise Problem("\n\n".join(map(str, failures)))


def ensure(*, with_engine: bool, development: bool = False) -> None:
    """Get everything a stack needs.

    Args:
        with_engine: also an engine on this machine.
        development: also what tests and linters need.

    Raises:
        Problem: one or more steps failed; the text has all their messages.
    """
    steps: list[Callable[[], None]] = [
        lambda: environment.ensure(development=development),
        ensure_pulumi,
    ]
    if with_engine:
        steps.append(ensure_engine)
    side_by_side(*steps)


def ensure_for(name: str) -> None:
    """Get everything one stack needs; a local engine only if its engine is not remote."""
    ensure(with_engine=not stack.remote(name))


def up(name: str) -> None:
    ensure_for(name)
    stack.up(name)


def preview(name: str) -> None:
    ensure_for(name)
    stack.preview(name)


def down(name: str) -> None:
    if stack.keeps_no_state():
        # No need to install a whole toolchain first.
        print(f"Stack {name} does not exist: nothing to do.")
        return
    ensure_for(name)
    stack.down(name)
    if not stack.remote(name):
        stack.print_kept_volumes(name, engine.client())


def make_test_environment(_: str) -> None:
    ensure(with_engine=True, development=True)


def make_lint_environment(_: str) -> None:
    environment.ensure(development=True)
    if output(["shellcheck", "--version"]) is None:
        apt_install("lint", "shellcheck")


def make_development_environment(_: str) -> None:
    environment.ensure(development=True)


def make_base(_: str) -> None:
    architecture = engine.ensure()
    engine.ensure_emulation(architecture)
    base.refresh(architecture)


def print_environment(name: str) -> None:
    try:
        ensure(with_engine=False)
    except (Problem, OSError):
        print("false")  # makes `eval "$(make -s env)"` fail, not only the first `pulumi` after it
        raise
    print(shell.exports(name))


def check(name: str) -> None:
    doctor.check(name, with_engine=not stack.remote(name))


def back_up(name: str, to: str, recipient: str, keep: str) -> None:
    ensure(with_engine=False)
    saving.check_whole(saving.save(name, engine.client(), to, recipient, keep))


def restore(name: str, source: str, user: str, only: str, replace: str) -> None:
    ensure(with_engine=False)
    restoring.restore(name, engine.client(), source, user, only, replace)


def take_homes_over(name: str) -> None:
    ensure(with_engine=False)
    homes.take_over(name, engine.client())


def show_sizes(name: str, limit: str) -> None:
    ensure(with_engine=False)
    sizes.show(name, engine.client(), limit)


def look_after_users(  # noqa: PLR0913, PLR0917 - as on the command line
    name: str, do: str, user: str, at: str, notice: str, to: str, text: str, until: str
) -> None:
    wish = people.Wish(user, at, notice, to, text, until)
    users.run(name, engine.client(), do, wish)


COMMANDS: dict[str, Callable[..., None]] = {
    "up": up,
    "preview": preview,
    "down": down,
    "toolchain": ensure_for,
    "test-environment": make_test_environment,
    "lint-environment": make_lint_environment,
    "development-environment": make_development_environment,
    "base": make_base,
    "cli": cli.cross_build,
    "env": print_environment,
    "doctor": check,
    "directory": doctor.check_directory,
    "backup": back_up,
    "restore": restore,
    "homes": take_homes_over,
    "sizes": show_sizes,
    "users": look_after_users,
}

#: Commands that take further arguments after the stack, and their names.
MORE = {
    "directory": ("USER",),
    "backup": ("TO", "RECIPIENT", "KEEP"),
    "restore": ("FROM", "USER", "ONLY", "REPLACE"),
    "sizes": ("LIMIT",),
    "users": ("DO", "USER", "AT", "NOTICE", "TO", "TEXT", "UNTIL"),
}


def interrupt(_: int, __: FrameType | None) -> None:
    """End on SIGTERM or SIGHUP as on Ctrl-C: end running commands, remove temporary files."""
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        return fail(Problem(f"usage: python3 -m toolchain {'|'.join(COMMANDS)} [STACK]"))
    signal.signal(signal.SIGTERM, interrupt)
    # Of a terminal that is closed; nohup ignores it. A restore then starts the hub again.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)
    begin = time.monotonic()
    command, name, *more = [*arguments, DEV] if len(arguments) == 1 else arguments
    wanted = MORE.get(command, ())
    if len(more) != len(wanted):
        return fail(Problem(f"usage: python3 -m toolchain {command} STACK {' '.join(wanted)}"))
    if code := exit_code(lambda: COMMANDS[command](stack.checked(name), *more)):
        return code
    if (seconds := time.monotonic() - begin) > LONG:
        say(command, f"took {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
