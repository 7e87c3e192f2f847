"""Commands in the guard's container that print lines for programs: `make doctor`, `make users`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from docker.errors import DockerException

from zhub import engine, privileges, settings
from zhub.settings import GuardSettings, SettingsError


def run(
    name: str,
    arguments: Sequence[str],
    look: Callable[[GuardSettings], Iterable[tuple[str, str]]],
) -> None:
    """Print a line for each finding: what it is, a tab, and what to do; else as `printed`."""
    printed(name, arguments, lambda found: map("\t".join, look(found)))


def printed(
    name: str,
    arguments: Sequence[str],
    lines: Callable[[GuardSettings], Iterable[str]],
) -> None:
    """Print lines.

    Args:
        name: of the command.
        arguments: none are allowed.
        lines: finds them. It may raise RuntimeError and docker.errors.DockerException.

    Raises:
        SettingsError: when this is not a guard's container, or its engine does not answer.
    """
    if arguments:
        raise SettingsError([f"{name} takes no arguments, but got {' '.join(arguments)}"])
    found = settings.read_guard(os.environ)
    if os.geteuid() == 0:
        privileges.drop(engine.SOCKET, privileges.GUARD_USER)
    try:
        for line in lines(found):
            print(line)
    except (RuntimeError, DockerException) as error:
        raise SettingsError([str(error)]) from None
