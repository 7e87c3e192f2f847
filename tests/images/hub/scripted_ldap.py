"""An LDAP server on loopback that answers as a test wants, malformed answers included."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ldap3.protocol.rfc4511 import (
    LDAPDN,
    AttributeDescription,
    AttributeValue,
    BindResponse,
    ExtendedResponse,
    LDAPMessage,
    LDAPString,
    MessageID,
    PartialAttribute,
    PartialAttributeList,
    ProtocolOp,
    ResultCode,
    SearchResultDone,
    SearchResultEntry,
    Vals,
)
from pyasn1.codec.ber import encoder

Conversation = Callable[["Client"], None]


@dataclass(frozen=True)
class Request:
    """A request: its number, the tag of its kind (RFC 4511, appendix B), and its fields."""

    id: int
    tag: int
    fields: list[tuple[int, bytes]]

    def text(self, field: int) -> str:
        return self.fields[field][1].decode()


BIND, SEARCH = 0x60, 0x63

AND, OR, EQUALITY, EXTENSIBLE = 0xA0, 0xA1, 0xA3, 0xA9
"""Tags of filters."""


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """Yield tags and contents of BER elements; raises ValueError for incomplete ones."""
    found = []
    while data:
        if len(data) < 2 or (data[1] > 0x80 and len(data) < 2 + (data[1] & 0x7F)):
            raise ValueError("incomplete")
        begin = 2 + (data[1] & 0x7F) if data[1] & 0x80 else 2
        length = int.from_bytes(data[2:begin], "big") if data[1] & 0x80 else data[1]
        if len(data) < begin + length:
            raise ValueError("incomplete")
        found.append((data[0], data[begin : begin + length]))
        data = data[begin + length :]
    return found


@dataclass
class Client:
    """One connection, from the server's side."""

    socket: socket.socket
    received: bytearray

    def request(self) -> Request:
        """Read one request; raises EOFError at the end of the connection."""
        message = b""
        while True:
            part = self.socket.recv(4096)
            if not part:
                raise EOFError
            self.received += part
            message += part
            with suppress(ValueError):
                (number, operation, *_) = elements(elements(message)[0][1])
                fields = elements(operation[1]) if operation[0] in (BIND, SEARCH) else []
                return Request(int.from_bytes(number[1], "big"), operation[0], fields)

    def answer(self, request: Request, kind: str, response: Any) -> None:
        message = LDAPMessage()
        message["messageID"] = MessageID(request.id)
        message["protocolOp"] = ProtocolOp().setComponentByName(kind, response)
        self.socket.sendall(encoder.encode(message))

    def bind_response(self, request: Request, code: int, text: str = "") -> None:
        self.answer(request, "bindResponse", _result(BindResponse(), code, text))

    def search_response(
        self, request: Request, entries: dict[str, dict[str, list[str]]], code: int = 0
    ) -> None:
        for dn, attributes in entries.items():
            entry = SearchResultEntry()
            entry["object"] = LDAPDN(dn)
            listed = PartialAttributeList()
            for number, (name, values) in enumerate(attributes.items()):
                attribute = PartialAttribute()
                attribute["type"] = AttributeDescription(name)
                vals = Vals()
                for position, value in enumerate(values):
                    vals.setComponentByPosition(position, AttributeValue(value.encode()))
                attribute["vals"] = vals
                listed.setComponentByPosition(number, attribute)
            entry["attributes"] = listed
            self.answer(request, "searchResEntry", entry)
        self.answer(request, "searchResDone", _result(SearchResultDone(), code, ""))

    def extended_response(self, request: Request, code: int) -> None:
        self.answer(request, "extendedResp", _result(ExtendedResponse(), code, ""))


def _result(response: Any, code: int, text: str) -> Any:
    response["resultCode"] = ResultCode(code)
    response["matchedDN"] = LDAPDN("")
    response["diagnosticMessage"] = LDAPString(text)
    return response


@dataclass
class Scripted:
    """A running server; `received` has all bytes it was ever sent."""

    port: int
    received: bytearray = field(default_factory=bytearray)
    connections: int = 0


@contextmanager
def scripted(conversation: Conversation, address: str = "127.0.0.1") -> Iterator[Scripted]:
    """Serve each connection with `conversation`, in a separate thread."""
    with socket.create_server((address, 0), backlog=128) as listener:
        server = Scripted(listener.getsockname()[1])
        open_ones: list[socket.socket] = []

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError, EOFError):
                conversation(Client(connection, server.received))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    server.connections += 1
                    open_ones.append(connection)
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            # Wakes the thread that accepts; close alone does not.
            listener.shutdown(socket.SHUT_RDWR)
            for connection in open_ones:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def mute(client: Client) -> None:
    """Read everything, and answer nothing."""
    while part := client.socket.recv(4096):
        client.received += part
