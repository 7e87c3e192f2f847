"""Says so when a kernel was ended because the server's memory was used up.

JupyterLab only says that the kernel appears to have died. The system counts the processes that it
ended for that reason in a container.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

COUNTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""Where the count is, in version 2 and version 1 of control groups (cgroups(7))."""

_ASKED = "_zhub_asked"
"""Attribute of a page's connection: the last request to a kernel, and the count at that time."""


def ended(files: tuple[Path, ...] = COUNTS) -> int:
    """Return how many processes were ended so far because memory was used up; 0 if not known."""
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def reason(limit: str) -> str:
    """Return what users are told; `limit` is the server's memory in bytes, if that is known."""
    size = f" ({int(limit) / (1 << 30):.3g} GiB)" if limit.isdigit() else ""
    return (
        f"Memory ran out: the kernel needed more than all programs of your server may use{size}, so"
        " the system has ended it. Variables are lost. Use less data at a time, end other kernels,"
        " or ask your administrator for more memory."
    )


def install() -> None:
    """Make Jupyter's server tell a page whose kernel was ended; after it is imported."""
    channels: Any = import_module("jupyter_server.services.kernels.connection.channels")
    connection = channels.ZMQChannelsWebsocketConnection
    parse = channels.deserialize_msg_from_ws_v1
    handle, restarted = connection.handle_incoming_message, connection.on_kernel_restarted

    def handle_incoming_message(self: Any, message: Any) -> None:
        header = _header(parse, message)
        if header.get("msg_type") == "execute_request":
            setattr(self, _ASKED, (header, ended()))
        handle(self, message)

    def on_kernel_restarted(self: Any) -> None:
        header, before = getattr(self, _ASKED, (None, 0))
        if header and ended() > before:
            # Before the news of the restart, with which the page forgets the cell that it asks for.
            self.write_stderr(reason(os.environ.get("MEM_LIMIT", "")), header)
        restarted(self)

    connection.handle_incoming_message = handle_incoming_message
    connection.on_kernel_restarted = on_kernel_restarted


def _header(parse: Any, message: Any) -> dict[str, Any]:
    """Return the header of a page's message in one of Jupyter's forms; empty in other forms."""
    try:
        header = json.loads(parse(message)[1][0] if isinstance(message, bytes) else message)
    except (ValueError, IndexError, TypeError):
        return {}
    found = header if isinstance(message, bytes) else header.get("header")
    return found if isinstance(found, dict) else {}
