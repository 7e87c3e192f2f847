"""Reads config values and collects what is wrong with them, with the commands that fix it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from components.settings.parsing import SHOWN, RefusedError
from components.settings.setting import Setting, remove_command

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One mistake: what it is about, what is wrong, and the commands that fix it."""

    subject: str
    reason: str
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.subject}: {self.reason}", *(f"    {line}" for line in self.commands)]
        )


class Config:
    """The config of a stack, and the problems found in it so far."""

    def __init__(
        self,
        settings: Iterable[Setting[object]],
        namespace: str,
        values: Mapping[str, str],
        secret: Collection[str],
    ) -> None:
        """Take what a stack sets.

        Args:
            settings: all there are.
            namespace: of the project; the commands in messages leave it out, as Pulumi does.
            values: by full key, with the namespace.
            secret: those full keys whose values are encrypted.
        """
        self.settings = tuple(settings)
        self._namespace = namespace
        self._values = values
        self._secret = set(secret)
        self._read: set[Setting[object]] = set()
        self.problems: list[Problem] = []
        self.refused: set[Setting[object]] = set()
        """Those whose values cannot be used."""

    def _full(self, setting: Setting[object]) -> str:
        return setting.key if ":" in setting.key else f"{self._namespace}:{setting.key}"

    def _text(self, setting: Setting[object]) -> str:
        return self._values.get(self._full(setting), setting.default_text)

    def is_set(self, setting: Setting[object]) -> bool:
        """Whether the stack says something other than the default."""
        return self._text(setting) != setting.default_text

    def is_secret(self, setting: Setting[object]) -> bool:
        """Whether the value is encrypted in the stack's file."""
        return self._full(setting) in self._secret

    def value(self, setting: Setting[T]) -> T:
        """The value; where it is refused, note that and go on with the default."""
        self._read.add(setting)
        try:
            return setting.parse(self._text(setting))
        except RefusedError as error:
            self.refuse(setting, error)
            return setting.parse(setting.default_text)

    def check_unread(self) -> None:
        """Check the values that nothing asked for, too."""
        for setting in self.settings:
            if setting not in self._read:
                self.value(setting)

    def refuse(self, setting: Setting[object], error: RefusedError) -> None:
        """Note that the value of a setting cannot be used."""
        subject = f"{setting} is {self.shown(setting, hidden=error.secret)}"
        self.problems.append(Problem(subject, str(error), _fix(setting, error)))
        self.refused.add(setting)

    def check(self, setting: Setting[object], checked: Callable[[], None]) -> bool:
        """Check something else about a value of the right form; say whether it is fine."""
        try:
            checked()
        except RefusedError as error:
            self.refuse(setting, error)
            return False
        return True

    def clash(self, subject: Setting[object] | str, reason: str, *commands: str) -> None:
        """Note that a setting, or the stack's name, does not go together with something else."""
        self.problems.append(Problem(str(subject), reason, commands))

    def shown(self, setting: Setting[object], *, hidden: bool = False) -> str:
        """The value as a message may show it: nothing secret, on one line, of a bearable length."""
        text = self._text(setting)
        secret = setting.secret or setting.secret_member or self.is_secret(setting)
        if hidden or secret or "PRIVATE KEY" in text:
            return "[not shown]"
        is_list = text.startswith("[") and text.isascii() and text.isprintable()
        shown = text if is_list else json.dumps(text)
        return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"

    def refuse_unknown(self, *, but: str) -> None:
        """Note what is set but is no setting of this program, such as a misspelt one.

        Args:
            but: namespace whose settings are somebody else's to check.
        """
        known = {self._full(setting): setting for setting in self.settings}
        for full in sorted(self._values.keys() - known.keys()):
            namespace, _, name = full.partition(":")
            if namespace == but:
                continue
            key = name if namespace == self._namespace else full
            close = get_close_matches(full, known, n=1, cutoff=0.7)
            meant = f"; did you mean {known[close[0]]}?" if close else ""
            reason = f"no setting of this program{meant}"
            self.problems.append(Problem(key, reason, (remove_command(key),)))


def _fix(setting: Setting[object], error: RefusedError) -> tuple[str, ...]:
    if error.fix:
        return tuple(error.fix.splitlines())
    if error.superfluous and error.item is not None:
        return (setting.remove_command(item=error.item),)
    if setting.is_list and error.item is None:
        # Not a list at all so far, so nothing could be put into it.
        return (setting.remove_command(), setting.set_command())
    return (setting.set_command(item=error.item or 0),)
