"""Files that other processes may read, or change, at any moment."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(file: Path, text: str, mode: int) -> None:
    """Write a file of which a reader sees all or nothing.

    Args:
        file: to write, or to replace.
        text: for it.
        mode: of a file that is new.
    """
    # With a dot in front: backups leave it out.
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as written:
        written.write(text)
    part.rename(file)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep others who do the same from a file, between a look at it and its change.

    Args:
        file: which need not exist, but its folder has to. Files of one folder wait for each other.
    """
    # Of the folder itself, which whoever may change the file can open, whoever has made it.
    lock = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
