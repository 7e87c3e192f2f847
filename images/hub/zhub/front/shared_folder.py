"""The folder in which the hub leaves files for a proxy in a container of its own."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path("/run/proxy")
"""In a volume that only hub and proxy mount; the proxy reads it by their common group."""


def write(file: Path, text: str) -> None:
    """Write a file of which the proxy, which may read it at any moment, sees all or nothing."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w") as written:
        written.write(text)
    part.rename(file)
