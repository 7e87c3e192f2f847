"""A log server: takes what an engine's fluentd driver sends, and goes and comes back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import msgpack

from tests.ports import free_port


class Fluentd:
    """Listens on a TCP port of loopback and keeps all lines, for the engine of this machine.

    The driver sends each line as `[tag, time, record]` in MessagePack ("Message Mode"), and with
    `fluentd-request-ack` also an option with an id, which the server says back:
    https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
    """

    def __init__(self) -> None:
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.lines: list[tuple[str, dict[str, Any]]] = []
        """All that have come: tags, and records with `log`, `source` and labels."""
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def of(self, **labels: str) -> list[str]:
        """The lines of containers with these labels, by the ends of their names, as written."""
        wanted = {f"zhub.{name}": value for name, value in labels.items()}
        return [
            str(record["log"]) for _, record in list(self.lines) if wanted.items() <= record.items()
        ]

    def begin(self) -> None:
        """Listen."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._run(self._accept, listener)

    def go(self) -> None:
        """Be gone: nothing listens, and all connections have ended."""
        opened, self._open = self._open, []
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(timeout=10)

    def _run(self, work: Any, connection: socket.socket) -> None:
        self._open.append(connection)
        thread = threading.Thread(target=work, args=[connection], daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        # It is shut down when this server goes.
        with suppress(OSError):
            while True:
                self._run(self._listen, listener.accept()[0])

    def _listen(self, connection: socket.socket) -> None:
        messages = msgpack.Unpacker()
        with suppress(OSError):
            while sent := connection.recv(1 << 16):
                messages.feed(sent)
                for tag, _, record, *options in messages:
                    self.lines.append((tag, record))
                    if chunk := (options or [{}])[0].get("chunk"):
                        connection.sendall(msgpack.packb({"ack": chunk}))

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go()
