"""A log server: what an engine's syslog driver sends to it."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class LogServer:
    """Listens on a UDP port of loopback and keeps all lines, for the engine of this machine."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"udp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def of(self, container: str) -> list[str]:
        """The lines of a container, by its name, as it wrote them."""
        return [line.partition(": ")[2] for line in list(self._lines) if f" {container}[" in line]

    def _listen(self) -> None:
        while line := self._socket.recv(1 << 16):
            self._lines.append(line.decode(errors="replace"))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(timeout=10)
        self._socket.close()
