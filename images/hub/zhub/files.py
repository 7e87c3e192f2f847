"""Files that another process may read at any moment."""

from __future__ import annotations

import os
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
