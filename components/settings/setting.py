"""What one setting is: its entry brings the schema, the check, the row of the docs and the fix."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, eq=False)
class Setting(Generic[T_co]):
    """A setting of a stack.

    `make settings` writes Pulumi.yaml and docs/configuration.md from all of them; the program reads
    and checks the value by the same entry.
    """

    key: str
    """As `pulumi config` shows it: without a namespace, or with that of a provider."""
    default: str | int | bool | tuple[str, ...]
    """Its Python type says the type in Pulumi.yaml."""
    description: str
    """One sentence for operators."""
    parse: Callable[[str], T_co] = field(repr=False)
    """Raises parsing.RefusedError for what it does not take; takes the default."""
    example: str = ""
    """Value in commands that fix it, where the default would not do; of a list, one element; of a
    secret, the file that the command reads it from, or nothing to be asked."""
    member: str = ""
    """Of a list of objects: the member that `example` is a value of."""
    secret: bool = False
    """Whether the value must be encrypted, and no message may show it."""
    secret_member: str = ""
    """Of a list of objects: the member that must be encrypted. No message may show the list."""

    def __str__(self) -> str:
        return self.key

    @property
    def type(self) -> str:
        """Pulumi's name of the type: string, integer, boolean or array."""
        names = {str: "string", int: "integer", bool: "boolean", tuple: "array"}
        return names[type(self.default)]

    @property
    def default_text(self) -> str:
        """The default as Pulumi hands values to a program: what is no text as JSON."""
        return self.default if isinstance(self.default, str) else json.dumps(self.default)

    @property
    def is_list(self) -> bool:
        return isinstance(self.default, tuple)

    def set_command(self, value: str = "", *, item: int = 0, member: str = "") -> str:
        """The command that sets it.

        Args:
            value: nothing for an example that would do; a secret is never part of the command.
            item: which element of a list.
            member: which member of that element, in place of the one that `example` is for.
        """
        if self.secret:
            source = f" < {self.example}" if self.example else ""
            return f"pulumi config set --secret {self.key}{source}"
        value = value or self.example or self.default_text
        member = f".{member or self.member}" if member or self.member else ""
        key = ["--path", f"{self.key}[{item}]{member}"] if self.is_list else [self.key]
        # What begins with a dash would be taken for an option.
        return shlex.join(["pulumi", "config", "set", *key, *["--"] * value.startswith("-"), value])

    def remove_command(self, *, item: int | None = None, member: str = "") -> str:
        """The command that removes it, or one element of a list, or one member of that element."""
        return remove_command(self.key) if item is None else _remove_item(self.key, item, member)


def remove_command(key: str) -> str:
    """The command that removes a key, whether or not there is such a setting."""
    return shlex.join(["pulumi", "config", "rm", key])


def _remove_item(key: str, item: int, member: str) -> str:
    path = f"{key}[{item}]" + (f".{member}" if member else "")
    return shlex.join(["pulumi", "config", "rm", "--path", path])
