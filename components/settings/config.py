"""Reads config values and collects what is wrong with them, with the commands to mend it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TypeVar

import yaml

from components.settings.parsing import RefusedError

T = TypeVar("T")

#: Characters of a value that a message shows.
SHOWN = 100


@dataclass(frozen=True)
class Problem:
    """One mistake: what it is about, what is wrong, and the commands that mend it."""

    subject: str
    reason: str
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.subject}: {self.reason}", *(f"    {line}" for line in self.commands)]
        )


@cache
def schema_defaults(project: Path, namespace: str) -> dict[str, str]:
    """The keys that a Pulumi.yaml declares in its own namespace, with their defaults.

    Values are texts, as Pulumi hands them to a program: lists and booleans as JSON.
    """
    declared = yaml.safe_load(project.read_text())["config"]
    return {
        f"{namespace}:{key}": _as_text(about["default"])
        for key, about in declared.items()
        if ":" not in key
    }


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The settings there are."""

    namespace: str
    """Of the project; the commands in messages leave it out, as Pulumi does."""
    defaults: Mapping[str, str]
    """Every key, with its namespace, and its value where none is set."""
    examples: Mapping[str, str]
    """Values for the commands that mend a setting, where the default would not do."""
    confidential: Mapping[str, str]
    """Keys whose values must be encrypted and no message may show, and from where the command that
    sets one reads it; nothing for asking."""


class Config:
    """The config of a stack, and the problems found in it so far.

    Keys are as `pulumi config` shows them: those of the project's own namespace without it.
    """

    def __init__(self, schema: Schema, values: Mapping[str, str], secret: Collection[str]) -> None:
        """Take what is set, by full key, and those full keys whose values are encrypted."""
        self._schema = schema
        self._values = values
        self._secret = set(secret)
        self.problems: list[Problem] = []
        self.refused: set[str] = set()
        """Keys whose values cannot be used."""

    def _full(self, key: str) -> str:
        return key if ":" in key else f"{self._schema.namespace}:{key}"

    def text(self, key: str) -> str:
        """The value as text, the default where it is not set."""
        return self._values.get(self._full(key), self._default(key))

    def _default(self, key: str) -> str:
        return self._schema.defaults[self._full(key)]

    def is_set(self, key: str) -> bool:
        """Whether the stack says something other than the default."""
        return self.text(key) != self._default(key)

    def is_secret(self, key: str) -> bool:
        """Whether the value is encrypted in the stack's file."""
        return self._full(key) in self._secret

    def secret_keys(self) -> set[str]:
        """Settings of this program whose values are encrypted in the stack's file."""
        own = self._secret & self._schema.defaults.keys()
        return {key.removeprefix(f"{self._schema.namespace}:") for key in own}

    def value(self, key: str, parse: Callable[[str], T]) -> T:
        """Parse a value; where it is refused, note that and go on with the default.

        Args:
            key: name of the setting.
            parse: raises RefusedError for what it does not take; takes the default.
        """
        try:
            return parse(self.text(key))
        except RefusedError as error:
            self.refuse(key, error)
            return parse(self._default(key))

    def refuse(self, key: str, error: RefusedError) -> None:
        """Note that the value of a setting cannot be used."""
        subject = f"{key} is {self.shown(key, hidden=error.secret)}"
        self.problems.append(Problem(subject, str(error), self._mend(key, error)))
        self.refused.add(key)

    def _mend(self, key: str, error: RefusedError) -> tuple[str, ...]:
        if error.mend:
            return (error.mend,)
        if error.superfluous and error.item is not None:
            return (remove_command(f"{key}[{error.item}]", path=True),)
        if self._is_list(key) and error.item is None:
            # Not a list at all so far, so nothing could be put into it.
            return (remove_command(key), self.set_command(key))
        return (self.set_command(key, error.item or 0),)

    def check(self, key: str, checked: Callable[[], None]) -> None:
        """Check something else about a setting that has a value of the right form."""
        try:
            checked()
        except RefusedError as error:
            self.refuse(key, error)

    def clash(self, key: str, reason: str, *commands: str) -> None:
        """Note that a setting does not go together with another."""
        self.problems.append(Problem(key, reason, commands))

    def _is_list(self, key: str) -> bool:
        return self._default(key).startswith("[")

    def set_command(self, key: str, item: int = 0) -> str:
        """The command that gives a setting a value that would do; of a list, to one item of it.

        A secret is not part of the command that sets it.
        """
        if key in self._schema.confidential:
            return f"pulumi config set --secret {key}{self._schema.confidential[key]}"
        example = self._schema.examples.get(key) or self._default(key)
        if self._is_list(key):
            return set_command(f"{key}[{item}]", example, path=True)
        return set_command(key, example)

    def shown(self, key: str, *, hidden: bool = False) -> str:
        """The value as a message may show it: nothing secret, on one line, of a bearable length."""
        text = self.text(key)
        if (
            hidden
            or key in self._schema.confidential
            or self.is_secret(key)
            or "PRIVATE KEY" in text
        ):
            return "[not shown]"
        is_list = text.startswith("[") and text.isascii() and text.isprintable()
        shown = text if is_list else json.dumps(text)
        return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"

    def refuse_unknown(self, *, but: str) -> None:
        """Note what is set but is no setting of this program, such as a misspelt one.

        Args:
            but: namespace whose settings are somebody else's to check.
        """
        for full in sorted(self._values.keys() - self._schema.defaults.keys()):
            namespace, _, name = full.partition(":")
            if namespace == but:
                continue
            key = name if namespace == self._schema.namespace else full
            close = get_close_matches(full, self._schema.defaults, n=1, cutoff=0.7)
            meant = close[0].removeprefix(f"{self._schema.namespace}:") if close else ""
            reason = "no setting of this program" + (f"; did you mean {meant}?" if meant else "")
            self.problems.append(Problem(key, reason, (remove_command(key),)))


def set_command(key: str, value: str, *, path: bool = False) -> str:
    """The command that sets a key to a value."""
    # What begins with a dash would be taken for an option.
    words = ["--path"] * path + [key] + ["--"] * value.startswith("-") + [value]
    return shlex.join(["pulumi", "config", "set", *words])


def remove_command(key: str, *, path: bool = False) -> str:
    """The command that removes a key."""
    return shlex.join(["pulumi", "config", "rm", *["--path"] * path, key])
