"""Takes requests apart, so that guard and engine understand their bodies in the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TRUE, _FALSE = {"True", "true", "1"}, {"False", "false", "0"}


class Refused(Exception):
    """The request is not allowed; the text says why."""


class OutdatedError(Refused):
    """The same, of a hub that an `up` is about to replace."""


@dataclass(frozen=True)
class Request:
    """A parsed request."""

    name: str
    """Name of the object in the path; empty if there is none."""
    query: dict[str, str]
    body: dict[str, Any]

    def flag(self, name: str) -> bool:
        """Remove a boolean from the query and return it; False when it is missing."""
        value = self.query.pop(name, "False")
        if value not in _TRUE | _FALSE:
            raise Refused(f"{name} is {value!r}")
        return value in _TRUE

    def done(self) -> None:
        """Refuse parameters that are left in the query."""
        if self.query:
            raise Refused(f"the query has {', '.join(self.query)}")


def parse_body(text: bytes) -> dict[str, Any]:
    """Parse the body of a request; guard and engine must not understand it differently.

    Raises:
        Refused: when it is not a JSON object, or has a key twice, in whatever case: the engine is
            written in Go, whose parser takes "privileged" for "Privileged".
    """
    try:
        body = json.loads(text or b"{}", object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON") from None
    return mapping(body, "the body")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise Refused("a key is given twice")
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise Refused(f"{text} is not a number")


def agree(given: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Accept values that are empty or as wanted.

    Raises:
        Refused: when there is any other value.
    """
    for key, value in given.items():
        empty = value is None or value is False or value in ("", [], {})
        if not empty and (key not in wanted or not _same(value, wanted[key])):
            raise Refused(f"{where}{key} is {json.dumps(value)[:200]}")


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def mapping(value: object, name: str) -> dict[str, Any]:
    """Return a copy of an object, empty for null.

    Raises:
        Refused: when it is anything else, as with the next two.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{name} is not an object")
    return dict(value)


def texts(value: object, name: str) -> list[str]:
    """Return a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refused(f"{name} is not a list of strings")
    return value


def number(given: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Return a number of HostConfig in a range."""
    value = given.get(key)
    if type(value) is not int or not low <= value <= high:
        raise Refused(f"HostConfig.{key} is {value!r}, not a number from {low} to {high}")
    return value
