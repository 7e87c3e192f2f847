"""The token of whoever scrapes the metrics. It is good for nothing else."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zhub import audit, engine, files, settings
from zhub.settings import SettingsError

FILE = settings.STATE / "metrics-token"
"""On the volume with the database, so that a new hub takes the same token."""

SERVICE = "metrics"
"""Name of JupyterHub's service that the token belongs to, and of the service's role."""


def current(file: Path = FILE) -> str:
    """Return the token, after making one if there is none."""
    try:
        return file.read_text()
    except FileNotFoundError:
        # The first scrape may come while the first operator asks for the token.
        with files.alone(file):
            return file.read_text() if file.exists() else _made(file)


def renewed(file: Path = FILE) -> str:
    """Replace the token; the hub takes the new one with the next scrape, and only that one."""
    with files.alone(file):
        return _made(file)


def _made(file: Path) -> str:
    token = secrets.token_hex(32)
    files.write(file, token, 0o600)
    return token


GUARD_SECONDS = 10
"""How long the command waits for the guard."""


class Follower:
    """Makes JupyterHub take the token in the file, and no other, without a restart."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file
        self._known = ""

    def follow(self, db: Any) -> None:
        """Look at the file; change JupyterHub's tokens of the service if it has changed."""
        # Only here: the command below needs none of JupyterHub.
        from jupyterhub import orm

        token = current(self._file)
        if token == self._known:
            return
        service = orm.Service.find(db, SERVICE)
        for old in list(service.api_tokens):
            db.delete(old)
        db.commit()
        service.new_api_token(token, note="scrapes metrics", generated=True)
        self._known = token


def run(arguments: Sequence[str]) -> None:
    """Print the token; with `--new`, after replacing it, which is in the audit log.

    Raises:
        SettingsError: when there is another argument, or no hub has run with this volume; or the
            token is replaced, but the guard is away.
    """
    if arguments not in ([], ["--new"]):
        given = " ".join(arguments)
        raise SettingsError([f"`zhub metrics-token` takes only --new, but got {given}"])
    try:
        print(renewed() if arguments else current())
    except OSError as error:
        raise SettingsError([f"{FILE} cannot be used: {error.strerror}"]) from None
    if arguments and engine.guarded(os.environ):
        sys.stdout.flush()
        audit.report_command(partial(engine.connect, GUARD_SECONDS), "metrics-token")
