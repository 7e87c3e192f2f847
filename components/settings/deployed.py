"""What this stack has already, by Pulumi's state: read before anything is declared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi.runtime

#: Function of Pulumi's own provider, which is part of the CLI.
READ_RESOURCES = "pulumi:pulumi:readStackResourceOutputs"

#: How often the state is read when the answer is an error, and seconds between two tries.
TRIES = 5
PAUSE = 0.5

STACK = "pulumi:pulumi:Stack"
IMAGE = "docker:index/image:Image"
VOLUME = "docker:index/volume:Volume"
CONTAINER = "docker:index/container:Container"
PROVIDER = "pulumi:providers:docker"

#: The output that counts them, so that Pulumi's state and the next run agree on what was built.
LOST_IMAGES = "lostImages"

#: What has a name that begins with the stack's prefix, what holds data first: where resources
#: disagree, after an `up` that failed halfway, the volume with the database decides.
NAMED = (VOLUME, "docker:index/network:Network", CONTAINER)


@dataclass(frozen=True)
class Deployed:
    """The stack's state before this run; empty for a stack that was never brought up."""

    resources: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Types and outputs of the resources in the state, by URN; also after an `up` that failed."""

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The stack's outputs, as the last `up` that ended without an error exported them."""
        of_stacks = (outputs for kind, outputs in self.resources.values() if kind == STACK)
        return next(of_stacks, {})

    @property
    def prefix(self) -> str | None:
        """What the names of the stack's things on the engine begin with; None if it has none.

        Read from the names themselves, so stacks of any release have it. A role has no hyphen.
        """
        for wanted in NAMED:
            for _urn, (kind, outputs) in sorted(self.resources.items(), key=_state_first):
                if kind == wanted and (name := outputs.get("name")):
                    return str(name).rpartition("-")[0]
        return None

    @property
    def ports(self) -> set[int]:
        """The ports of the engine's machine that its containers have."""
        containers = (outputs for kind, outputs in self.resources.values() if kind == CONTAINER)
        return {
            int(port["external"])
            for outputs in containers
            for port in outputs.get("ports") or ()
            if port.get("external")
        }

    @property
    def images(self) -> dict[str, tuple[str, str]]:
        """Name and digest of each image that the stack has built, by the folder it is built from.

        Without the documented names, which nothing runs from.
        """
        return {
            urn.rpartition("::")[2]: (outputs["imageName"], outputs["repoDigest"])
            for urn, (kind, outputs) in self.resources.items()
            if kind == IMAGE and not urn.endswith("-latest") and outputs.get("repoDigest")
        }

    @property
    def lost_images(self) -> dict[str, int]:
        """How often an image was built again since the engine had lost it, by its folder."""
        return {name: int(times) for name, times in self.outputs.get(LOST_IMAGES, {}).items()}

    @property
    def engine(self) -> str | None:
        """Address of the engine that the last good `up` went to; None if nothing is on any.

        The provider's own setting counts only until there is an output: releases before this check
        left an address there that an `up` had failed to reach.
        """
        kinds = {kind for kind, _ in self.resources.values()}
        if not any(kind.startswith("docker:") for kind in kinds):
            return None
        hosts = (
            outputs.get("host") for kind, outputs in self.resources.values() if kind == PROVIDER
        )
        found = self.outputs.get("engine") or next(hosts, None)
        return str(found) if found else None

    @property
    def engine_id(self) -> str | None:
        """ID of the engine that the last good `up` went to; None if it was on another machine."""
        return self.outputs.get("engineId")

    @property
    def guard(self) -> Mapping[str, str] | None:
        """The variables of the guard's container; None for a stack that has none."""
        return self._variables("guard")

    @property
    def hub(self) -> Mapping[str, str] | None:
        """The same, of the hub's."""
        return self._variables("hub", "hub-beside-proxy")

    @property
    def hub_memory(self) -> int | None:
        """MiB that the hub's container may take; None for a stack that has none, or no limit."""
        memory = self._container("hub", "hub-beside-proxy").get("memory")
        return int(memory) if memory else None

    def _variables(self, *names: str) -> Mapping[str, str] | None:
        found = self._container(*names)
        if not found:
            return None
        return dict(str(line).partition("=")[::2] for line in found.get("envs") or ())

    def _container(self, *names: str) -> Mapping[str, Any]:
        """The outputs of the first container that has one of these names as a resource."""
        for urn, (kind, outputs) in self.resources.items():
            if kind == CONTAINER and urn.rpartition("::")[2] in names:
                return outputs
        return {}


def _state_first(item: tuple[str, object]) -> tuple[bool, str]:
    urn = item[0]
    return not urn.endswith("::state"), urn


def last() -> Deployed:
    """Ask Pulumi for the state of the stack that is being previewed or deployed."""
    return Deployed(
        {
            urn: (resource["type"], resource["outputs"])
            for urn, resource in _read().get("outputs", {}).items()
        }
    )


def _read() -> Mapping[str, Any]:
    """Read the state, also while the CLI writes it.

    State in a folder has a second file with its attributes. The CLI empties that file before it
    writes it, and fails with "EOF" when it reads it in between (`setAttrs` in gocloud.dev's
    fileblob).
    """
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    tries = 0
    while True:
        try:
            return pulumi.runtime.invoke(READ_RESOURCES, {"stackName": stack}).value or {}
        except Exception as error:
            tries += 1
            if tries == TRIES or "EOF" not in str(error):
                raise
            time.sleep(PAUSE)
