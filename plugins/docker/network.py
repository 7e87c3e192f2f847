"""docker:index/network:Network."""

from __future__ import annotations

from typing import Any, ClassVar

from plugins.calls import Call, Created, InitError, ResourceError
from plugins.docker.resource import (
    EngineResource,
    flag,
    in_order,
    label_list,
    label_map,
    labels,
    object_type,
    options,
    text,
)
from plugins.properties import Property
from plugins.property_types import BOOLEAN, STRING, set_of
from plugins.values import Properties

IPAM_CONFIG = object_type(
    "NetworkIpamConfig",
    Property("subnet", STRING),
    text("ipRange"),
    Property("gateway", STRING),
    options("auxAddress"),
)


class Network(EngineResource):
    """A network. Every change replaces it."""

    token = "docker:index/network:Network"
    schema_version = 1
    properties: ClassVar = (
        Property("name", STRING, computed=True, replaces=True),
        labels("Network"),
        Property("driver", STRING, computed=True, replaces=True),
        options("options", computed=True, replaces=True),
        Property("internal", BOOLEAN, computed=True, replaces=True),
        flag("attachable", replaces=True),
        flag("ingress", replaces=True),
        flag("ipv6", replaces=True),
        Property("ipamDriver", STRING, default="default", replaces=True),
        options("ipamOptions", replaces=True),
        Property("ipamConfigs", set_of(IPAM_CONFIG), computed=True, replaces=True),
        Property("scope", STRING, output=True),
    )

    def create(self, inputs: Properties, call: Call) -> Created:
        name = inputs["name"]
        with self.engine.explained(f"create network {name}"):
            made = self.engine.client.create_network(
                name,
                driver=inputs.get("driver"),
                options=inputs.get("options"),
                ipam={
                    "Driver": inputs["ipamDriver"],
                    "Options": inputs.get("ipamOptions"),
                    "Config": [_ipam_config(item) for item in inputs.get("ipamConfigs", [])],
                },
                check_duplicate=True,
                internal=inputs.get("internal", False),
                labels=label_map(inputs),
                enable_ipv6=inputs.get("ipv6", False),
                attachable=inputs.get("attachable", False),
                ingress=inputs.get("ingress", False),
            )
        try:
            return Created(made["Id"], self.read(made["Id"], inputs, call) or {})
        except ResourceError as error:
            raise InitError(str(error), self.filled_inputs(inputs), made["Id"]) from None

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        found = self.inspected(f"network {id}", id, self.engine.client.inspect_network)
        if found is None:
            return None
        return {
            "name": found["Name"],
            "labels": label_list(found["Labels"]),
            "driver": found["Driver"],
            "options": found["Options"] or {},
            "internal": found["Internal"],
            "attachable": found["Attachable"],
            "ingress": found["Ingress"],
            "ipv6": found["EnableIPv6"],
            "ipamDriver": found["IPAM"]["Driver"],
            "ipamOptions": found["IPAM"]["Options"],
            "ipamConfigs": in_order(map(_stored_ipam_config, found["IPAM"]["Config"] or [])),
            "scope": found["Scope"],
        }

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        """Finish a create that could not read what it had made; every change replaces."""
        found = self.read(id, new, call)
        if found is None:
            raise ResourceError(f"network {new['name']} is gone. Run: pulumi up --refresh")
        return found

    def delete(self, id: str, state: Properties, call: Call) -> None:
        client = self.engine.client

        def users() -> list[str]:
            found = client.inspect_network(id)["Containers"]
            return [container["Name"] for container in found.values()]

        what = f"network {state.get('name', id)}"
        self.remove_unused(
            call, what, lambda: client.remove_network(id), "has active endpoints", users
        )


_IPAM_KEYS = {"subnet": "Subnet", "ipRange": "IPRange", "gateway": "Gateway"}


def _ipam_config(config: Properties) -> dict[str, Any]:
    result = {key: config[name] for name, key in _IPAM_KEYS.items() if name in config}
    return {**result, "AuxiliaryAddresses": config.get("auxAddress", {})}


def _stored_ipam_config(config: dict[str, Any]) -> Properties:
    result: Properties = {name: config.get(key, "") for name, key in _IPAM_KEYS.items()}
    return {**result, "auxAddress": config.get("AuxiliaryAddresses") or {}}
