"""Drops from root, which reads the files the operator mounted, to the user the hub runs as."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from zhub.front.certificates import Pair

HUB_USER = 1000
HUB_GROUP = 1000

GUARD_USER = 1001
"""Not the hub's user, so that neither can signal the other or read its files. They share the
group."""

KEY = "hub.key"
CERTIFICATE = "hub.crt"
"""Names of the private copies."""


def private_copy(pair: Pair, folder: Path) -> Pair:
    """Copy key and certificate to where only the hub's user can read them.

    The folder should be in memory: the key must not outlive the container.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copies = Pair(key=folder / KEY, certificate=folder / CERTIFICATE)
    for source, target in ((pair.key, copies.key), (pair.certificate, copies.certificate)):
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(source.read_bytes())
    return copies


def give(*paths: Path) -> None:
    """Make the hub's user the owner of the paths; needs root."""
    for path in paths:
        os.chown(path, HUB_USER, HUB_GROUP)


def drop(socket: Path | None, user: int = HUB_USER) -> None:
    """Become an ordinary user for good, in the group that may use the engine's socket."""
    groups = [socket.stat().st_gid] if socket and socket.exists() else []
    os.setgroups(groups)
    os.setresgid(HUB_GROUP, HUB_GROUP, HUB_GROUP)
    os.setresuid(user, user, user)


def leave_no_dumps() -> None:
    """Have no process leave a dump of its memory when it crashes, with passwords in it.

    Where the engine's machine collects dumps, its own user 1000 may read those of the hub
    (systemd-coredump(8)).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
