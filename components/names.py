"""Names and labels of a stack's containers, networks and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import pulumi


class Label(TypedDict):
    """A label, in the form that the provider takes for containers, networks and volumes alike."""

    label: pulumi.Input[str]
    value: pulumi.Input[str]


@dataclass(frozen=True)
class Names:
    """Names that no other stack on the engine has.

    They must stay as they are: it is by their names that volumes with data are found.
    """

    prefix: str

    def __call__(self, role: str) -> str:
        """Return the name of the object that has this role in the stack.

        Raises:
            ValueError: for a role whose name could also be another stack's or a user's.
        """
        # With a "-" in it, this could be the name of another stack and a role of that stack.
        if not role.replace("_", "").isalnum() or role in {"user", "home"}:
            raise ValueError(f"{role} cannot be a role")
        return f"{self.prefix}-{role}"

    def labels(self, role: str) -> list[Label]:
        """Labels by which the clean-up finds the object that has this role."""
        return [
            {"label": "zhub.stack", "value": self.prefix},
            {"label": "zhub.role", "value": role},
        ]


def named(parent: pulumi.Resource) -> pulumi.ResourceOptions:
    """Return options of a resource whose name on the engine is free only without the old one.

    The provider asks for that order only when it wants a replacement itself, and not when the
    operator does (`--target-replace`). Containers and networks could then not be created. Of a
    volume, the new one would be the old one, and be removed.
    """
    return pulumi.ResourceOptions(parent=parent, delete_before_replace=True)


#: A change of these replaces a volume by an empty one. A volume that was there before the stack,
#: such as one restored by hand, has other labels and options than the program declares.
NOT_WORTH_THE_DATA = ["labels", "driver", "driverOpts"]


def kept(parent: pulumi.Resource, *, retain: bool, protect: bool = False) -> pulumi.ResourceOptions:
    """Return options of a volume with data that nothing makes again.

    Args:
        parent: of the volume.
        retain: whether a destroy leaves it on the engine.
        protect: whether Pulumi refuses to delete it, unless it leaves it on the engine.
    """
    return pulumi.ResourceOptions.merge(
        named(parent),
        pulumi.ResourceOptions(
            # What a destroy leaves in place needs no protection from it.
            protect=protect and not retain,
            retain_on_delete=retain,
            ignore_changes=NOT_WORTH_THE_DATA,
        ),
    )
