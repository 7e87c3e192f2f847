"""Rules for values: small ones, which tables of allowed resources combine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi_policy.proxy import UnknownValueError

Check = Callable[[Any], Iterator[str]]
"""Yields problems of a value, each beginning with the place in the value; none if it is allowed.

None stands for a value that is not set.
"""


class Unknown:
    """Stands for a value that is not known in a preview."""


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Rule:
    """A check of a value, which also fails when a preview does not know a value that it must."""

    check: Check
    later: bool = False
    """Whether the value may be unknown until `pulumi up`."""

    def __call__(self, value: Any) -> Iterator[str]:
        if value is not UNKNOWN:
            yield from self.check(value)
        elif not self.later:
            # The SDK would only print a remark, and the violation would first show up in `up`.
            yield " is not known before `pulumi up`"


def plain(value: Any) -> Any:
    """Return a property without the SDK's proxies; empty values become None, for not set."""
    if isinstance(value, Mapping):
        # __defaults is the provider's record of the values that it filled in.
        return {key: _item(value, key) for key in value if key != "__defaults"} or None
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if hasattr(value, "__getitem__") and hasattr(value, "__len__"):
        return [_item(value, number) for number in range(len(value))] or None
    return value


def _item(of: Any, key: Any) -> Any:
    try:
        return plain(of[key])
    except UnknownValueError:
        return UNKNOWN


def shown(value: Any) -> str:
    """Return a value as text for a message, shortened."""
    if value is None:
        return "not set"
    text = json.dumps(value, default=lambda _: "(not known yet)")
    return text if len(text) <= 160 else f"{text[:157]}..."


def only(*allowed: Any) -> Rule:
    """One of these values; None among them means that it need not be set."""

    def check(value: Any) -> Iterator[str]:
        # Compare types as well: in Python, True == 1.
        if not any(value == one and type(value) is type(one) for one in allowed):
            yield f" is {shown(value)}; allowed: {', '.join(map(shown, allowed))}"

    return Rule(check)


def matching(pattern: str, words: str) -> Rule:
    """A string that matches the pattern, which `words` describes."""

    def check(value: Any) -> Iterator[str]:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            yield f" is {shown(value)}; allowed: {words}"

    return Rule(check)


def _unset(value: Any) -> Iterator[str]:
    if value is not None:
        yield f" is {shown(value)}; allowed: not set"


def _positive(value: Any) -> Iterator[str]:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        yield f" is {shown(value)}; allowed: a number above 0"


#: For values that do not affect security, or that are checked elsewhere.
ANYTHING = Rule(lambda _: iter(()), later=True)
UNSET = Rule(_unset)
POSITIVE = Rule(_positive)


def later(rule: Rule) -> Rule:
    """The same rule, for a value that may be unknown until `pulumi up`."""
    return Rule(rule.check, later=True)


def maybe(rule: Rule) -> Rule:
    """The same rule, for a value that need not be set."""
    return Rule(lambda value: iter(()) if value is None else rule(value), rule.later)


def both(*rules: Rule) -> Rule:
    """All of these rules."""
    return Rule(lambda value: (problem for rule in rules for problem in rule(value)))


def each(rule: Rule) -> Rule:
    """A list in which each value fits the rule, or no list."""

    def check(values: Any) -> Iterator[str]:
        if not isinstance(values, list | None):
            yield f" is {shown(values)}; allowed: a list"
            return
        for number, value in enumerate(values or ()):
            yield from (f"[{number}]{problem}" for problem in rule(value))

    return Rule(check)


def fields(table: Mapping[str, Rule]) -> Rule:
    """An object with these properties, and no others."""

    def check(value: Any) -> Iterator[str]:
        if not isinstance(value, dict | None):
            yield f" is {shown(value)}; allowed: an object"
            return
        given = value or {}
        for key in sorted({*table, *given}):
            yield from (f".{key}{problem}" for problem in table.get(key, UNSET)(given.get(key)))

    return Rule(check)


def by(
    key: str,
    required: Mapping[str, Rule],
    optional: Mapping[str, Rule] | None = None,
    others: Mapping[str, Rule] | None = None,
) -> Rule:
    """A list of objects, with a rule for each by the value of one property.

    Args:
        key: name of that property.
        required: rules by the property's value; each value must occur once.
        optional: the same; each value may occur once.
        others: rules by a pattern of the property's value; each value may occur once.
    """
    exact, patterns = {**required, **(optional or {})}, others or {}
    known = ", ".join([*exact, *patterns])

    def chosen(name: Any) -> Rule | None:
        if not isinstance(name, str):
            return None
        matches = (rule for pattern, rule in patterns.items() if re.fullmatch(pattern, name))
        return exact.get(name) or next(matches, None)

    def check(values: Any) -> Iterator[str]:
        if not isinstance(values, list | None):
            yield f" is {shown(values)}; allowed: a list"
            return
        found: set[Any] = set()
        for value in values or ():
            name = value.get(key) if isinstance(value, dict) else None
            if name is UNKNOWN:
                yield f" has an item whose {key} is not known before `pulumi up`"
            elif (rule := chosen(name)) is None:
                yield f" has {key} {shown(name)}; allowed: {known}"
            elif name in found:
                yield f" has {key} {name} twice"
            else:
                found.add(name)
                rest = {other: one for other, one in value.items() if other != key}
                yield from (f"[{name}]{problem}" for problem in rule(rest))
        yield from (f" lacks {key} {name}" for name in required if name not in found)

    return Rule(check)
