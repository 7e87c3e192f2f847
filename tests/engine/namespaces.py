"""Namespaces of this machine: of networks, by name, and of mounts, by a file; needs root."""

from __future__ import annotations

import ctypes
import subprocess
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


@contextmanager
def own_mounts(folder: Path, script: str) -> Iterator[Path]:
    """Make a mount namespace, and remove it; yield the file that stands for it, for `nsenter`.

    Args:
        folder: for that file.
        script: of a shell, which mounts what is different in it.
    """
    held = folder / "held"
    held.mkdir()
    # A namespace can be held by a file only where mounts do not spread.
    subprocess.run(["mount", "--bind", held, held], check=True)
    subprocess.run(["mount", "--make-private", held], check=True)
    mounts = held / "mounts"
    mounts.touch()
    try:
        made = ["unshare", f"--mount={mounts}", "--propagation=slave"]
        subprocess.run([*made, "sh", "-euc", script], check=True)
        yield mounts
    finally:
        # The end of an engine in it has unmounted what is in this folder, if it came so far.
        subprocess.run(["umount", "--recursive", "--quiet", held], check=False)
