"""The types of properties' values: their checks, differences and schema.

Values here hold no `Secret`, but may be or hold `UNKNOWN`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pulumi import Archive, Asset

from plugins.values import UNKNOWN, has_unknown

Kind = Literal["add", "delete", "update"]


@dataclass(frozen=True)
class Failure:
    """What is wrong with an input: the property's path, and the rest of the sentence."""

    path: str
    reason: str


@dataclass(frozen=True)
class Change:
    """One change of a resource.

    With `inputs`, the path is one of the inputs; otherwise one of the stored outputs.
    """

    path: str
    kind: Kind
    replaces: bool
    inputs: bool = True

    @property
    def property(self) -> str:
        """The name of the top-level property."""
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]


class Type(ABC):
    """The type of a property's values."""

    #: The type's name in messages.
    noun: str

    @abstractmethod
    def normalise(self, value: Any, path: str, failures: list[Failure]) -> Any:
        """Return `value` in this type's form, with defaults; add what is wrong to `failures`."""

    def changes(self, old: Any, new: Any, path: str, *, replaces: bool) -> Iterator[Change]:
        """Yield the differences. Neither value is None, both are normalised."""
        if old != new or has_unknown(new):
            yield Change(path, "update", replaces)

    def differ(self, old: Any, new: Any) -> bool:
        """Tell whether there is any change from one value to the other."""
        return any(self.changes(old, new, "", replaces=False))

    @abstractmethod
    def schema(self, types: dict[str, Any]) -> dict[str, Any]:
        """Return the type for Pulumi's package schema; add object types to `types`."""

    def leaves_out(self, value: Any) -> bool:
        """Tell whether a member that could be set is missing; only objects have members."""
        del value
        return False

    def _refuse(self, value: Any, path: str, failures: list[Failure]) -> Any:
        # The value itself stays out of the message: it may be a secret.
        failures.append(Failure(path, f"must be {self.noun}, not {_noun_of(value)}"))
        return value


def _noun_of(value: Any) -> str:
    if isinstance(value, (Asset, Archive)):
        return "an asset or archive"
    for kind, noun in (
        (bool, "a boolean"),
        ((int, float), "a number"),
        (str, "a string"),
        (list, "a list"),
        (dict, "an object"),
    ):
        if isinstance(value, kind):
            return noun
    return "null"


@dataclass(frozen=True)
class Scalar(Type):
    """A string, integer, number or boolean, with the allowed values.

    With `converts`, a string such as "1" or "true" is accepted for a number or boolean, and the
    other way round, as in Pulumi's bridge to Terraform; Pulumi's own providers do not convert.
    """

    name: Literal["string", "integer", "number", "boolean"]
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""
    #: `pattern` in words, for the message if a value does not match.
    pattern_in_words: str = ""
    converts: bool = True

    @property
    def noun(self) -> str:  # type: ignore[override]
        return f"an {self.name}" if self.name == "integer" else f"a {self.name}"

    def normalise(self, value: Any, path: str, failures: list[Failure]) -> Any:
        if value is UNKNOWN:
            return value
        if self.converts:
            value = self._converted(value)
        if not self._is_mine(value):
            return self._refuse(value, path, failures)
        if self.choices and value not in self.choices:
            failures.append(Failure(path, f"must be one of {', '.join(self.choices)}"))
        elif self.minimum is not None and value < self.minimum:
            failures.append(Failure(path, f"must be at least {self.minimum}"))
        elif self.maximum is not None and value > self.maximum:
            failures.append(Failure(path, f"must be at most {self.maximum}"))
        elif self.pattern and not re.fullmatch(self.pattern, value):
            failures.append(Failure(path, f"must be {self.pattern_in_words}"))
        return value

    def _is_mine(self, value: Any) -> bool:
        if self.name == "string":
            return isinstance(value, str)
        if self.name == "boolean":
            return isinstance(value, bool)
        if isinstance(value, bool):
            return False  # in Python a bool is an int, in a schema it is not
        return isinstance(value, int if self.name == "integer" else (int, float))

    def _converted(self, value: Any) -> Any:
        if isinstance(value, str):
            if self.name == "boolean" and value in ("true", "false"):
                return value == "true"
            if self.name in ("integer", "number") and re.fullmatch(r"-?\d{1,15}", value):
                return int(value)
            if self.name == "number" and re.fullmatch(r"-?\d{1,15}\.\d{1,15}", value):
                return float(value)
        elif self.name == "string":
            if isinstance(value, bool):
                return "true" if value else "false"
            if isinstance(value, (int, float)):
                return repr(value)
        return value

    def schema(self, types: dict[str, Any]) -> dict[str, Any]:
        return {"type": self.name}


@dataclass(frozen=True)
class Anything(Type):
    """Any value."""

    noun = "anything"

    def normalise(self, value: Any, path: str, failures: list[Failure]) -> Any:
        return value

    def changes(self, old: Any, new: Any, path: str, *, replaces: bool) -> Iterator[Change]:
        if not same(old, new):
            yield Change(path, "update", replaces)

    def schema(self, types: dict[str, Any]) -> dict[str, Any]:
        return {"$ref": "pulumi.json#/Any"}


