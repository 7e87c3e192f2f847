"""Keeps kernels from flooding the container's log with what they write past their notebooks.

A kernel, and what it starts, can write to the standard output that it has from the server, and so
to the container's log. The engine takes that with a processor of the machine's own, which no limit
of the container counts. So the server passes on what a log needs, and leaves out the rest; no
kernel waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

BURST = 1 << 20
"""Bytes that are passed on at once."""

RATE = 10_000
"""Bytes a second that are passed on in the long run; a traceback has a few thousand."""

READ = 1 << 14
"""Bytes that are read at a time, and passed on whole or not at all."""

STDERR = 2


class Log:
    """Passes on what is written, as far as there is room."""

    def __init__(self, out: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            out: the descriptor to write to.
            clock: in seconds.
        """
        self._out = out
        self._clock = clock
        self._room = float(BURST)
        self._at = clock()
        self._left_out = 0

    def take(self, data: bytes) -> None:
        """Pass a part on, or count it as left out."""
        now = self._clock()
        self._room = min(BURST, self._room + (now - self._at) * RATE)
        self._at = now
        if len(data) > self._room:
            self._left_out += len(data)
            return
        self._room -= len(data)
        if self._left_out:
            note = f"\n[zsingleuser] left out: {self._left_out} bytes that kernels wrote\n"
            data = note.encode() + data
            self._left_out = 0
        # What cannot be written is lost: a reader that ends would have kernels wait for ever.
        with suppress(OSError):
            while data:
                data = data[os.write(self._out, data) :]


def follow(reading: int, log: Log) -> None:
    """Pass on all that is written to a pipe, until nobody can write to it any more."""
    while data := os.read(reading, READ):
        log.take(data)


def install() -> None:
    """Have kernels write to the log in this way; after Jupyter is imported."""
    provisioner: Any = import_module("jupyter_client.provisioning.local_provisioner")
    launch = provisioner.launch_kernel
    reading, writing = os.pipe()
    threading.Thread(
        target=follow, args=(reading, Log(STDERR)), name="kernels' output", daemon=True
    ).start()

    def launch_kernel(*arguments: Any, **options: Any) -> Any:
        return launch(*arguments, **{"stdout": writing, "stderr": writing, **options})

    provisioner.launch_kernel = launch_kernel
