"""Network namespaces of this machine, by name; needs root."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Be in a namespace of `ip netns`, with this thread: new sockets and processes belong to it."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    with (
        Path("/proc/thread-self/ns/net").open() as here,
        Path(f"/var/run/netns/{name}").open() as there,
    ):
        if setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if setns(here.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
