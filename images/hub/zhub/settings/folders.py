"""Folders that several users share: what the stack says about each, and who gets which."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from zhub.settings import parsing

PLACE = "/shared"
"""Where servers have them: in no home, and on no path from which a program is started."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PATH = re.compile(r"(/[A-Za-z0-9_@+][A-Za-z0-9._@+-]*)+")
_MODES = {"ro": True, "rw": False}
_KEYS = {"name", "mode", "groups", "profiles", "path"}


@dataclass(frozen=True, kw_only=True)
class SharedFolder:
    """A folder of a stack."""

    name: str
    read_only: bool
    groups: tuple[str, ...] = ()
    """DNs of the groups whose members get it; with no profiles either, everybody does. Only the
    hub knows them, and the next."""
    profiles: tuple[str, ...] = ()
    """Names of the profiles whose servers get it, whoever has them."""
    path: str = ""
    """Where it is on the engine's machine; empty for a volume. Only the guard knows it."""

    def open_to(self, groups: Collection[str], profile: str | None) -> bool:
        """Return whether a server with that profile, of a member of these groups, gets it."""
        everybody = not self.groups and not self.profiles
        return everybody or profile in self.profiles or not set(groups).isdisjoint(self.groups)

    @property
    def target(self) -> str:
        """Where servers have it."""
        return f"{PLACE}/{self.name}"

    @property
    def mode(self) -> str:
        """As in a request for a mount."""
        return "ro" if self.read_only else "rw"

    @property
    def grant(self) -> str:
        """What a server has by it, as the hub keeps it with the server."""
        return f"{self.name}:{self.mode}"

    def volume(self, prefix: str) -> str:
        """Return the name of its volume; of a folder at a path, the name the hub asks for it by.

        No other name of any stack has an underscore.
        """
        return f"{prefix}-shared_{self.name}"

    def bind(self, prefix: str) -> str:
        """Return what the hub asks the guard for."""
        return f"{self.volume(prefix)}:{self.target}:{self.mode}"


def parse(text: str) -> tuple[SharedFolder, ...]:
    """Parse a JSON list of folders.

    Raises:
        ValueError: it is something else.
    """
    found = tuple(map(_folder, parsing.elements(text)))
    if len({folder.name for folder in found}) != len(found):
        raise ValueError(text)
    return found


def root(text: str) -> str:
    """Parse the path below which folders are; may be empty.

    Raises:
        ValueError: it is no path.
    """
    if text and not _PATH.fullmatch(text):
        raise ValueError(text)
    return text


def outside(folders: Iterable[SharedFolder], below: str) -> list[str]:
    """Return what is wrong with the paths of folders, a sentence each."""
    return [
        f"the shared folder {folder.name} is at {folder.path}, but must be below ZHUB_SHARED_ROOT"
        for folder in folders
        if folder.path and not (below and folder.path.startswith(f"{below}/"))
    ]


def _folder(item: Any) -> SharedFolder:
    if not isinstance(item, dict) or not item.keys() <= _KEYS:
        raise ValueError(item)
    name, mode = item.get("name"), item.get("mode")
    path = item.get("path", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or mode not in _MODES:
        raise ValueError(item)
    if not isinstance(path, str) or (path and not _PATH.fullmatch(path)):
        raise ValueError(item)
    return SharedFolder(
        name=name,
        read_only=_MODES[mode],
        groups=parsing.strings(item.get("groups", [])),
        profiles=parsing.strings(item.get("profiles", [])),
        path=str(PurePosixPath(path)) if path else "",
    )


def granted(
    folders: Iterable[SharedFolder], groups: Collection[str], profile: str | None
) -> tuple[SharedFolder, ...]:
    """Return the folders that a server with that profile, of a member of these groups, gets."""
    return tuple(folder for folder in folders if folder.open_to(groups, profile))


def revoked(
    folders: Iterable[SharedFolder],
    groups: Collection[str],
    profile: str | None,
    grants: Iterable[str],
) -> list[str]:
    """Return the names of the folders that a server has and may not have any more."""
    allowed = {folder.grant for folder in granted(folders, groups, profile)}
    # Who may write may also read.
    allowed |= {f"{grant.removesuffix(':rw')}:ro" for grant in allowed if grant.endswith(":rw")}
    return [grant.rpartition(":")[0] for grant in grants if grant not in allowed]
