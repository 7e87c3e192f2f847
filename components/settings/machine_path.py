"""Folders of the engine's machine that a site chooses for what users keep."""

from __future__ import annotations

from pathlib import PurePosixPath

from components.settings import parsing
from components.settings.parsing import RefusedError

#: Folders of the machine's own. Those of the engine hold all that runs on it.
SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run"),
    *("/sbin", "/sys", "/usr", "/var/run", "/var/lib/docker", "/var/lib/containerd"),
)

#: Folders with those of several owners, or of the machine, below them.
SHARED = ("/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/lib")  # noqa: S108 - refused


def parse(text: str) -> str:
    """Parse the path of a folder that is made for one purpose; not whether it is there.

    Raises:
        RefusedError: not a path, not its only spelling, or a folder with other things in it.
    """
    if text == "/":
        raise RefusedError("all of the engine's machine; name a folder that is made for this")
    path = parsing.absolute_path(text)
    if {".", ".."} & set(path.split("/")):
        raise RefusedError("not a path without . and ..")
    if path in SHARED or any(within(path, own) for own in SYSTEM):
        raise RefusedError("a folder of the machine itself; name one that is made for this")
    return path


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or in it."""
    return PurePosixPath(path).is_relative_to(folder)
