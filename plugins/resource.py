"""The base class of resource types: a property table, and methods that act on one resource."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from plugins.calls import Call, CheckCall, Created
from plugins.properties import Object, Property, is_input
from plugins.property_types import Change, Failure
from plugins.values import UNKNOWN, Properties, Secret, keep_secrets, reveal, secret_marks


class Resource:
    """One resource type: a property table, and methods to create, read, update and delete it."""

    #: The type token, such as `docker:index/container:Container`.
    token: ClassVar[str]
    properties: ClassVar[tuple[Property, ...]]
    #: A replacement deletes the old resource before it creates the new one.
    delete_before_replace: ClassVar[bool] = False
    #: An empty list means the same as none; see `Object`.
    empty_is_none: ClassVar[bool] = False
    #: Version of the official provider's schema; goes into the state's `__meta`, without which that
    #: provider would take the state for one of version 0 and convert it.
    schema_version: ClassVar[int | None] = None
    #: The outputs have the id too, as in every provider bridged from Terraform.
    id_in_outputs: ClassVar[bool] = False
    #: Record defaults in the inputs' `__defaults`, as the official provider does. It needs them for
    #: generated names: without the record it would generate another one and replace.
    records_defaults: ClassVar[bool] = False
    #: Single elements of a list can be secret, and a value that becomes or stops being secret is
    #: a change. This is how providers on Pulumi's Go framework behave (command); for bridged
    #: ones (docker, tls) the engine marks whole lists, and the mark alone is no change.
    exact_secrets: ClassVar[bool] = False
    #: The program may leave out `name`. Needs `records_defaults`.
    autonamed: ClassVar[bool] = False

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.table = Object(self.token, self.properties, self.empty_is_none)

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        """Return what else is wrong with the inputs; may complete `inputs` in place.

        `inputs` have their defaults and the right types, and may hold `UNKNOWN`.
        `old` are the inputs of the last run, empty for a new resource.
        """
        return []

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        """Return the changes, corrected for what the table cannot express.

        `old` and `new` are normalised inputs, `state` the stored outputs.
        """
        return changes

    def preview(self, inputs: Properties, state: Properties | None, call: Call) -> Properties:
        """Return the outputs that a preview can know; `state` is None before a create."""
        outputs = self.planned(inputs)
        for row in self.properties:
            if row.name in outputs:
                continue
            if state is not None and row.name in state and (row.computed or row.output):
                outputs[row.name] = state[row.name] if row.stable else UNKNOWN
            elif row.output:
                outputs[row.name] = UNKNOWN
        return outputs

    def create(self, inputs: Properties, call: Call) -> Created:
        """Create the resource."""
        raise NotImplementedError

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        """Return the current outputs, None if it is gone; `state` is empty on an import."""
        return state

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        """Change the resource to `new` and return its outputs; `state` are the old outputs."""
        raise NotImplementedError

    def delete(self, id: str, state: Properties, call: Call) -> None:
        """Remove the resource; if it is gone already, that is no error."""

    # Resource types seldom override the methods below.

    def planned(self, inputs: Properties) -> Properties:
        """Return `inputs` with `output_default` for missing values."""
        defaults = {
            row.name: row.output_default
            for row in self.properties
            if row.output_default is not None
        }
        return {**defaults, **inputs}

    def imported_inputs(self, outputs: Properties) -> Properties:
        """Return the inputs that a program would write to get `outputs`."""
        return {
            row.name: outputs[row.name]
            for row in self.properties
            if is_input(row)
            and outputs.get(row.name) not in (None, [], {}, row.default, row.output_default)
        }

    def refreshed_inputs(
        self, inputs: Properties, state: Properties, outputs: Properties
    ) -> Properties:
        """Return `inputs`, updated where `outputs` differ from `state`.

        Then the next preview shows the drift: a diff compares the program with the stored inputs.
        """
        result = dict(inputs)
        for row in self.properties:
            before, now = reveal(state.get(row.name)), outputs.get(row.name)
            if is_input(row) and before is not None and before != now:
                result[row.name] = now
        return {name: value for name, value in result.items() if value is not None}

    def secret_changes(
        self, old: Properties, new: Properties, found: Sequence[Change]
    ) -> list[Change]:
        """Return changes for values that became or stopped being secret, beyond those `found`."""
        seen = {change.property for change in found}
        return [
            Change(row.name, "update", row.replaces)
            for row in self.properties
            if row.name not in seen
            and secret_marks(old.get(row.name)) != secret_marks(new.get(row.name))
        ]

    def finished(self, id: str, outputs: Properties, like: Sequence[Properties]) -> Properties:
        """Return outputs for the state: secrets marked, absent ones left out."""
        result = {name: value for name, value in outputs.items() if value is not None}
        if self.id_in_outputs and id:
            result["id"] = id
        for model in like:
            result = keep_secrets(result, model, exact=self.exact_secrets)
        for row in self.properties:
            if row.secret and row.name in result and not isinstance(result[row.name], Secret):
                result[row.name] = Secret(reveal(result[row.name]))
        if self.schema_version is not None:
            result["__meta"] = json.dumps(
                {"schema_version": str(self.schema_version)}, separators=(",", ":")
            )
        return result
