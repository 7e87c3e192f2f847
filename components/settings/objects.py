"""Settings that are lists of objects, such as profiles: each has a name, and fields."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from components.settings.parsing import RefusedError, list_of
from components.settings.setting import remove_command


def parsed(parse: Callable[[str], Any]) -> Callable[[object], Any]:
    """What takes a value as YAML has it, for a parser of what Pulumi's config has: text."""

    def take(value: object) -> Any:
        return parse(value if isinstance(value, str) else json.dumps(value))

    return take


def some(parse: Callable[[str], str], *, otherwise: str = "") -> Callable[[object], Any]:
    """What takes lists of what `parse` takes, with one element at least.

    `pulumi config rm` of the last one leaves an empty list. It must not stand for everybody.

    Args:
        parse: of one element.
        otherwise: what to do for no element at all, as messages say it.
    """

    def parse_all(text: str) -> tuple[str, ...]:
        found = list_of(parse)(text)
        if not found:
            raise RefusedError(f"an empty list{otherwise and f'; {otherwise}'}")
        return found

    return parsed(parse_all)


def remove(path: str) -> str:
    """The command that removes what is at a path."""
    return shlex.join(["pulumi", "config", "rm", "--path", path])


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What the objects of a setting may say, and what is said about mistakes in them."""

    key: str
    """Of the setting."""
    noun: str
    """What one of them is called."""
    fields: Mapping[str, tuple[Callable[[object], Any], str]]
    """How each is checked, and a value for the command that fixes it."""
    lists: Collection[str] = ()
    """Fields that are lists; their checks are of the whole list."""
    secret: str = ""
    """The field that is encrypted."""
    most: int = 32
    """How many there may be: the containers get all of them as one variable."""

    def set(self, number: int, field: str, item: int = 0, *, value: str = "") -> str:
        """The command that sets a field of the object of that number, or that item of a list."""
        path = f"{self.key}[{number}].{field}" + (f"[{item}]" if field in self.lists else "")
        if field == self.secret:
            # From a program that makes one: nothing to think of, and in no shell's history.
            command = shlex.join(["pulumi", "config", "set", "--secret", "--path", path])
            return f"{self.fields[field][1]} | {command}"
        value = value or self.fields[field][1]
        return shlex.join(["pulumi", "config", "set", "--path", path, value])

    def __call__(self, text: str) -> tuple[dict[str, Any], ...]:
        """Parse a list of objects; returns the checked fields that each has."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, list):
            fix = remove_command(self.key)
            raise RefusedError(f"not a list of {self.noun}s, each with a name", fix=fix)
        if len(given) > self.most:
            raise RefusedError(
                f"more than {self.most} {self.noun}s", item=self.most, superfluous=True
            )
        found: list[dict[str, Any]] = []
        for number, each in enumerate(given):
            made = self._object(number, each)
            if made["name"] in [other["name"] for other in found]:
                raise RefusedError(
                    f"{self.noun} {made['name']}: given twice", item=number, superfluous=True
                )
            found.append(made)
        return tuple(found)

    def _object(self, number: int, given: object) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise RefusedError(
                f"element {number + 1}: not a {self.noun} with a name",
                item=number,
                superfluous=True,
            )
        # `pulumi config set --path` makes numbers of digits, also where they are a name or a path.
        given = {key: str(one) if type(one) is int else one for key, one in given.items()}
        named = isinstance(given.get("name"), str)
        if "name" not in given:
            raise RefusedError(f"element {number + 1}: has no name", fix=self.set(number, "name"))
        try:
            return {key: self._field(number, key, value) for key, value in given.items()}
        except RefusedError as error:
            which = f"{self.noun} {given['name']}" if named else f"a {self.noun}"
            raise RefusedError(f"{which}, {error}", secret=error.secret, fix=error.fix) from None

    def _field(self, number: int, key: str, value: object) -> Any:
        """The checked value of a field of the object of that number."""
        if key not in self.fields:
            raise RefusedError(
                f"{json.dumps(key)}: unknown; a {self.noun} has {', '.join(self.fields)}",
                fix=remove(f"{self.key}[{number}][{json.dumps(key)}]"),
            )
        try:
            return self.fields[key][0](value)
        except RefusedError as error:
            if error.superfluous and error.item is not None:
                fix = remove(f"{self.key}[{number}].{key}[{error.item}]")
            elif key in self.lists and error.item is None:
                # Without groups, it would be for everybody.
                anew = (remove(f"{self.key}[{number}].{key}"), self.set(number, key))
                fix = error.fix or "\n".join(anew)
            else:
                fix = self.set(number, key, error.item or 0)
            hidden = error.secret or key == self.secret
            shown = "" if hidden else f" {json.dumps(value)}"[:100]
            raise RefusedError(f"{key}{shown}: {error}", secret=hidden, fix=fix) from None
