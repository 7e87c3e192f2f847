"""What the plugins share: a provider made of resource types, each a property table and a few calls.

A resource type subclasses `Resource`. Its methods get revealed, known, type-checked values and may
block: every call runs in a thread of its own. Whatever they raise becomes one message on the
resource. `plugins.serving` puts a `Provider` behind the engine's protocol.
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
    """An operation failed: the message is what the operator reads on the resource."""


class InitError(ResourceError):
    """The resource exists, but is not as it should be; its state is kept and the operation fails.

    The next update goes on from there: the engine calls `update` even where nothing changed.
    """

    def __init__(self, message: str, outputs: Properties, resource_id: str = "") -> None:
        """`resource_id` is needed where `create` raises this; `outputs` are its outputs so far."""
        super().__init__(message)
        self.outputs = outputs
        self.resource_id = resource_id


class Cancelled(ResourceError):
    """The operation was told to end: by the operator, or because its time was up."""

    def __init__(self) -> None:
        super().__init__("cancelled")


@dataclass(frozen=True)
class Created:
    """What `create` made: the id, and the outputs (the inputs belong among them)."""

    id: str
    outputs: Properties


class Call:
    """One call of the engine about one resource: who it is about, and the way to talk back.

    Secrets of the resource are blacked out in all that is said here.
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
        #: Seconds the program allows for the operation (`custom_timeouts`), None = not said.
        self.timeout: float | None = timeout or None
        self._deadline = monotonic() + timeout if timeout else inf
        self._shown = ""

    @property
    def name(self) -> str:
        """The logical name the program gave the resource."""
        return self.urn.rsplit("::", 1)[-1]

    def status(self, message: str) -> None:
        """Show a line of progress beside the resource; the next one replaces it.

        What is shown already is not sent again: without a terminal each one is a line of its own.
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
        """Call `function`; raise a `ResourceError` fit to be read for whatever goes wrong in it."""
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
            # A mistake of the plugin, not the user's: a line for the operator, the traceback for
            # whoever asks for it with `pulumi --debug`.
            self._provider.log("debug", self.redacted(traceback.format_exc()), self.urn)
            message = self.redacted(f"{type(error).__name__}: {error}")
            raise ResourceError(message) from error

    @property
    def cancelled(self) -> bool:
        """Whether the operation is to end: the operator wants it, or its time is up."""
        return self._provider.cancelled.is_set() or monotonic() >= self._deadline

    def sleep(self, seconds: float) -> None:
        """Wait; raise `Cancelled` as soon as the operation is to end."""
        self._provider.cancelled.wait(min(seconds, max(self._deadline - monotonic(), 0)))
        if self.cancelled:
            raise Cancelled

    @contextmanager
    def on_cancel(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have `stop` called when the operation is to end while the body is at work.

        `stop` is called from another thread and must not block long.
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
    """A call that checks inputs; it can also name what the program left unnamed."""

    def __init__(
        self, provider: Provider, request: sdk.CheckRequest, secrets: frozenset[str]
    ) -> None:
        super().__init__(provider, request.urn, secrets=secrets)
        self._seed = request.random_seed
        #: `pulumi:autonaming` of the stack: the name it proposes, and whether it is the last word.
        self.proposed_name: str = getattr(request, "proposed_name", "")
        self.naming_disabled: bool = getattr(request, "naming_disabled", False)

    def autoname(self, old: Properties, separator: str = "-", random: int = 7) -> str | None:
        """Return a unique name for a resource the program gave none: the old one if there is one.

        None where the stack's configuration forbids to make names up.
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
    """One resource type: a property table and the calls that make it so."""

    #: The type token, such as `docker:index/container:Container`.
    token: ClassVar[str]
    properties: ClassVar[tuple[Property, ...]]
    #: Old one goes before the new one comes, where a change replaces.
    delete_before_replace: ClassVar[bool] = False
    #: An empty list means the same as none, see `Object`.
    empty_is_none: ClassVar[bool] = False
    #: Version of the official provider's schema; goes into the state's `__meta`, without which that
    #: provider would take the state for one of version 0 and convert it.
    schema_version: ClassVar[int | None] = None
    #: The id is among the outputs too, as with every provider bridged from Terraform.
    id_in_outputs: ClassVar[bool] = False
    #: Record defaults in the inputs' `__defaults`, as the official provider does. That it needs
    #: them shows with generated names: without the record it generates another and replaces.
    records_defaults: ClassVar[bool] = False
    #: Secrets count: they stay on the very elements of a list, and a value that becomes secret or
    #: stops being it is a change. So it is with providers on Pulumi's Go framework (command); for
    #: bridged ones (docker, tls) the engine marks whole lists, and the mark alone is no change.
    exact_secrets: ClassVar[bool] = False
    #: The program may leave out `name`. Needs `records_defaults`.
    autonamed: ClassVar[bool] = False

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.table = Object(self.token, self.properties, self.empty_is_none)

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        """Return what is wrong beyond the types; may complete `inputs` in place.

        `inputs` have their defaults and may hold `UNKNOWN`; they are of the right types.
        `old` are the inputs of the last run, empty for a new resource.
        """
        return []

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        """Return the changes, with what the table cannot say put right.

        `old` and `new` are inputs in normal form, `state` the stored outputs.
        """
        return changes

    def preview(self, inputs: Properties, state: Properties | None, call: Call) -> Properties:
        """Return the outputs as far as a preview can know them; `state` is None before a create."""
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
        """Make the resource."""
        raise NotImplementedError

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        """Return the outputs as they are now, None if it is gone; `state` is empty on an import."""
        return state

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        """Make the resource as `new` says and return its outputs; `state` are the old outputs."""
        raise NotImplementedError

    def delete(self, id: str, state: Properties, call: Call) -> None:
        """Remove the resource; one that is gone already is no error."""

    # What follows is the base's own.

    def planned(self, inputs: Properties) -> Properties:
        """Return `inputs` with `output_default` where they leave something out."""
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
        """Return `inputs` with what has drifted from `state` to `outputs` put in.

        So the next preview sees the drift: a diff compares the program with the stored inputs.
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
        """Return changes for what became secret or stopped being it, beyond those `found`."""
        seen = {change.property for change in found}
        return [
            Change(row.name, "update", row.replaces)
            for row in self.properties
            if row.name not in seen
            and secret_marks(old.get(row.name)) != secret_marks(new.get(row.name))
        ]

    def finished(self, id: str, outputs: Properties, like: Sequence[Properties]) -> Properties:
        """Return outputs as they go into the state: secrets marked, absent ones left out."""
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
        #: The provider's configuration once the engine has said it, revealed.
        self.config: Properties = {}
        self.cancelled = Event()
        #: Where log lines go; `plugins.serving` puts the engine here.
        self.log: Callable[..., None] = _log_nowhere
        self._stops: list[Callable[[], None]] = []
        self._stops_lock = Lock()
        # One thread for each operation: the engine already bounds how many it starts at once, and
        # a container that waits for its health must not hold up the others.
        self._threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix=name)

    def configured(self) -> None:
        """Do what there is to do once `config` is known, such as reaching an engine. May block."""

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have `stop` called on cancellation while the body is at work."""
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
            except Exception:  # noqa: BLE001  (the others have to be stopped all the same)
                self.log("debug", traceback.format_exc())

    async def _run(self, call: Call, function: Callable[..., T], *args: Any) -> T:
        """Run what may block in a thread."""
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
            # `property` stays empty: the engine would print the property's value, secret or not.
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
        # A name that the program gave cannot exist twice; one that was made up is made up anew.
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
        # An output that was secret because of an input stays so only while the input is: `like`
        # is the new inputs alone.
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
            # As it came, with what the official plugin keeps there for itself.
            return sdk.ReadResponse(request.resource_id, request.properties, request.inputs)
        if state:
            inputs = resource.refreshed_inputs(reveal(old_inputs), state, outputs)
        else:
            inputs = resource.imported_inputs(outputs)
        # An import may go by a name, for which `read` finds the id.
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
    """Take a log line where there is no engine: the plugin was started by hand."""


def diff_response(changes: Sequence[Change], *, delete_before_replace: bool) -> sdk.DiffResponse:
    """Return the answer to Diff that these changes amount to."""
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
    """Return a provider's configuration as values; all but strings come as JSON text."""
    # The engine's own settings of a provider, which are not the provider's.
    values = {k: v for k, v in reveal(raw).items() if k not in ("version", "pluginDownloadURL")}
    nested = {row.name for row in table.properties if not hasattr(row.type, "pattern")}
    for name, value in values.items():
        if name in nested and isinstance(value, str):
            try:
                values[name] = json.loads(value)
            except ValueError:
                continue  # stays a string, which the check of its type then refuses by name
    return {k: v for k, v in values.items() if not has_unknown(v)}
