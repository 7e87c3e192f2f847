"""What all but images share: rows of tables, and diffs as Terraform does them.

The official plugin bridges these from kreuzwerker/terraform-provider-docker. That compares
inputs with the stored state, not with the stored inputs: a value that the engine chose for a
missing property is a change, unless the property is marked as computed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from docker.errors import APIError

from plugins.calls import Call, CheckCall, ResourceError
from plugins.docker import durations
from plugins.docker.engine import Engine
from plugins.docker.errors import is_missing, said
from plugins.properties import Object, Property
from plugins.property_types import (
    BOOLEAN,
    INTEGER,
    STRING,
    Change,
    Failure,
    ListOf,
    MapOf,
    Scalar,
    Type,
    set_of,
)
from plugins.resource import Resource
from plugins.values import Properties

NOT_NEGATIVE = Scalar("integer", minimum=0)
DURATION = Scalar(
    "string", pattern=durations.PATTERN, pattern_in_words="a duration such as 500ms, 30s or 1m30s"
)

#: Rows whose zero value means the same as none.
text = partial(Property, type=STRING, output_default="")
number = partial(Property, type=INTEGER, output_default=0)
flag = partial(Property, type=BOOLEAN, output_default=False)
strings = partial(Property, type=set_of(STRING))
options = partial(Property, type=MapOf(STRING))

#: Seconds to wait for something in use before its removal fails.
IN_USE_SECONDS = 30


def object_type(name: str, *rows: Property) -> Object:
    """Return the type of a nested object by its name in the SDK, such as `ContainerPort`."""
    module = name[0].lower() + name[1:]
    return Object(f"docker:index/{module}:{name}", rows, empty_is_none=True)


def labels(owner: str, *, computed: bool = False, replaces: bool = True) -> Property:
    """Return the row of a resource's labels; `owner` is its name in the SDK."""
    label = object_type(
        f"{owner}Label",
        Property("label", STRING, required=True),
        Property("value", STRING, required=True),
    )
    return Property("labels", set_of(label), computed=computed, replaces=replaces)


def label_map(inputs: Properties) -> dict[str, str]:
    """Return labels in the engine's form."""
    return {item["label"]: item["value"] for item in inputs.get("labels", [])}


def label_list(found: dict[str, str] | None) -> list[Properties]:
    """Return labels in the stored form."""
    return in_order({"label": key, "value": value} for key, value in (found or {}).items())


def in_order(items: Iterable[Any]) -> list[Any]:
    """Return the elements of a set in the order in which the official plugin stores them.

    Strings are sorted by their bytes, objects by their attributes in the order of the names
    (zclconf/go-cty, the `Less` of its sets).
    """
    return sorted(items, key=_sort_key)


def _sort_key(item: Any) -> str:
    if isinstance(item, dict):
        return ";".join(_sort_key(item[name]) for name in sorted(item))
    if isinstance(item, list):
        return "[" + ";".join(map(_sort_key, item)) + "]"
    # Unlike JSON, the true value of a boolean is a letter that comes after all digits.
    return str(item) if isinstance(item, bool) else json.dumps(item, ensure_ascii=False)


def filled(type: Type, value: Any) -> Any:
    """Return an input in the stored form: sets sorted, and elements with their defaults."""
    if isinstance(type, ListOf) and isinstance(value, list):
        items = [filled(type.element, item) for item in value]
        return items if type.ordered else in_order(items)
    if isinstance(type, Object) and isinstance(value, dict):
        result = {}
        for row in type.properties:
            if row.name in value:
                result[row.name] = filled(row.type, value[row.name])
            elif row.output_default is not None:
                result[row.name] = row.output_default
            elif isinstance(row.type, ListOf):
                result[row.name] = []
        return result
    return value


def _without_zeros(value: Any) -> Any:
    """Return a value as a program would write it, without empty and zero values."""
    if isinstance(value, dict):
        return {k: _without_zeros(v) for k, v in value.items() if v not in (None, "", 0, [], {})}
    return [_without_zeros(item) for item in value] if isinstance(value, list) else value


class EngineResource(Resource):
    """A resource that the official plugin bridges from Terraform."""

    empty_is_none = True
    records_defaults = True
    id_in_outputs = True
    autonamed = True

    @property
    def engine(self) -> Engine:
        """The engine this stack is on."""
        engine: Engine = self.provider.engine
        return engine

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        if inputs.get("name") is None:
            name = call.autoname(old)
            if name is None:
                return [
                    Failure(
                        "name",
                        "is required: pulumi:autonaming in the stack's config disables naming",
                    )
                ]
            inputs["name"] = name
        return []

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        found = self.table.changes(self.table.stored(state), new, "", replaces=False)
        return [replace(change, inputs=False) for change in found]

    def refreshed_inputs(
        self, inputs: Properties, state: Properties, outputs: Properties
    ) -> Properties:
        # The bridge updates the properties that the program sets, and adds none.
        found = super().refreshed_inputs(inputs, state, outputs)
        return {name: value for name, value in found.items() if name in inputs}

    def filled_inputs(self, inputs: Properties) -> Properties:
        """Return inputs as stored in the outputs, with their defaults."""
        result: Properties = {}
        for row in self.properties:
            if row.name in inputs:
                result[row.name] = filled(row.type, inputs[row.name])
            elif row.output_default is False:
                result[row.name] = False
            elif isinstance(row.type, ListOf) and not row.output:
                # Terraform has no null for a list of blocks.
                result[row.name] = []
        return result

    def imported_inputs(self, outputs: Properties) -> Properties:
        found = super().imported_inputs(outputs)
        return {name: _without_zeros(value) for name, value in found.items()}

    def inspected(self, what: str, id: str, inspect: Callable[[str], Any]) -> Any:
        """Return the engine's `inspect` of the id; None if the engine does not have it."""
        with self.engine.explained(f"read {what}"):
            try:
                return inspect(id)
            except APIError as error:
                if is_missing(error):
                    return None
                raise

    def remove_unused(
        self,
        call: Call,
        what: str,
        remove: Callable[[], None],
        in_use: str,
        users: Callable[[], list[str]],
    ) -> None:
        """Call `remove` until it succeeds, as long as the official plugin does.

        `in_use` is in the engine's message if containers use the thing. If it is gone already, that
        is no error. Raises ResourceError that names the `users`, the containers that use it.
        """
        with self.engine.explained(f"remove {what}"):
            for _ in range(IN_USE_SECONDS):
                try:
                    return remove()
                except APIError as error:
                    if is_missing(error):
                        return None
                    if in_use not in said(error):
                        raise
                call.status(f"waiting for {what} to be free: used by {', '.join(users())}")
                call.sleep(1)
            raise ResourceError(
                f"cannot remove {what}: it is still used by {', '.join(users())}, which this run "
                "does not remove. Remove what uses it (docker rm -f …) and run again"
            )
