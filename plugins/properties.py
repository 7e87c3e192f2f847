"""Property tables: which properties a resource has.

One table gives the checks of a program's inputs, the defaults, the detailed diff and the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from plugins.property_types import (
    Change,
    Failure,
    ListOf,
    MapOf,
    Scalar,
    Type,
    is_bridge_key,
    member,
)
from plugins.values import UNKNOWN, Properties, has_unknown


@dataclass(frozen=True)
class Property:
    """One row of a property table. `name` is the camelCase name on the wire.

    default:      input value if the program sets none
    replaces:     a change replaces the resource
    secret:       always secret, whatever the program says
    output:       only the provider sets it; as an input it is refused
    derived:      an input that `check` computes (in the diff, but not in the schema)
    unsupported:  the official plugin has it, this one refuses it by name
    computed:     the provider chooses a value if the program sets none, so removing it from the
                  program is no change (Terraform's "optional and computed")
    stable:       an output that an update cannot change, so a preview knows it
    output_default: output value if nobody sets one; a preview knows it, and setting it to this
                  value is no change
    equal:        whether an old and a new value mean the same; None stands for a missing one
    """

    name: str
    type: Type
    required: bool = False
    default: Any = None
    replaces: bool = False
    secret: bool = False
    output: bool = False
    derived: bool = False
    unsupported: bool = False
    computed: bool = False
    stable: bool = True
    output_default: Any = None
    equal: Callable[[Any, Any], bool] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Object(Type):
    """An object with a property table of its own. `token` names it in the schema."""

    token: str
    properties: tuple[Property, ...]
    #: An empty list means the same as none: true for Terraform's older SDK (docker), not for its
    #: plugin framework (tls).
    empty_is_none: bool = False

    noun = "an object"

    def normalise(self, value: Any, path: str, failures: list[Failure]) -> Any:
        if value is UNKNOWN:
            return value
        if not isinstance(value, dict):
            return self._refuse(value, path, failures)
        failures += self._refusals(value, path)
        result = {}
        for row in self.properties:
            if row.output or row.unsupported:
                continue
            item = value.get(row.name)
            if item is None:
                item = row.default
            if item is not None:
                result[row.name] = row.type.normalise(item, member(path, row.name), failures)
            elif row.required:
                failures.append(Failure(member(path, row.name), "is required"))
        return result

    def _refusals(self, value: dict[str, Any], path: str) -> Iterator[Failure]:
        """Yield a failure for each member that a program must not set."""
        table = {row.name: row for row in self.properties}
        for key, item in value.items():
            row = table.get(key)
            if is_bridge_key(key) or item is None:
                continue
            if row is None:
                known = ", ".join(r.name for r in self.properties if is_input(r))
                reason = f"is not a property; the properties are {known}"
            elif row.unsupported:
                reason = "is not supported by this plugin"
            elif row.output:
                reason = "is an output and cannot be set"
            else:
                continue
            yield Failure(member(path, key), reason)

    def changes(self, old: Any, new: Any, path: str, *, replaces: bool) -> Iterator[Change]:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            yield from super().changes(old, new, path, replaces=replaces)
            return
        for row in self.properties:
            if row.output:
                continue
            before, after = self._value(old, row), self._value(new, row)
            place = member(path, row.name)
            replace = replaces or row.replaces
            chosen = row.computed and not self._emptied(new, row)
            if after is None and (before is None or chosen):
                continue
            if row.equal is not None and not has_unknown(after) and row.equal(before, after):
                continue
            if before is None or (self.empty_is_none and self._left_out(old, row)):
                if before is None or row.type.differ(before, after):
                    yield Change(place, "add", replace)
            elif after is None if not self.empty_is_none else self._shown_as_gone(new, row):
                if after is None or row.type.differ(before, after):
                    yield Change(place, "delete", replace)
            else:
                rest = {} if after is None else after
                yield from row.type.changes(before, rest, place, replaces=replace)

    def _shown_as_gone(self, values: dict[str, Any], row: Property) -> bool:
        # A map is compared entry by entry.
        return self._left_out(values, row) and not isinstance(row.type, MapOf)

    def _left_out(self, values: dict[str, Any], row: Property) -> bool:
        value = values.get(row.name)
        return value is None or (self.empty_is_none and value in ([], {}))

    def _value(self, values: dict[str, Any], row: Property) -> Any:
        value = values.get(row.name)
        if value is None:
            return row.output_default if row.default is None else row.default
        return None if self._left_out(values, row) else value

    def leaves_out(self, value: Any) -> bool:
        """Tell whether a member that could be set is missing.

        The bridge then cannot match a planned element with one of the program's, and shows the
        whole set as changed (`matchPlanElementsToInputs` in its pkg/tfbridge/detailed_diff.go).
        """
        return value is UNKNOWN or any(
            row.type.leaves_out(value[row.name])
            if row.name in value
            else isinstance(row.type, Scalar) and not row.computed
            for row in self.properties
        )

    def _emptied(self, values: dict[str, Any], row: Property) -> bool:
        """Tell whether the program sets an empty value, so that the provider does not choose one.

        In Terraform an empty list of blocks means the same as none.
        """
        blocks = isinstance(row.type, ListOf) and isinstance(row.type.element, Object)
        return row.computed and not blocks and values.get(row.name) in ([], {})

    def stored(self, values: Properties) -> Properties:
        """Return stored inputs, of any plugin, in the form that `changes` compares.

        The new program replaces them, so their failures do not matter; unknown keys are dropped.
        """
        return dict(self.normalise(values, "", []))

    def schema(self, types: dict[str, Any]) -> dict[str, Any]:
        if self.token not in types:
            types[self.token] = {}  # before the members, since a type may contain itself
            types[self.token] = {"type": "object", **schema_of(self.properties, types)}
        return {"$ref": f"#/types/{self.token}"}


def schema_of(rows: Sequence[Property], types: dict[str, Any]) -> dict[str, Any]:
    """Return `properties` and `required` of these rows for the package schema."""
    return {
        "properties": {
            row.name: {**row.type.schema(types), **({"secret": True} if row.secret else {})}
            for row in rows
        },
        "required": [row.name for row in rows if row.required],
    }


def is_input(row: Property) -> bool:
    """Tell whether a program may set the property."""
    return not (row.output or row.derived or row.unsupported)
