"""A small provider on the plugins' base, for the tests of what the base does for all of them.

A Thing is a file in the folder `dir`; `mood` says how its operations go.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import ClassVar

from plugins.base import Provider
from plugins.calls import Call, Cancelled, CheckCall, Created, InitError, ResourceError
from plugins.properties import Object, Property
from plugins.property_types import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    Change,
    Failure,
    ListOf,
    MapOf,
    Scalar,
    one_of,
    set_of,
)
from plugins.resource import Resource
from plugins.serving import main
from plugins.values import UNKNOWN, Properties

PORT = Object(
    "sample:index/ThingPort:ThingPort",
    (
        Property("internal", INTEGER, required=True),
        Property("external", INTEGER, replaces=True),
        Property("ip", STRING, default="127.0.0.1"),
    ),
)


class Thing(Resource):
    """A file that contains its inputs."""

    token = "sample:index/thing:Thing"
    empty_is_none = True
    records_defaults = True
    autonamed = True
    schema_version = 2
    properties: ClassVar = (
        Property("dir", STRING, required=True, replaces=True),
        Property("name", STRING, replaces=True),
        Property("mood", one_of("good", "fails", "half", "bug", "slow", "stuck"), default="good"),
        Property("size", Scalar("integer", minimum=1, maximum=9)),
        Property("ratio", NUMBER),
        Property("open", BOOLEAN),
        Property("password", STRING, secret=True),
        Property("image", STRING, equal=lambda old, new: (old or "") in (new, f"{new}:latest")),
        Property("labels", MapOf(STRING)),
        Property("steps", ListOf(STRING)),
        Property("groups", set_of(STRING)),
        Property("ports", ListOf(PORT)),
        Property("port", PORT),
        Property("extra", ANYTHING),
        Property("address", STRING, computed=True),
        Property("level", INTEGER, output_default=5, replaces=True),
        Property("fingerprint", STRING, derived=True),
        Property("swap", INTEGER, unsupported=True),
        Property("path", STRING, output=True),
        Property("revision", INTEGER, output=True, stable=False),
        Property("token", STRING, output=True, secret=True),
    )

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        if "name" not in inputs:
            inputs["name"] = call.autoname(old)
            if inputs["name"] is None:
                return [Failure("name", "is required: the stack's configuration disables naming")]
        steps = inputs.get("steps")
        if steps is not None:
            known = isinstance(steps, list) and UNKNOWN not in steps
            inputs["fingerprint"] = str(len("".join(steps))) if known else UNKNOWN
        return [Failure("size", "must be odd")] if inputs.get("size") == 2 else []

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        if state.get("token") == "expired":
            changes.append(Change("token", "update", replaces=True, inputs=False))
        return changes

    def create(self, inputs: Properties, call: Call) -> Created:
        return Created(inputs["name"], self._write(inputs["name"], inputs, 1, call))

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        path = Path(state.get("path", id.removeprefix("name:")))
        if not path.exists():
            return None
        written = json.loads(path.read_text())
        found = {**state, **written, "path": str(path)}
        return found if state else {**found, "id": str(path)}

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        return self._write(id, new, state["revision"] + 1, call)

    def delete(self, id: str, state: Properties, call: Call) -> None:
        Path(state["path"]).unlink(missing_ok=True)

    def _write(self, id: str, inputs: Properties, revision: int, call: Call) -> Properties:
        path = Path(inputs["dir"]) / id
        path.write_text(json.dumps({k: v for k, v in inputs.items() if k != "password"}))
        outputs = {
            **self.planned(inputs),
            "path": str(path),
            "revision": revision,
            "token": "valid",
            "address": inputs.get("address", "10.0.0.1"),
        }
        call.status(f"writing {inputs.get('password')}")
        match inputs["mood"]:
            case "fails":
                raise ResourceError(f"no room for {inputs.get('password')}\nin two lines")
            case "half":
                raise InitError("made, but not well", outputs, id)
            case "bug":
                raise KeyError(inputs.get("password"))
            case "slow":
                call.sleep(60)
            case "stuck":
                stopped = Path(inputs["dir"]) / "stopped"
                with call.on_cancel(stopped.touch):
                    while not stopped.exists():
                        time.sleep(0.05)
                raise Cancelled
        return outputs


class Sample(Provider):
    """A provider whose configuration can be wrong."""

    def configured(self) -> None:
        if self.config.get("host") == "nowhere":
            raise ResourceError("no engine at nowhere")
        self.log("info", json.dumps(self.config))


if __name__ == "__main__":
    main(
        Sample(
            "sample",
            "1.2.3",
            [Thing],
            [
                Property("host", STRING),
                Property("count", INTEGER),
                Property(
                    "auth",
                    ListOf(
                        Object("sample:index/Auth:Auth", (Property("user", STRING, required=True),))
                    ),
                ),
                Property("old", STRING, unsupported=True),
            ],
        )
    )
