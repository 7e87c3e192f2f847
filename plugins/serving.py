"""Serve a `Provider` over the engine's protocol.

The SDK's experimental server does most of it. This module adds what it lacks: errors as one message
instead of a traceback, with the resource's state if something was created; the old inputs of a
diff; the autonaming of a check; a working DiffConfig; the handshake; log lines; and an exit when
the engine is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
import grpc.aio
from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from plugins.base import Provider
from plugins.calls import InitError, ResourceError
from plugins.values import encode_map

T = TypeVar("T")


class EngineLog:
    """The engine's log; can be called from any thread."""

    def __init__(self, address: str) -> None:
        self._engine = engine_pb2_grpc.EngineStub(
            grpc.insecure_channel(address, options=_GRPC_CHANNEL_OPTIONS)
        )

    def __call__(
        self, severity: str, message: str, urn: str = "", *, ephemeral: bool = False
    ) -> None:
        """Send one message; `severity` is debug, info, warning or error."""
        try:
            self._engine.Log(
                engine_pb2.LogRequest(
                    severity=engine_pb2.LogSeverity.Value(severity.upper()),
                    message=message,
                    urn=urn,
                    ephemeral=ephemeral,
                ),
                timeout=10,
            )
        except grpc.RpcError:
            # The engine is gone or ending, so nobody could read it, and `_watch_engine` ends the
            # plugin. A lost log line must not fail the operation.
            return


def _inherited(name: str) -> Any:
    """Return the SDK's method of that name, with errors turned into answers."""
    method: Any = getattr(ProviderServicer, name)

    async def answered(self: Servicer, request: Any, context: Any) -> Any:
        return await _answer(method(self, request, context), context)

    return answered


class Servicer(ProviderServicer):
    """The SDK's servicer, with the additions in the module's docstring."""

    _provider: Provider

    CheckConfig = _inherited("CheckConfig")
    Configure = _inherited("Configure")
    Invoke = _inherited("Invoke")
    Create = _inherited("Create")
    Read = _inherited("Read")
    Update = _inherited("Update")
    Delete = _inherited("Delete")

    async def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, supports_autonaming_configuration=True
        )

    async def DiffConfig(self, request: Any, context: Any) -> Any:
        async def answer() -> Any:
            # The SDK's own fails on any difference (it confuses an enum and its number).
            return _diff_response(await self._provider.diff_config(_diff_request(request)))

        return await _answer(answer(), context)

    async def Check(self, request: Any, context: Any) -> Any:
        async def answer() -> Any:
            check = _with_naming(
                sdk.CheckRequest(
                    request.urn,
                    PropertyValue.unmarshal_map(request.olds),
                    PropertyValue.unmarshal_map(request.news),
                    request.randomSeed,
                ),
                request,
            )
            response = await self._provider.check(check)
            return provider_pb2.CheckResponse(
                inputs=PropertyValue.marshal_map(response.inputs or {}),
                failures=[
                    provider_pb2.CheckFailure(property=f.property, reason=f.reason)
                    for f in response.failures or []
                ],
            )

        return await _answer(answer(), context)

    async def Diff(self, request: Any, context: Any) -> Any:
        async def answer() -> Any:
            return _diff_response(await self._provider.diff(_diff_request(request)))

        return await _answer(answer(), context)


def _raised(error: Exception) -> Exception:
    """The exception of an operation; the SDK's server raises another with a traceback as text."""
    original = error.__context__
    return original if type(error) is Exception and isinstance(original, Exception) else error


async def _answer(work: Awaitable[T], context: Any) -> T:
    """Await an answer; turn an exception into the status that the engine shows on the resource."""
    try:
        return await work
    except Exception as caught:
        error = _raised(caught)
        message = str(error)
        details: tuple[tuple[str, bytes], ...] = ()
        if isinstance(error, InitError):
            detail = provider_pb2.ErrorResourceInitFailed(
                id=error.resource_id,
                properties=PropertyValue.marshal_map(encode_map(error.outputs)),
                reasons=[message],
            )
            status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
            status.details.add().Pack(detail)
            details = (("grpc-status-details-bin", status.SerializeToString()),)
            message = message.partition("\n")[0]
        elif not isinstance(error, ResourceError):
            # Raised by the SDK, for example for a value of a kind that it does not know.
            message = f"{type(error).__name__}: {error}"
        await context.abort(grpc.StatusCode.UNKNOWN, message, details)
        raise


def _diff_request(request: Any) -> sdk.DiffRequest:
    result = sdk.DiffRequest(
        request.urn,
        request.id,
        PropertyValue.unmarshal_map(request.olds),
        PropertyValue.unmarshal_map(request.news),
        list(request.ignoreChanges),
    )
    result.old_inputs = PropertyValue.unmarshal_map(request.old_inputs)  # type: ignore[attr-defined]
    return result


def _diff_response(response: sdk.DiffResponse) -> Any:
    answer = provider_pb2.DiffResponse
    return answer(
        replaces=response.replaces,
        deleteBeforeReplace=response.delete_before_replace,
        changes=answer.DIFF_SOME if response.changes else answer.DIFF_NONE,
        diffs=response.diffs,
        detailedDiff={
            path: provider_pb2.PropertyDiff(
                kind=provider_pb2.PropertyDiff.Kind.Value(change.kind.name),
                inputDiff=change.input_diff,
            )
            for path, change in response.detailed_diff.items()
        },
        hasDetailedDiff=True,
    )


def _with_naming(check: sdk.CheckRequest, request: Any) -> sdk.CheckRequest:
    naming = request.autonaming
    check.proposed_name = naming.proposed_name  # type: ignore[attr-defined]
    check.naming_disabled = (  # type: ignore[attr-defined]
        request.HasField("autonaming") and naming.mode == naming.DISABLE
    )
    return check


async def serve(provider: Provider, engine_address: str | None) -> None:
    """Serve until a signal comes. Prints the port as the first line, as the engine expects."""
    # Before the engine can know of the port: it may be gone a moment later.
    engine = os.getppid()
    if engine_address:
        provider.log = EngineLog(engine_address)
    server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
    servicer = Servicer(sys.argv[1:], provider.version, provider, engine_address or "")
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)

    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    watch = asyncio.create_task(_watch_engine(engine, ending))
    await ending.wait()
    watch.cancel()
    provider.stop()
    await server.stop(grace=3)  # the engine kills after 5 seconds


async def _watch_engine(engine: int, ending: asyncio.Event) -> None:
    """End the plugin when the process that started it, the engine, is gone."""
    while os.getppid() == engine:  # noqa: ASYNC110  (there is no event for it)
        await asyncio.sleep(1)
    ending.set()


def main(provider: Provider) -> None:
    """Run the plugin; the engine's address is the last argument, after options for Go's logging."""
    asyncio.run(serve(provider, sys.argv[-1] if len(sys.argv) > 1 else None))
    # Threads of operations that ignore the cancellation would keep the process running.
    os._exit(0)
