"""A plugin as the engine drives it: its own process, the real protocol, a log that is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.proto import (
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from plugins.values import decode_map, encode_map
from toolchain.places import ROOT

#: Where a plugin started as a process of its own finds the code.
PYTHON_PATH = {"PYTHONPATH": str(ROOT)}


class PluginError(Exception):
    """A call the plugin answered with an error; `init` has the id and state that came with it."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.details())
        self.code = error.code()
        self.init: Any = None
        for key, value in error.trailing_metadata():
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(value)
                self.init = provider_pb2.ErrorResourceInitFailed()
                assert status.details[0].Unpack(self.init)


class CheckError(Exception):
    """Inputs the plugin refused."""

    def __init__(self, failures: Sequence[Any]) -> None:
        super().__init__("\n".join(failure.reason for failure in failures))
        self.failures = list(failures)


@dataclass
class Resource:
    """A resource the plugin made: what an engine would have in its state."""

    token: str
    name: str
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass
class Plugin:
    """A running plugin, with the engine's calls."""

    stub: Any
    process: subprocess.Popen[str]
    logs: list[Any] = field(default_factory=list)
    ending: bool = False
    """SIGTERM was sent."""

    def end(self) -> None:
        """Send SIGTERM once: a second signal while it ends would be an error."""
        if not self.ending:
            self.ending = True
            self.process.send_signal(signal.SIGTERM)

    def configure(self, **config: Any) -> None:
        """Check the provider's configuration and hand it over, as the engine does at start."""
        properties = struct(config)
        answer = self.call(
            "CheckConfig",
            provider_pb2.CheckRequest(urn=urn("pulumi:providers:it", "default"), news=properties),
        )
        if answer.failures:
            raise CheckError(answer.failures)
        self.call(
            "Configure",
            provider_pb2.ConfigureRequest(
                args=properties, acceptSecrets=True, acceptResources=True
            ),
        )

    def check(
        self, token: str, inputs: Mapping[str, Any], old: Mapping[str, Any] = {}, name: str = "it"
    ) -> dict[str, Any]:
        """Return the checked inputs."""
        answer = self.call(
            "Check",
            provider_pb2.CheckRequest(
                urn=urn(token, name), olds=struct(old), news=struct(inputs), randomSeed=b"seed"
            ),
        )
        if answer.failures:
            raise CheckError(answer.failures)
        return plain(answer.inputs)

    def create(
        self,
        token: str,
        inputs: Mapping[str, Any],
        name: str = "it",
        *,
        preview: bool = False,
        timeout: float = 0,
    ) -> Resource:
        """Check the inputs and create the resource."""
        checked = self.check(token, inputs, name=name)
        answer = self.call(
            "Create",
            provider_pb2.CreateRequest(
                urn=urn(token, name), properties=struct(checked), preview=preview, timeout=timeout
            ),
        )
        return Resource(token, name, answer.id, checked, plain(answer.properties))

    def diff(
        self, resource: Resource, inputs: Mapping[str, Any], ignore_changes: Sequence[str] = ()
    ) -> Any:
        """Check new inputs and return the protocol's DiffResponse."""
        checked = self.check(resource.token, inputs, resource.inputs, resource.name)
        return self.call(
            "Diff",
            provider_pb2.DiffRequest(
                id=resource.id,
                urn=urn(resource.token, resource.name),
                olds=struct(resource.outputs),
                old_inputs=struct(resource.inputs),
                news=struct(checked),
                ignoreChanges=ignore_changes,
            ),
        )

    def update(
        self, resource: Resource, inputs: Mapping[str, Any], *, preview: bool = False
    ) -> Resource:
        """Check new inputs and update the resource; returns the new one."""
        checked = self.check(resource.token, inputs, resource.inputs, resource.name)
        answer = self.call(
            "Update",
            provider_pb2.UpdateRequest(
                id=resource.id,
                urn=urn(resource.token, resource.name),
                olds=struct(resource.outputs),
                old_inputs=struct(resource.inputs),
                news=struct(checked),
                preview=preview,
            ),
        )
        return Resource(
            resource.token, resource.name, resource.id, checked, plain(answer.properties)
        )

    def read(self, resource: Resource) -> Resource | None:
        """Refresh the resource; None when it is gone. An import has neither inputs nor outputs."""
        answer = self.call(
            "Read",
            provider_pb2.ReadRequest(
                id=resource.id,
                urn=urn(resource.token, resource.name),
                properties=struct(resource.outputs),
                inputs=struct(resource.inputs),
            ),
        )
        if not answer.id:
            return None
        return Resource(
            resource.token,
            resource.name,
            answer.id,
            plain(answer.inputs),
            plain(answer.properties),
        )

    def delete(self, resource: Resource) -> None:
        """Delete the resource."""
        self.call(
            "Delete",
            provider_pb2.DeleteRequest(
                id=resource.id,
                urn=urn(resource.token, resource.name),
                properties=struct(resource.outputs),
                old_inputs=struct(resource.inputs),
            ),
        )

    def cancel(self) -> None:
        """Ask the plugin to end all running work."""
        self.call("Cancel", empty_pb2.Empty())

    def messages(self) -> list[str]:
        """Return the text of every log line so far."""
        return [log.message for log in self.logs]

    def call(self, method: str, request: Any) -> Any:
        """Make one call of the protocol."""
        try:
            return getattr(self.stub, method)(request, timeout=600)
        except grpc.RpcError as error:
            raise PluginError(error) from None


