"""What helpers do with a volume, or with a folder of the engine's machine: see inside.py."""

from __future__ import annotations

from dataclasses import dataclass

#: User and group of the hub, which its volume belongs to.
HUB_USER = "1000:1000"

#: Rights to pack and unpack files of all owners and modes. What is mounted is read-only where
#: nothing is written, and the container has nothing else.
READ = ("DAC_OVERRIDE",)
WRITE = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")


@dataclass(frozen=True)
class Job:
    """What a helper does."""

    name: str
    """Of a job of inside.py."""
    volume: str = ""
    """Name of the volume it gets; none if empty."""
    arguments: tuple[str, ...] = ()
    user: str = "0:0"
    capabilities: tuple[str, ...] = ()
    writes: bool = False
    """Whether it may write there."""
    folder: str = ""
    """Folder of the engine's machine that it gets instead of a volume."""


def save_home(volume: str) -> Job:
    return Job("save-home", volume, capabilities=READ)


def size(volume: str, seconds: int) -> Job:
    """Count what a volume takes, for so many seconds at most."""
    return Job("size", volume, (str(seconds),), capabilities=READ)


def empty(volume: str) -> Job:
    """Look whether there is anything in a volume."""
    return Job("empty", volume, capabilities=READ)


def put_home(volume: str, sha256: str, into: str = "", *, partly: bool = False) -> Job:
    """Unpack a home with this checksum; into a new folder of it, if one is named.

    With `partly`, all but paths that are too long to be unpacked.
    """
    arguments = (sha256, into, "partly" if partly else "")
    return Job("put-home", volume, arguments, capabilities=WRITE, writes=True)


def make_folder(path: str, name: str, volume: str = "") -> Job:
    """Make an empty folder in one of the engine's machine; one that is there must be empty.

    Args:
        path: the machine's folder.
        name: of the one to make.
        volume: in which it is made, if path is empty.
    """
    return Job("make-folder", volume, (name,), capabilities=READ, writes=True, folder=path)


def remove_folder(path: str, name: str, volume: str = "") -> Job:
    """Remove a folder with all that is in it; takes what `make_folder` takes."""
    rights = ("DAC_OVERRIDE", "FOWNER")
    return Job("remove-folder", volume, (name,), capabilities=rights, writes=True, folder=path)


def save_state(volume: str) -> Job:
    # SQLite writes beside a database, also to read it.
    return Job("save-state", volume, user=HUB_USER, writes=True)


def put_state(volume: str, sha256: str, *, keep: bool) -> Job:
    """Replace what a hub keeps; with `keep`, leave the database before in the volume."""
    arguments = (sha256, "keep" if keep else "")
    return Job("put-state", volume, arguments, user=HUB_USER, writes=True)


def look(volume: str) -> Job:
    return Job("look", volume, user=HUB_USER, writes=True)


def mark(volume: str) -> Job:
    return Job("mark", volume, user=HUB_USER, writes=True)


def hold() -> Job:
    """Do nothing, for as long as the command works."""
    return Job("hold", user=HUB_USER)


def release() -> Job:
    return Job("release", user=HUB_USER)
