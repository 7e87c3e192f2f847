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
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from threading import Event, Lock, Timer
from time import monotonic
from typing import Any, ClassVar, TypeVar

from pulumi.provider.experimental import provider as sdk

from plugins.properties import (
    Change,
    Failure,
    Object,
    Property,
    is_bridge_key,
    is_input,
    schema_of,
)
from plugins.values import (
    UNKNOWN,
    Properties,
    Secret,
    decode_map,
    encode_map,
    has_unknown,
    keep_secrets,
    redact,
    reveal,
    secret_marks,
    secret_texts,
)

T = TypeVar("T")


class ResourceError(Exception):
    """An operation failed; the operator sees the message on the resource."""


class InitError(ResourceError):
    """The resource exists but is not as declared: the operation fails, and its state is kept.

    The next run continues from there: the engine calls `update` even if nothing changed.
    """

    def __init__(self, message: str, outputs: Properties, resource_id: str = "") -> None:
        """`outputs` are the outputs so far; `create` must give the `resource_id`."""
        super().__init__(message)
        self.outputs = outputs
        self.resource_id = resource_id


class Cancelled(ResourceError):
    """The operation ended early: the operator cancelled it, or its time was up."""

    def __init__(self) -> None:
        super().__init__("cancelled")


@dataclass(frozen=True)
class Created:
    """The id and outputs of a created resource; the outputs include the inputs."""

    id: str
    outputs: Properties


class Call:
    """One call of the engine about one resource: its URN, time limit, and messages to the engine.

    Messages never show the resource's secrets.
    """

    def __init__(
        self,
        provider: Provider,
        urn: str,
        timeout: float = 0,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self._provider = provider
        self._secrets = secrets
        self.urn = urn
        #: Seconds the program allows for the operation (`custom_timeouts`); None if it sets none.
        self.timeout: float | None = timeout or None
        self._deadline = monotonic() + timeout if timeout else inf
        self._shown = ""

    @property
    def name(self) -> str:
        """The logical name the program gave the resource."""
        return self.urn.rsplit("::", 1)[-1]

    def status(self, message: str) -> None:
        """Show a line of progress next to the resource; the next one replaces it.

        The same text is not sent twice: without a terminal, each one prints a new line.
        """
        if message != self._shown:
            self._shown = message
            self._provider.log("info", self.redacted(message), self.urn, ephemeral=True)

    def info(self, message: str) -> None:
        """Write a line to the log of the run."""
        self._provider.log("info", self.redacted(message), self.urn)

    def warn(self, message: str) -> None:
        """Warn the operator about the resource."""
        self._provider.log("warning", self.redacted(message), self.urn)

    def redacted(self, message: str) -> str:
        """Return the message without the secrets of the resource."""
        return redact(message, self._secrets)

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function`; turn every exception into a readable `ResourceError`."""
        try:
            return function(*args)
        except Cancelled as error:
            if self._provider.cancelled.is_set():
                raise
            limit = f"{self.timeout:g} seconds of its custom timeout"
            raise ResourceError(f"not done within the {limit}") from error
        except ResourceError as error:
            error.args = (self.redacted(str(error)),)
            raise
        except Exception as error:
            # A bug in the plugin: the operator sees one line, and the traceback only with
            # `pulumi --debug`.
            self._provider.log("debug", self.redacted(traceback.format_exc()), self.urn)
            message = self.redacted(f"{type(error).__name__}: {error}")
            raise ResourceError(message) from error

    @property
    def cancelled(self) -> bool:
        """Whether the operation must end: the operator cancelled it, or its time is up."""
        return self._provider.cancelled.is_set() or monotonic() >= self._deadline

    def sleep(self, seconds: float) -> None:
        """Wait; raise `Cancelled` as soon as the operation must end."""
        self._provider.cancelled.wait(min(seconds, max(self._deadline - monotonic(), 0)))
        if self.cancelled:
            raise Cancelled

    @contextmanager
    def on_cancel(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` if the operation must end while the body runs.

        `stop` is called in another thread and must not block long.
        """
        timer = Timer(max(self._deadline - monotonic(), 0), stop) if self.timeout else None
        if timer:
            timer.start()
        try:
            with self._provider.stopping(stop):
                yield
        finally:
            if timer:
                timer.cancel()


class CheckCall(Call):
    """A call that checks inputs; it can also generate a name."""

    def __init__(
        self, provider: Provider, request: sdk.CheckRequest, secrets: frozenset[str]
    ) -> None:
        super().__init__(provider, request.urn, secrets=secrets)
        self._seed = request.random_seed
        #: `pulumi:autonaming` of the stack: the name it proposes, and whether it disables naming.
        self.proposed_name: str = getattr(request, "proposed_name", "")
        self.naming_disabled: bool = getattr(request, "naming_disabled", False)

    def autoname(self, old: Properties, separator: str = "-", random: int = 7) -> str | None:
        """Return a unique name for a resource without one: the old name if there is one.

        None if the stack's configuration forbids generated names.
        """
        if isinstance(old.get("name"), str):
            return str(old["name"])
        if self.naming_disabled:
            return None
        if self.proposed_name:
            return self.proposed_name
        # The engine's seed makes preview and update agree on the name.
        digest = blake2b(self.urn.encode(), key=self._seed[:64]).hexdigest()
        return f"{self.name}{separator}{digest[:random]}"


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
