"""docker:index/volume:Volume."""

from __future__ import annotations

from typing import ClassVar

from plugins.calls import Call, Created
from plugins.docker.resource import EngineResource, label_list, label_map, labels, options
from plugins.properties import Property
from plugins.property_types import STRING
from plugins.values import Properties


class Volume(EngineResource):
    """A named volume; its id is its name. Every change replaces it, with what it holds."""

    token = "docker:index/volume:Volume"
    schema_version = 1
    properties: ClassVar = (
        Property("name", STRING, computed=True, replaces=True),
        labels("Volume"),
        Property("driver", STRING, computed=True, replaces=True, stable=True),
        options("driverOpts", replaces=True),
        Property("cluster", STRING, unsupported=True),
        Property("mountpoint", STRING, output=True),
    )

    def create(self, inputs: Properties, call: Call) -> Created:
        name = inputs["name"]
        client = self.engine.client
        with self.engine.explained(f"create volume {name}"):
            if client.volumes({"name": f"^{name}$"})["Volumes"]:
                # The engine returns the existing one, whatever its driver and labels.
                call.warn(f"volume {name} was there already; this stack uses it with what it holds")
            client.create_volume(
                name, inputs.get("driver"), inputs.get("driverOpts", {}), label_map(inputs)
            )
        return Created(name, self.read(name, inputs, call) or {})

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        found = self.inspected(f"volume {id}", id, self.engine.client.inspect_volume)
        if found is None:
            return None
        return {
            "name": found["Name"],
            "labels": label_list(found["Labels"]),
            "driver": found["Driver"],
            "driverOpts": found["Options"],
            "mountpoint": found["Mountpoint"],
        }

    def delete(self, id: str, state: Properties, call: Call) -> None:
        client = self.engine.client

        def users() -> list[str]:
            found = client.containers(all=True, filters={"volume": id})
            return [container["Names"][0].lstrip("/") for container in found]

        self.remove_unused(
            call,
            f"volume {id}",
            lambda: client.remove_volume(id, force=True),
            "volume is in use",
            users,
        )
