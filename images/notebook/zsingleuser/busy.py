"""Knows whether a kernel works, also while its page asks it something beside.

Jupyter's server takes the last state that a kernel has sent for the kernel's state. But a cell
goes on while the kernel answers other requests: a page asks for the memory in use, and widgets are
moved, for which JupyterLab has subshells (JEP 91, https://jupyter.org/enhancement-proposals). The
kernel says that it is idle when it has answered those, and counted as idle from then on, although
it computed for hours. The other way round, a page that asks for the memory every few seconds
counted as use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

BESIDE = {
    "create_subshell_request",
    "delete_subshell_request",
    "list_subshell_request",
    "usage_request",
}
"""What pages ask by themselves, on a kernel's control channel: Jupyter's list of such requests
(`untracked_message_types`) lacks them."""

_DELIMITER = b"<IDS|MSG>"
"""Behind it come the signature, and then header, parent's header, metadata and content:
https://jupyter-client.readthedocs.io/en/stable/messaging.html"""


def read(parts: Sequence[bytes]) -> tuple[str, Mapping[str, Any], str]:
    """Return of a kernel's message its type, what it answers, and the state that it names.

    The first is empty for what is no message, the last for a message that names none.
    """
    try:
        at = parts.index(_DELIMITER)
        header, parent, _, content = (json.loads(part) for part in parts[at + 2 : at + 6])
        kind = str(header["msg_type"])
        state = str(content.get("execution_state", "")) if kind == "status" else ""
    except (ValueError, TypeError, LookupError, AttributeError):
        return "", {}, ""
    return kind, parent if isinstance(parent, dict) else {}, state


class Work:
    """The requests that a kernel is working on."""

    def __init__(self) -> None:
        self._shells: dict[str, str] = {}
        """By the requests' names: the subshells that they are for; empty for the kernel itself."""

    def hear(self, state: str, request: Mapping[str, Any]) -> str:
        """Return the state of a kernel that has just said that it is in this one.

        Args:
            state: `busy`, `idle`, or another one that is passed on.
            request: header of what it answers.
        """
        name, shell = str(request.get("msg_id", "")), str(request.get("subshell_id") or "")
        if state not in {"busy", "idle"}:
            self._shells.clear()
            return state
        if state == "idle":
            self._shells.pop(name, None)
        else:
            if request.get("msg_type") == "execute_request":
                # One cell at a time: that of the cell before is lost, as in a flood of output.
                self._shells = {n: s for n, s in self._shells.items() if s != shell}
            self._shells[name] = shell
        return "busy" if self._shells else "idle"


def note(kernels: Any, kernel: Any, parts: Sequence[bytes]) -> None:
    """Note what a message says of its kernel, as Jupyter's `start_watching_activity` does."""
    kind, request, state = read(parts)
    if not kind:
        return
    tracked = kernels.track_message_type(request.get("msg_type"))
    if tracked or kernels.track_message_type(kind) or kernel.execution_state == "busy":
        kernels.last_kernel_activity = kernel.last_activity = datetime.now(UTC)
    if not state:
        return
    if tracked:
        kernel.execution_state = kernel.work.hear(state, request)
    elif kernel.execution_state == "starting" != state:
        kernel.execution_state = "idle"


def install() -> None:
    """Make Jupyter's server do the above; after it is imported."""
    manager: Any = import_module("jupyter_server.services.kernels.kernelmanager")
    mapping, one = manager.MappingKernelManager, manager.ServerKernelManager
    watch, track, restart = (
        mapping.start_watching_activity,
        mapping.track_message_type,
        one.restart_kernel,
    )

    def start_watching_activity(self: Any, kernel_id: str) -> None:
        watch(self, kernel_id)
        kernel = self.get_kernel(kernel_id)
        kernel.work = Work()
        kernel._activity_stream.on_recv(partial(note, self, kernel))  # noqa: SLF001

    async def restart_kernel(self: Any, *given: Any, **named: Any) -> None:
        try:
            await restart(self, *given, **named)
        finally:
            # Whether somebody or the system has ended it: what it worked on has no end any more.
            self.work = Work()
            if self.execution_state == "busy":
                self.execution_state = "starting"

    mapping.start_watching_activity = start_watching_activity
    mapping.track_message_type = lambda self, kind: kind not in BESIDE and track(self, kind)
    one.restart_kernel = restart_kernel
