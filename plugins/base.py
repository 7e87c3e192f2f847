"""What the plugins share: a provider with resource types, each a property table and a few methods.

A resource type subclasses `Resource`. Its methods get plain, known, type-checked values and may
block: every call runs in a thread of its own. Any exception becomes one message on the resource.
`plugins.serving` connects a `Provider` to the engine's protocol.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, TypeVar

from pulumi.provider.experimental import provider as sdk

from plugins.calls import Call, CheckCall, InitError, ResourceError
from plugins.properties import Object, Property, is_input, schema_of
from plugins.property_types import Change, Failure, is_bridge_key
from plugins.resource import Resource
from plugins.values import (
    Properties,
    Secret,
    decode_map,
    encode_map,
    has_unknown,
    keep_secrets,
    reveal,
    secret_texts,
)

T = TypeVar("T")


class Provider(sdk.Provider):
    """A provider: its name, version, resource types and configuration."""

    def __init__(
        self,
        name: str,
        version: str,
        resources: Sequence[type[Resource]],
        config: Sequence[Property] = (),
    ) -> None:
        self.name = name
        self.version = version
        self.resources = {resource.token: resource(self) for resource in resources}
        self.config_table = Object(f"pulumi:providers:{name}", tuple(config))
        #: The provider's configuration, in clear; empty until the engine has sent it.
        self.config: Properties = {}
        self.cancelled = Event()
        #: Takes log lines; `plugins.serving` sets it to the engine's log.
        self.log: Callable[..., None] = _log_nowhere
        self._stops: list[Callable[[], None]] = []
        self._stops_lock = Lock()
        # One thread for each operation: the engine limits how many run at once, and a container
        # that waits for its health must not delay the others.
        self._threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix=name)

    def configured(self) -> None:
        """Called once `config` is known, for example to connect to an engine. May block."""

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` on cancellation while the body runs."""
        with self._stops_lock:
            self._stops.append(stop)
        try:
            if self.cancelled.is_set():
                stop()
            yield
        finally:
            with self._stops_lock:
                self._stops.remove(stop)

    def stop(self) -> None:
        """End all running work."""
        self.cancelled.set()
        with self._stops_lock:
            stops = list(self._stops)
        for stop in stops:
            try:
                stop()
            except Exception:  # noqa: BLE001  (the others must be stopped too)
                self.log("debug", traceback.format_exc())

    async def _run(self, call: Call, function: Callable[..., T], *args: Any) -> T:
        """Run a function that may block, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call.run, function, *args)

    def _resource(self, qualified: str) -> Resource:
        # A URN's type starts with the types of the parents: `zhub:hub:Hub$docker:index/…`.
        token = qualified.rpartition("$")[2]
        resource = self.resources.get(token)
        if resource is None:
            known = ", ".join(sorted(self.resources))
            raise ResourceError(
                f"the {self.name} plugin of this repository has no {token}; it has {known}. "
                f"Use the official {self.name} plugin for anything else."
            )
        return resource

    async def check(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        resource = self._resource(request.type)
        raw = decode_map(request.new_inputs)
        old = reveal(decode_map(request.old_inputs))
        failures: list[Failure] = []
        plain = reveal(raw)
        inputs = resource.table.normalise(plain, "", failures)
        if not failures:
            call = CheckCall(self, request, secret_texts(raw))
            failures += await self._run(call, resource.check, inputs, old, call)
        if failures:
            # `property` stays empty: the engine would print the property's value, even a secret.
            return sdk.CheckResponse(
                failures=[sdk.CheckFailure("", f"{f.path} {f.reason}") for f in failures]
            )
        if resource.records_defaults:
            inputs["__defaults"] = sorted(
                name for name in inputs if plain.get(name) is None and not is_bridge_key(name)
            )
        inputs = keep_secrets(inputs, raw, exact=resource.exact_secrets)
        for row in resource.properties:
            if row.secret and row.name in inputs and not isinstance(inputs[row.name], Secret):
                inputs[row.name] = Secret(reveal(inputs[row.name]))
        return sdk.CheckResponse(inputs=encode_map(inputs))

    async def diff(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        resource = self._resource(request.type)
        state = reveal(decode_map(request.old_state))
        # The SDK's request lacks the old inputs; the servicer adds them.
        marked_old = decode_map(getattr(request, "old_inputs", {}))
        marked_new = decode_map(request.new_inputs)
        old = resource.table.stored(reveal(marked_old))
        raw = reveal(marked_new)
        new = resource.table.stored(raw)
        changes = list(resource.table.changes(old, new, "", replaces=False))
        if resource.exact_secrets:
            changes += resource.secret_changes(marked_old, marked_new, changes)
        call = Call(self, request.urn)
        changes = await self._run(call, resource.diff, changes, old, new, state)
        ignored = set(request.ignore_changes)
        changes = [c for c in changes if c.path not in ignored and c.property not in ignored]
        # A name from the program cannot exist twice; a generated one is generated again.
        made_up = raw.get("__defaults", ["name"])
        named = resource.autonamed and "name" not in made_up
        first = resource.delete_before_replace or named
        return diff_response(changes, delete_before_replace=first)

    async def create(self, request: sdk.CreateRequest) -> sdk.CreateResponse:
        resource = self._resource(request.type)
        raw = decode_map(request.properties)
        inputs = _without_bridge_keys(reveal(raw))
        call = Call(self, request.urn, request.timeout, secret_texts(raw))
        if request.preview:
            outputs = await self._run(call, resource.preview, inputs, None, call)
            return sdk.CreateResponse("", encode_map(resource.finished("", outputs, [raw])))
        _refuse_unknowns(inputs)
        try:
            created = await self._run(call, resource.create, inputs, call)
        except InitError as error:
            error.outputs = resource.finished(error.resource_id, error.outputs, [raw])
            raise
        outputs = resource.finished(created.id, created.outputs, [raw])
        return sdk.CreateResponse(created.id, encode_map(outputs))

    async def update(self, request: sdk.UpdateRequest) -> sdk.UpdateResponse:
        resource = self._resource(request.type)
        raw, old = decode_map(request.news), decode_map(request.olds)
        inputs = _without_bridge_keys(reveal(raw))
        state = _without_bridge_keys(reveal(old))
        id = request.resource_id
        call = Call(self, request.urn, request.timeout, secret_texts([raw, old]))
        # An output that is secret because of an input stays secret only while the input is: so
        # only the new inputs count.
        if request.preview:
            outputs = await self._run(call, resource.preview, inputs, state, call)
            return sdk.UpdateResponse(encode_map(resource.finished(id, outputs, [raw])))
        _refuse_unknowns(inputs)
        try:
            outputs = await self._run(call, resource.update, id, state, inputs, call)
        except InitError as error:
            error.outputs = resource.finished(id, error.outputs, [raw])
            error.resource_id = id
            raise
        return sdk.UpdateResponse(encode_map(resource.finished(id, outputs, [raw])))

    async def read(self, request: sdk.ReadRequest) -> sdk.ReadResponse:
        resource = self._resource(request.type)
        old_inputs, old = decode_map(request.inputs), decode_map(request.properties)
        state = _without_bridge_keys(reveal(old))
        call = Call(self, request.urn, secrets=secret_texts([old, old_inputs]))
        outputs = await self._run(call, resource.read, request.resource_id, state, call)
        if outputs is None:
            return sdk.ReadResponse("", {}, {})
        if state and outputs == state:
            # Unchanged, with the official plugin's own entries.
            return sdk.ReadResponse(request.resource_id, request.properties, request.inputs)
        if state:
            inputs = resource.refreshed_inputs(reveal(old_inputs), state, outputs)
        else:
            inputs = resource.imported_inputs(outputs)
        # An import may give a name, for which `read` finds the id.
        id = outputs.get("id", request.resource_id)
        outputs = resource.finished(id, outputs, [old, old_inputs])
        inputs = keep_secrets(keep_secrets(inputs, outputs), old_inputs)
        return sdk.ReadResponse(id, encode_map(outputs), encode_map(inputs))

    async def delete(self, request: sdk.DeleteRequest) -> None:
        resource = self._resource(request.type)
        old = decode_map(request.properties)
        state = _without_bridge_keys(reveal(old))
        call = Call(self, request.urn, request.timeout, secret_texts(old))
        await self._run(call, resource.delete, request.resource_id, state, call)

    async def cancel(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.stop)

    async def invoke(self, request: sdk.InvokeRequest) -> sdk.InvokeResponse:
        raise ResourceError(
            f"the {self.name} plugin of this repository has no functions, so no {request.tok}"
        )

    async def check_config(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        failures: list[Failure] = []
        self.config_table.normalise(
            _config_values(self.config_table, decode_map(request.new_inputs)), "", failures
        )
        if failures:
            return sdk.CheckResponse(
                failures=[
                    sdk.CheckFailure("", f"{self.name}:{f.path} {f.reason}") for f in failures
                ]
            )
        return sdk.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        # A changed configuration updates the provider; what it manages stays.
        old = _config_values(self.config_table, decode_map(request.old_state))
        new = _config_values(self.config_table, decode_map(request.new_inputs))
        changes = list(self.config_table.changes(old, new, "", replaces=False))
        return diff_response(changes, delete_before_replace=False)

    async def configure(self, request: sdk.ConfigureRequest) -> sdk.ConfigureResponse:
        raw = decode_map(request.args)
        self.config = self.config_table.stored(_config_values(self.config_table, raw))
        await self._run(Call(self, "", secrets=secret_texts(raw)), self.configured)
        # Without `accept_resources` a resource given as an input arrives as its id.
        return sdk.ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def get_schema(self, request: sdk.GetSchemaRequest) -> sdk.GetSchemaResponse:
        types: dict[str, Any] = {}
        resources = {}
        for token, resource in self.resources.items():
            inputs = schema_of([row for row in resource.properties if is_input(row)], types)
            rows = [row for row in resource.properties if not (row.derived or row.unsupported)]
            resources[token] = {
                **schema_of(rows, types),
                "inputProperties": inputs["properties"],
                "requiredInputs": inputs["required"],
            }
        config = schema_of(self.config_table.properties, types)
        schema = {
            "name": self.name,
            "version": self.version,
            # Modules are named like `index/container`, as with every bridged provider.
            "meta": {"moduleFormat": "(.*)(?:/[^/]*)"},
            "config": {"variables": config["properties"]},
            "provider": {"inputProperties": config["properties"]},
            "types": types,
            "resources": resources,
        }
        return sdk.GetSchemaResponse(json.dumps(schema))


def _log_nowhere(severity: str, message: str, urn: str = "", *, ephemeral: bool = False) -> None:
    """Drop a log line: without an engine, the plugin was started by hand."""


def diff_response(changes: Sequence[Change], *, delete_before_replace: bool) -> sdk.DiffResponse:
    """Return the answer to Diff for these changes."""
    replaces = sorted({change.property for change in changes if change.replaces})
    return sdk.DiffResponse(
        changes=bool(changes),
        replaces=replaces,
        delete_before_replace=delete_before_replace and bool(replaces),
        diffs=sorted({change.property for change in changes}),
        detailed_diff={
            change.path: sdk.PropertyDiff(_KINDS[change.kind, change.replaces], change.inputs)
            for change in changes
        },
    )


_KINDS = {
    ("add", False): sdk.PropertyDiffKind.ADD,
    ("add", True): sdk.PropertyDiffKind.ADD_REPLACE,
    ("delete", False): sdk.PropertyDiffKind.DELETE,
    ("delete", True): sdk.PropertyDiffKind.DELETE_REPLACE,
    ("update", False): sdk.PropertyDiffKind.UPDATE,
    ("update", True): sdk.PropertyDiffKind.UPDATE_REPLACE,
}


def _refuse_unknowns(inputs: Properties) -> None:
    for name, value in inputs.items():
        if has_unknown(value):
            raise ResourceError(f"{name} is not known, but this is no preview")


def _without_bridge_keys(values: Properties) -> Properties:
    return {name: value for name, value in values.items() if not is_bridge_key(name)}


def _config_values(table: Object, raw: Properties) -> Properties:
    """Return a provider's configuration as values; all but strings arrive as JSON text."""
    # The engine adds these two to every provider's configuration.
    values = {k: v for k, v in reveal(raw).items() if k not in ("version", "pluginDownloadURL")}
    nested = {row.name for row in table.properties if not hasattr(row.type, "pattern")}
    for name, value in values.items():
        if name in nested and isinstance(value, str):
            try:
                values[name] = json.loads(value)
            except ValueError:
                continue  # stays a string, which the check of its type then refuses by name
    return {k: v for k, v in values.items() if not has_unknown(v)}
