"""The folder in which the hub leaves files for a proxy in a container of its own."""

from __future__ import annotations

from pathlib import Path

from zhub import files

FOLDER = Path("/run/proxy")
"""In a volume that only hub and proxy mount; the proxy reads it by their common group."""


def write(file: Path, text: str) -> None:
    """Write a file of which the proxy, which may read it at any moment, sees all or nothing."""
    files.write(file, text, 0o640)
