"""Whether a stack may be restored into: nobody must have used it."""

from __future__ import annotations

import shlex
from collections.abc import Container
from dataclasses import dataclass

from toolchain import stack
from toolchain.backup import jobs
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers, JobFailed
from toolchain.console import Problem, say

STEP = "restore"

#: Value of ONLY: the database and no homes.
DATABASE = "database"

#: Value of REPLACE: also a database that people have logged in to.
REPLACE = "yes"

#: Users and volumes that a message names.
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be restored, but for a single home."""

    homes: bool
    """Whether homes and shared folders are; otherwise only the database, and servers may run."""
    replace: bool
    """Whether people may have logged in to the database that is there."""


def check_unused(
    name: str, helpers: Helpers, wish: Wish, homes: Container[str], shared: Container[str]
) -> None:
    """Check that nobody has used the stack.

    Where only the database is restored, homes are there and servers may run: the hub takes these
    over, as it knows their users again.

    Args:
        name: of the stack.
        helpers: on its engine.
        wish: what is to be restored.
        homes: those that will be made.
        shared: the shared folders that will be made.

    Raises:
        Problem: somebody has.
    """
    engine = helpers.engine
    logged_in = _logged_in(name, helpers, wish)
    found = {
        "logged in": [] if wish.replace else logged_in,
        "servers": engine.servers() if wish.homes else [],
        "homes": _in_the_way(engine, homes) if wish.homes else [],
        "shared folders": [
            folder
            for folder, volume in engine.shared().items()
            if folder in shared and not helpers.ask(jobs.empty(volume))["empty"]
        ],
    }
    used = [f"{what}: {_some(names)}" for what, names in found.items() if names]
    if not used:
        return
    fix = (
        "Restore into another stack, or, if these are to go for good, remove this one with its "
        "homes first (docs/backup.md, Restore)."
    )
    own = f"make restore{stack.named(name)} FROM=… ONLY={DATABASE}"
    if not wish.homes:
        fix = f"To replace the database all the same, which is kept beside: {own} REPLACE={REPLACE}"
    elif not found["logged in"]:
        fix += f" To keep these homes and restore the database: {own}"
        if found["homes"] and not found["servers"]:
            fix += f"\nIf they are what a restore has left that was killed: {_removal(engine)}"
    raise Problem(f"stack {name} has users in it ({'; '.join(used)}): nothing was changed. {fix}")


def _logged_in(name: str, helpers: Helpers, wish: Wish) -> list[str]:
    """Who has logged in to the stack; nobody if its database cannot be read and is to be replaced.

    Raises:
        Problem: it cannot be read.
    """
    try:
        found: list[str] = helpers.ask(jobs.look(f"{helpers.engine.prefix}-state")).get(
            "logins", []
        )
    except JobFailed as failed:
        if wish.homes:
            raise Problem(
                f"the present database cannot be read: nothing was changed. {failed}\n"
                "To keep the homes and restore the database: "
                f"make restore{stack.named(name)} FROM=… ONLY={DATABASE}"
            ) from None
        say(STEP, "WARNING: the present database cannot be read:")
        for line in str(failed).splitlines():
            say(STEP, f"    {line}")
        return []
    return found


def _in_the_way(engine: Engine, homes: Container[str]) -> list[str]:
    """The stack's homes, and volumes without labels that have the name of one to make."""
    own, labelled = f"{engine.prefix}-home-", engine.homes()
    every = engine.ask("volume", "ls", "--quiet").split()
    return [
        volume
        for volume in every
        if volume in labelled or (volume.startswith(own) and volume.removeprefix(own) in homes)
    ]


def _removal(engine: Engine) -> str:
    """What removes all homes, in words."""
    docker = shlex.join(["docker", *engine.docker[1:], "volume"])
    filters = f"--filter label=zhub.stack={engine.prefix} --filter label=zhub.role=home"
    command = f"{docker} rm $({docker} ls --quiet {filters})"
    if path := engine.homes_path():
        command += f", and on the engine's machine, as root: rm -r {path}/{engine.prefix}-home-*"
    return command


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
