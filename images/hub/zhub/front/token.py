"""The secret by which a proxy in a container of its own knows the hub."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FILE = Path("/run/proxy/token")
"""In a volume that only hub and proxy mount; the proxy reads it by their common group."""


def shared(file: Path = FILE) -> str:
    """Return the token in the file, after writing a new one if there is none.

    It stays the same, so that neither container has to be restarted for it.
    """
    try:
        return file.read_text()
    except FileNotFoundError:
        pass
    token = secrets.token_hex(32)
    # Under another name first: the proxy may read it at any moment.
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "w") as written:
        written.write(token)
    part.rename(file)
    return token
