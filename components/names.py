"""Names and labels of what a stack makes: two stacks on one engine never share an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import pulumi


class Label(TypedDict):
    """A label of a Docker object, in the form all of the provider's resource types take."""

    label: pulumi.Input[str]
    value: pulumi.Input[str]


@dataclass(frozen=True)
class Names:
    """Names of a stack's objects on the engine; must not change, for data is found by them."""

    prefix: str

    def __call__(self, role: str) -> str:
        return f"{self.prefix}-{role}"

    def labels(self, role: str) -> list[Label]:
        """What clean-up finds the object by."""
        return [
            {"label": "zhub.stack", "value": self.prefix},
            {"label": "zhub.role", "value": role},
        ]