@dataclass(frozen=True)
class ListOf(Type):
    """A list whose elements are all of one type; with `ordered` false, a set."""

    element: Type
    ordered: bool = True
    minimum: int = 0
    maximum: int | None = None

    noun = "a list"

    def normalise(self, value: Any, path: str, failures: list[Failure]) -> Any:
        if value is UNKNOWN:
            return value
        if not isinstance(value, list):
            return self._refuse(value, path, failures)
        if len(value) < self.minimum:
            failures.append(Failure(path, f"must have at least {self.minimum} element(s)"))
        if self.maximum is not None and len(value) > self.maximum:
            failures.append(Failure(path, f"must have at most {self.maximum} element(s)"))
        result = []
        for index, item in enumerate(value):
            if item is None:
                failures.append(Failure(f"{path}[{index}]", "must not be null"))
            else:
                result.append(self.element.normalise(item, f"{path}[{index}]", failures))
        return result

    def changes(self, old: Any, new: Any, path: str, *, replaces: bool) -> Iterator[Change]:
        if not (isinstance(old, list) and isinstance(new, list)):
            yield from super().changes(old, new, path, replaces=replaces)
            return
        if not self.ordered:
            yield from self._set_changes(old, new, path, replaces=replaces)
            return
        for index in range(max(len(old), len(new))):
            place = f"{path}[{index}]"
            if index >= len(old):
                yield Change(place, "add", replaces)
            elif index >= len(new):
                yield Change(place, "delete", replaces)
            else:
                yield from self.element.changes(old[index], new[index], place, replaces=replaces)

    def _set_changes(
        self, old: list[Any], new: list[Any], path: str, *, replaces: bool
    ) -> Iterator[Change]:
        gone = list(enumerate(old))
        added = []
        for index, item in enumerate(new):
            for position, (_, candidate) in enumerate(gone):
                if not self.element.differ(candidate, item):
                    del gone[position]
                    break
            else:
                added.append((index, item))
        if any(self.element.leaves_out(item) for _, item in added):
            yield Change(path, "update", replaces)
            return
        for index, item in list(added):
            # An element at the same index is shown as an update of its fields, which reads better.
            match = next((pair for pair in gone if pair[0] == index), None)
            if match is not None:
                gone.remove(match)
                added.remove((index, item))
                yield from self.element.changes(
                    match[1], item, f"{path}[{index}]", replaces=replaces
                )
        for index, _ in added:
            yield Change(f"{path}[{index}]", "add", replaces)
        for index, _ in gone:
            yield Change(f"{path}[{index}]", "delete", replaces)

    def schema(self, types: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": self.element.schema(types)}


@dataclass(frozen=True)
class MapOf(Type):
    """An object with any keys, whose values are all of one type."""

    element: Type

    noun = "an object"

    def normalise(self, value: Any, path: str, failures: list[Failure]) -> Any:
        if value is UNKNOWN:
            return value
        if not isinstance(value, dict):
            return self._refuse(value, path, failures)
        return {
            key: self.element.normalise(item, member(path, key), failures)
            for key, item in value.items()
            if item is not None and not is_bridge_key(key)
        }

    def changes(self, old: Any, new: Any, path: str, *, replaces: bool) -> Iterator[Change]:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            yield from super().changes(old, new, path, replaces=replaces)
            return
        for key in sorted({*old, *new}):
            place = member(path, key)
            if key not in old:
                yield Change(place, "add", replaces)
            elif key not in new:
                yield Change(place, "delete", replaces)
            else:
                yield from self.element.changes(old[key], new[key], place, replaces=replaces)

    def schema(self, types: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.element.schema(types)}


STRING = Scalar("string")
INTEGER = Scalar("integer")
NUMBER = Scalar("number")
BOOLEAN = Scalar("boolean")
ANYTHING = Anything()


def one_of(*choices: str) -> Scalar:
    """Return the type of a string with these allowed values."""
    return Scalar("string", choices=choices)


def set_of(element: Type) -> ListOf:
    """Return the type of a list whose order does not matter."""
    return ListOf(element, ordered=False)


def same(old: Any, new: Any) -> bool:
    """Tell whether two values are equal; an unknown equals nothing, true is not 1."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if UNKNOWN in (old, new) or isinstance(old, bool) != isinstance(new, bool):
        return False
    return bool(old == new)


def member(path: str, key: str) -> str:
    """Return the path of a member, quoted like the engine's own paths.

    Source: `PropertyPath.String` in sdk/go/common/resource/properties_path.go of pulumi/pulumi.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", key):
        escaped = key.replace('"', '\\"')
        return f'{path}["{escaped}"]'
    return f"{path}.{key}" if path else key


def is_bridge_key(key: str) -> bool:
    """Tell whether a stored key is Pulumi's own (`__defaults`, `__meta` …)."""
    return key.startswith("__")
