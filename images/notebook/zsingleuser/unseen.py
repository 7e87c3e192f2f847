"""Says so when nobody will see what a cell has printed, and bounds what is kept of it.

JupyterLab shows what a cell prints only in the page that has run it. What kernels send while no
page is open, Jupyter's server keeps for that same page, which may come back after a broken
connection. If it was closed or reloaded, the server throws all of it away, and nobody is told.
Until then it keeps all there is, in its own memory: a cell that prints for a night would end the
server. Where another page of the notebook is open, nothing is kept: that page gets all of it, and
shows none.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

MOST = 16 << 20
"""Bytes that are kept of one kernel."""

REMEMBERED = 20
"""Kernels of which users are told."""

SHOWN = {"stream", "display_data", "update_display_data", "execute_result", "error"}
"""Messages that JupyterLab shows below a cell:
https://jupyter-client.readthedocs.io/en/stable/messaging.html"""

_DELIMITER = b"<IDS|MSG>"
"""Behind it come the signature and the header."""


def kind(parts: Sequence[bytes]) -> str:
    """Return the type of a kernel's message; empty for what is none."""
    try:
        at = [bytes(part) for part in parts].index(_DELIMITER)
        found = json.loads(bytes(parts[at + 2]))
    except (ValueError, IndexError):
        return ""
    return str(found.get("msg_type", "")) if isinstance(found, dict) else ""


class Kept:
    """What a kernel has sent since its page is gone, in place of Jupyter's list.

    Of what is shown in pages, the first part: what comes later is dropped. Answers to requests and
    the kernel's state are few, and a page that comes back would wait for them for ever.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._messages: list[tuple[str, Sequence[bytes]]] = []
        self._bytes = 0
        self.shown = False
        """Whether a page would have shown any of it."""
        self.dropped = False
        """Whether it is not all."""

    def append(self, message: tuple[str, Sequence[bytes]]) -> None:
        """Keep a message of a channel, if there is room."""
        channel, parts = message
        if channel == "iopub":
            of = kind(parts)
            self.shown |= of in SHOWN
            size = sum(len(part) for part in parts)
            if of != "status" and self._bytes + size > self._most:
                self.dropped = True
                return
            self._bytes += size
        self._messages.append(message)

    def __iter__(self) -> Iterator[tuple[str, Sequence[bytes]]]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)


class Unseen:
    """The kernels whose output nobody will see, until they end."""

    def __init__(self) -> None:
        self._noted: dict[str, str] = {}

    def note(self, kernel: str) -> None:
        """Remember a kernel; a message about it that was dismissed is shown once more."""
        self._noted.pop(kernel, None)
        self._noted[kernel] = uuid.uuid4().hex
        while len(self._noted) > REMEMBERED:
            del self._noted[next(iter(self._noted))]

    def messages(self, sessions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Return what to tell the user, each with `id` and `text`.

        Args:
            sessions: all of the server, as its API has them.
        """
        paths = {one["kernel"]["id"]: one["path"] for one in sessions if one.get("kernel")}
        self._noted = {kernel: id_ for kernel, id_ in self._noted.items() if kernel in paths}
        return [
            {
                "id": f"unseen:{id_}",
                "text": (
                    f"{paths[kernel]}: a cell ran while the page was closed, and what it has"
                    " printed since is lost. Its variables are there."
                ),
            }
            for kernel, id_ in self._noted.items()
        ]


UNSEEN = Unseen()
"""Of this server."""


def install(unseen: Unseen = UNSEEN) -> None:
    """Make Jupyter's server keep less, and note what it throws away; after it is imported."""
    _note_what_is_kept(unseen)
    _note_what_others_get(unseen)


def _busy(kernel: Any) -> bool:
    return getattr(kernel, "execution_state", "") == "busy"


def _note_what_others_get(unseen: Unseen) -> None:
    """Note kernels that compute for a page that goes, while other pages of the notebook stay."""
    channels: Any = import_module("jupyter_server.services.kernels.connection.channels")
    connection = channels.ZMQChannelsWebsocketConnection
    take, disconnect = connection.handle_incoming_message, connection.disconnect

    def handle_incoming_message(self: Any, message: str | bytes) -> None:
        asks = b"execute_request" if isinstance(message, bytes) else "execute_request"
        if asks in message:  # type: ignore[operator] # both are text or both are not
            self.kernel_manager.asked_last = self.session_key
        take(self, message)

    def disconnect_and_note(self: Any) -> None:
        disconnect(self)
        kernels, kernel = self.multi_kernel_manager, self.kernel_id
        if kernel in kernels and kernels._kernel_connections.get(kernel):  # noqa: SLF001
            manager = kernels.get_kernel(kernel)
            if _busy(manager) and getattr(manager, "asked_last", "") == self.session_key:
                unseen.note(kernel)

    connection.handle_incoming_message = handle_incoming_message
    connection.disconnect = disconnect_and_note


def _note_what_is_kept(unseen: Unseen) -> None:
    manager: Any = import_module("jupyter_server.services.kernels.kernelmanager")
    mapping = manager.MappingKernelManager
    start, get = mapping.start_buffering, mapping.get_buffer

    def start_buffering(self: Any, kernel: str, *given: Any) -> None:
        start(self, kernel, *given)
        if kernel in self._kernel_buffers:
            self._kernel_buffers[kernel]["buffer"] = Kept()

    def get_buffer(self: Any, kernel: str, session: str) -> Any:
        there = kernel in self._kernel_buffers
        kept = self._kernel_buffers[kernel]["buffer"] if there else None
        found = get(self, kernel, session)
        if isinstance(kept, Kept):
            lost = found is None and (kept.shown or _busy(self.get_kernel(kernel)))
            if kept.dropped or lost:
                unseen.note(kernel)
        return found

    mapping.start_buffering = start_buffering
    mapping.get_buffer = get_buffer
