"""BuildKit: the progress of a build, and the session in which it asks for credentials.

Messages and services are those of moby/buildkit: api/services/control/control.proto,
session/auth/auth.proto and session/grpc.go.
"""

from __future__ import annotations

import base64
import re
import socket
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from plugins.docker.engine import CONNECTION_ERRORS, Engine

#: Lines of a failing step's output that are shown with its error.
SHOWN_LINES = 20

Credentials = Callable[[str], tuple[str, str]]
"""The user name and password for a registry's host name; both empty for none."""

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES

#: message -> its fields as (name, number, type); a message name as the type means a list of those.
#: Fields that are not used here are left out, protobuf skips them.
_MESSAGES: dict[str, tuple[tuple[str, int, int | str], ...]] = {
    "Vertex": (("digest", 1, _STRING), ("name", 3, _STRING), ("error", 7, _STRING)),
    "VertexLog": (("vertex", 1, _STRING), ("msg", 4, _BYTES)),
    "StatusResponse": (("vertexes", 1, "Vertex"), ("logs", 3, "VertexLog")),
    "CredentialsRequest": (("host", 1, _STRING),),
    "CredentialsResponse": (("username", 1, _STRING), ("secret", 2, _STRING)),
}


def _message_types() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="buildkit.proto", package="buildkit")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number)
            if isinstance(kind, str):
                field.label = field.LABEL_REPEATED
                field.type = field.TYPE_MESSAGE
                field.type_name = f".buildkit.{kind}"
            else:
                field.label = field.LABEL_OPTIONAL
                field.type = kind  # type: ignore[assignment]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    # The second one is for protobuf before 4.22, which Debian has.
    make = (
        getattr(message_factory, "GetMessageClass", None)
        or message_factory.MessageFactory(pool).GetPrototype  # type: ignore[attr-defined]
    )
    return {name: make(pool.FindMessageTypeByName(f"buildkit.{name}")) for name in _MESSAGES}


_TYPES = _message_types()


class Progress:
    """Follows one build: yields lines of output, and remembers which step failed."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._output: dict[str, deque[str]] = {}
        self._failed = ""
        self._error = ""

    def lines(self, message: dict[str, Any]) -> Iterator[str]:
        """Yield the new lines of a message."""
        if message.get("id") != "moby.buildkit.trace":
            return
        status = _TYPES["StatusResponse"].FromString(base64.b64decode(message["aux"]))
        for vertex in status.vertexes:
            if vertex.digest not in self._names:
                self._names[vertex.digest] = vertex.name
                yield vertex.name
            # Parallel steps end as cancelled when one fails: they are not the cause.
            if vertex.error and "context canceled" not in vertex.error:
                self._failed, self._error = vertex.digest, vertex.error
        for log in status.logs:
            for line in printable(log.msg.decode(errors="replace")):
                kept = self._output.setdefault(log.vertex, deque(maxlen=SHOWN_LINES))
                kept.append(line)
                yield line

    def failure(self, message: str) -> str:
        """Return the error of a failed build for the operator; `message` is the engine's."""
        if not self._failed:
            return message
        name = self._names.get(self._failed, "a step")
        reason = self._error.rpartition(": ")[2] if "exit code" in self._error else message
        return failed_step(name, reason, self._output.get(self._failed, ()))


class OlderProgress:
    """Like `Progress`, for the older builder, which sends only text."""

    def __init__(self) -> None:
        self._step = ""
        self._output: deque[str] = deque(maxlen=SHOWN_LINES)

    def lines(self, message: dict[str, Any]) -> Iterator[str]:
        """Yield the new lines of a message."""
        for line in printable(message.get("stream", "")):
            if line.startswith("Step "):
                self._step = line.partition(" : ")[2]
                self._output.clear()
            elif not line.startswith((" ---> ", "Removing intermediate container ")):
                self._output.append(line)
            yield line

    def failure(self, message: str) -> str:
        """Return the error of a failed build for the operator; `message` is the engine's."""
        if not self._step:
            return message
        return failed_step(self._step, message, self._output)


def printable(text: str) -> Iterator[str]:
    """Yield the lines of a program's output, without colours and empty lines."""
    for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).splitlines():
        if line.strip():
            yield line.rstrip()


def failed_step(name: str, reason: str, output: Collection[str]) -> str:
    """Say which step of a build failed, why, and what it printed last."""
    if not output:
        return f"the step {name} failed: {reason}"
    shown = "\n".join(f"    {line}" for line in output)
    return f"the step {name} failed: {reason}. Its last lines:\n{shown}"


@contextmanager
def session(engine: Engine, credentials: Credentials) -> Iterator[str]:
    """Hold a session with the engine's BuildKit and yield its id.

    BuildKit asks only the session for credentials of the registries in `FROM`. The engine is the
    gRPC client here, over a connection that we opened.
    """
    name = uuid.uuid4().hex
    wire, local = _hijack(engine, name), socket.socket(socket.AF_UNIX)
    # A socket in a private folder: on a TCP port any process could ask for the passwords. It is
    # removed as soon as we are connected, so nobody else can connect, and nothing is left.
    with tempfile.TemporaryDirectory(prefix="buildkit-") as folder:
        place = Path(folder, "session")
        server = grpc.server(ThreadPoolExecutor(max_workers=4))
        server.add_generic_rpc_handlers(_handlers(credentials))
        server.add_insecure_port(f"unix://{place}")
        server.start()
        local.connect(str(place))
    for source, target in ((wire, local), (local, wire)):
        threading.Thread(target=_copy, args=(source, target), daemon=True).start()
    try:
        yield name
    finally:
        for end in (wire, local):
            _shut(end)
            end.close()
        server.stop(grace=None)


def _hijack(engine: Engine, name: str) -> socket.socket:
    connection = HTTPConnection("docker")
    wire = connection.sock = engine.dial()
    connection.request(
        "POST",
        f"/v{engine.client.api_version}/session",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "h2c",
            "X-Docker-Expose-Session-Uuid": name,
            "X-Docker-Expose-Session-Name": name,
            "X-Docker-Expose-Session-Grpc-Method": "/moby.filesync.v1.Auth/Credentials",
        },
    )
    # Read byte by byte up to the end of the headers: the bytes after them are gRPC's.
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = wire.recv(1)
        if not byte:
            raise ConnectionError("the engine closed the build session")
        head += byte
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise ConnectionError("the engine has no build sessions")
    return wire


def _handlers(credentials: Credentials) -> tuple[Any, ...]:
    def answer(request: bytes, _: Any) -> bytes:
        host = _TYPES["CredentialsRequest"].FromString(request).host
        username, secret = credentials(host)
        response = _TYPES["CredentialsResponse"](username=username, secret=secret)
        return bytes(response.SerializeToString())

    def healthy(*_: Any) -> bytes:
        return b"\x08\x01"  # HealthCheckResponse{status: SERVING}

    return tuple(
        grpc.method_handlers_generic_handler(
            service, {method: grpc.unary_unary_rpc_method_handler(function)}
        )
        for service, method, function in (
            ("moby.filesync.v1.Auth", "Credentials", answer),
            ("grpc.health.v1.Health", "Check", healthy),
        )
    )


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(*CONNECTION_ERRORS):  # either end is gone, which is how a session ends
        while data := source.recv(65536):
            target.sendall(data)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was first
        end.shutdown(socket.SHUT_RDWR)