class _Engine(engine_pb2_grpc.EngineServicer):
    """The engine's side of the log."""

    def __init__(self, logs: list[Any]) -> None:
        self._logs = logs

    def Log(self, request: Any, context: Any) -> Any:
        self._logs.append(request)
        return empty_pb2.Empty()


@contextmanager
def running(
    module: str, config: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Plugin]:
    """Run `python -m <module>` with an engine's log behind it; `config` None = not configured."""
    logs: list[Any] = []
    engine = grpc.server(ThreadPoolExecutor(4))
    engine_pb2_grpc.add_EngineServicer_to_server(_Engine(logs), engine)
    port = engine.add_insecure_port("127.0.0.1:0")
    engine.start()
    process = subprocess.Popen(
        [sys.executable, "-m", module, f"127.0.0.1:{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **PYTHON_PATH, **(env or {})},
    )
    errors: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    first = process.stdout.readline()
    assert first.strip().isdigit(), f"no port but {first!r}\n{''.join(errors)}"
    # An error is metadata, and as long as what the build or the engine said.
    long = [("grpc.max_metadata_size", 4 << 20)]
    channel = grpc.insecure_channel(f"127.0.0.1:{first.strip()}", options=long)
    plugin = Plugin(provider_pb2_grpc.ResourceProviderStub(channel), process, logs)
    try:
        if config is not None:
            plugin.configure(**config)
        yield plugin
    finally:
        channel.close()
        plugin.end()
        process.wait(30)
        reader.join(5)
        engine.stop(None)
    assert not errors, f"the plugin wrote to stderr:\n{''.join(errors)}"


def urn(token: str, name: str) -> str:
    """Return the URN of a resource in the stack the tests pretend to be in."""
    return f"urn:pulumi:test::plugins::{token}::{name}"


def changed(response: Any) -> dict[str, str]:
    """Return a DiffResponse's detailed diff as path -> kind, such as UPDATE_REPLACE."""
    kind = provider_pb2.PropertyDiff.Kind
    return {path: kind.Name(change.kind) for path, change in response.detailedDiff.items()}


def struct(values: Mapping[str, Any]) -> Any:
    """Return properties as they go over the wire."""
    return PropertyValue.marshal_map(encode_map(values))


def plain(properties: Any) -> dict[str, Any]:
    """Return properties as they came over the wire."""
    return decode_map(PropertyValue.unmarshal_map(properties))


def alive(pid: int) -> bool:
    """Tell whether the process runs; a zombie does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until `condition` holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
