"""Keeps commands that make or copy homes apart, also those of several operators.

Each has a container on the stack's engine while it works. It ends with the command, however that
ends, since it reads the command's standard input.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from toolchain.backup import labels
from toolchain.backup.engine import Engine
from toolchain.backup.helper import COMMAND, Helpers
from toolchain.console import Problem

#: What commands are called that only read homes, and what others are told of them.
BACKUP = "make backup"


@contextmanager
def alone(helpers: Helpers, command: str, *, but: str = "") -> Iterator[None]:
    """Do something while no other command works; one that comes is refused.

    Args:
        helpers: on the stack's engine.
        command: its name.
        but: the name of commands that may work meanwhile.

    Raises:
        Problem: another command works.
    """
    # The engine has only one container of a name.
    with _working(helpers, f"{helpers.engine.prefix}-operator", command) as name:
        _refuse(helpers.engine, [one for one in _others(helpers.engine, name) if one[1] != but])
        yield


@contextmanager
def among_others(helpers: Helpers, command: str) -> Iterator[None]:
    """Do something while no command works that must be alone; one that comes is refused.

    Raises:
        Problem: such a command works.
    """
    first = f"{helpers.engine.prefix}-operator"
    with _working(helpers, f"{first}-{secrets.token_hex(4)}", command) as name:
        others = _others(helpers.engine, name)
        _refuse(helpers.engine, [one for one in others if one[0] == first])
        yield


@contextmanager
def _working(helpers: Helpers, name: str, command: str) -> Iterator[str]:
    with helpers.holding(name, command) as said:
        if said:
            there = [one for one in _others(helpers.engine, "") if one[0] == name]
            _refuse(helpers.engine, there)
            raise Problem(
                f"the container {name}, which keeps commands on a stack apart, cannot be made. If a"
                f" command was killed: docker rm --force {name}. The engine says:\n{said}"
            )
        yield name


def _others(engine: Engine, own: str) -> list[list[str]]:
    """The names of the other commands' containers, what they do, and since when."""
    fields = labels.row(".Names", f'(.Label "{COMMAND}")', ".CreatedAt")
    filters = ("--filter", f"label=zhub.stack={engine.prefix}", "--filter", f"label={COMMAND}")
    listed = labels.rows(engine.ask("container", "ls", "--format", fields, *filters))
    return [one for one in listed if one[0] != own]


def _refuse(engine: Engine, others: list[list[str]]) -> None:
    """Refuse to work beside these.

    Raises:
        Problem: there is one.
    """
    for name, command, since in others:
        raise Problem(
            f"`{command}` is under way on {engine.prefix}, since {since}: nothing was changed. Wait"
            f" for its end. If its machine is gone: docker rm --force {name}"
        )
