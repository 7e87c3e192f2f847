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
        """Return the name of what has a role in the stack.

        Raises:
            ValueError: for a role that could make a name another stack's or user's as well.
        """
        # A role with a "-" in it could be another stack's name and its role.
        if not role.isalnum() or role in {"user", "home"}:
            raise ValueError(f"{role} cannot be a role")
        return f"{self.prefix}-{role}"

    def labels(self, role: str) -> list[Label]:
        """What clean-up finds the object by."""
        return [
            {"label": "zhub.stack", "value": self.prefix},
            {"label": "zhub.role", "value": role},
        ]
