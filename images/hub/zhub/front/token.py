"""The secret by which a proxy in a container of its own knows the hub."""

from __future__ import annotations

import secrets
from pathlib import Path

from zhub.front import shared_folder

FILE = shared_folder.FOLDER / "token"


def shared(file: Path = FILE) -> str:
    """Return the token in the file, after writing a new one if there is none.

    It stays the same, so that neither container has to be restarted for it.
    """
    # A machine that lost power may have left an empty file, and the proxy would ask for no token.
    if file.exists() and (known := file.read_text()):
        return known
    token = secrets.token_hex(32)
    shared_folder.write(file, token)
    return token
