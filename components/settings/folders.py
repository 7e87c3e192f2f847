"""Settings of folders that several users share."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from components.settings import homes, ldap_entries, machine_path, parsing
from components.settings.config import Config
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_KEYS = ("name", "groups", "profiles", "mode", "path")

#: Who may get a folder, each with a value for the command that fixes it.
EXAMPLES = {"groups": "cn=research,ou=groups,dc=example,dc=org", "profiles": "large"}


class Mode(StrEnum):
    """What users may do in a folder."""

    READ_ONLY = "read-only"
    READ_WRITE = "read-write"

    @property
    def short(self) -> str:
        """As engines write it."""
        return {Mode.READ_ONLY: "ro", Mode.READ_WRITE: "rw"}[self]


@dataclass(frozen=True, kw_only=True)
class SharedFolder:
    """A folder that several users have in their servers, at /shared/NAME."""

    name: str
    mode: Mode
    groups: tuple[str, ...] = ()
    """DNs of the groups whose members get it; with no profiles either, everybody does."""
    profiles: tuple[str, ...] = ()
    """Names of the profiles whose servers get it, whoever has them."""
    path: str = ""
    """Where it is on the engine's machine; empty for a volume of the engine."""


@dataclass(frozen=True, kw_only=True)
class SharedFolders:
    """All shared folders of a stack."""

    folders: tuple[SharedFolder, ...] = ()
    root: str = ""
    """Folder of the engine's machine that those with a path are below."""


def _set(number: int, key: str, value: str) -> str:
    return shlex.join(
        ["pulumi", "config", "set", "--path", f"sharedFolders[{number}].{key}", value]
    )


def _remove(number: int, key: str = "") -> str:
    path = f"sharedFolders[{number}]" + (f".{key}" if key else "")
    return shlex.join(["pulumi", "config", "rm", "--path", path])


def _folder(number: int, item: Any) -> SharedFolder:
    if not isinstance(item, dict):
        raise RefusedError(f"element {number} is no folder with a name", fix=_remove(number))
    name = item.get("name", "")
    about = f"folder {json.dumps(name)}"
    if unknown := sorted(item.keys() - set(_KEYS)):
        raise RefusedError(
            f"{about} has {unknown[0]}, which is none of {', '.join(_KEYS)}",
            fix=_remove(number, unknown[0]),
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RefusedError(
            f"{about}: the name is not of a-z, 0-9 and -, at most 32 of them",
            fix=_set(number, "name", "project"),
        )
    mode = item.get("mode", Mode.READ_ONLY)
    if mode not in list(Mode):
        raise RefusedError(
            f"{about}: the mode {json.dumps(mode)} is none of {', '.join(Mode)}",
            fix=_set(number, "mode", Mode.READ_ONLY),
        )
    folder = SharedFolder(
        name=name,
        mode=Mode(mode),
        groups=_groups(number, about, item.get("groups", [])),
        profiles=_profiles(number, about, item.get("profiles", [])),
        path=_path(number, about, item.get("path", "")),
    )
    for key, example in EXAMPLES.items():
        if key in item and not (folder.groups or folder.profiles):
            # As `pulumi config rm` leaves it of the last one; it must not be everybody's by that.
            raise RefusedError(
                f"{about}, {key}: names none; leave it out if everybody may have the folder",
                fix=_set(number, f"{key}[0]", example),
            )
    return folder


def _list_fix(number: int, key: str, error: RefusedError) -> str:
    """The commands that fix a list of those who get a folder, which is never left without any."""
    element = _set(number, f"{key}[{error.item or 0}]", EXAMPLES[key])
    if error.item is None:
        # Not a list so far, so nothing could be put into it.
        return f"{_remove(number, key)}\n{element}"
    return _remove(number, f"{key}[{error.item}]") if error.superfluous else element


def _groups(number: int, about: str, groups: Any) -> tuple[str, ...]:
    try:
        return parsing.dns(json.dumps(groups))
    except RefusedError as error:
        fix = _list_fix(number, "groups", error)
        raise RefusedError(f"{about}, groups: {error}", fix=fix) from None


def _profiles(number: int, about: str, profiles: Any) -> tuple[str, ...]:
    try:
        return parsing.list_of(str)(json.dumps(profiles))
    except RefusedError as error:
        fix = _list_fix(number, "profiles", error)
        raise RefusedError(f"{about}, profiles: {error}", fix=fix) from None


def _path(number: int, about: str, path: Any) -> str:
    """A path below the root; a relative one for the operator, so that it cannot be elsewhere."""
    parts = path.split("/") if isinstance(path, str) and path else []
    usable = isinstance(path, str) and all(
        re.fullmatch(r"[A-Za-z0-9_@+][A-Za-z0-9._@+-]*", part) for part in parts
    )
    if not usable:
        raise RefusedError(
            f"{about}: the path {json.dumps(path)} is not one below sharedRoot, such as data/2026",
            fix=_set(number, "path", "data"),
        )
    return str(path)


def _folders(text: str) -> tuple[SharedFolder, ...]:
    """Lists of folders, each of another name, none at a path within another's."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        raise RefusedError("not a list of folders", fix=SHARED_FOLDERS.remove_command())
    found: list[SharedFolder] = []
    for number, item in enumerate(items):
        folder = _folder(number, item)
        for other in found:
            if folder.name == other.name:
                raise RefusedError(
                    f'folder "{folder.name}" is given twice', fix=_set(number, "name", "other")
                )
            inner, outer = sorted((folder.path, other.path), key=len, reverse=True)
            if outer and inner.startswith(f"{outer}/"):
                raise RefusedError(
                    f"the path {inner} is in another folder's, {outer}: who may write there could"
                    " put a link in its place",
                    fix=_set(number, "path", f"{folder.name}-data"),
                )
        found.append(folder)
    return tuple(found)


SHARED_FOLDERS = Setting(
    "sharedFolders",
    (),
    (
        "Folders that several users have in their servers, at /shared/NAME: each a name, groups"
        " (DNs) or profiles (neither for everybody), a mode (read-only or read-write) and perhaps"
        " a path below sharedRoot; docs/shared-folders.md"
    ),
    _folders,
    example="project",
    member="name",
)
SHARED_ROOT = Setting(
    "sharedRoot",
    "",
    "Folder of the engine's machine below which are the sharedFolders that have a path",
    parsing.or_none(machine_path.parse),
    example="/srv/shared",
)


def refuse_in_homes(config: Config, shared: SharedFolders, paths: Iterable[str]) -> None:
    """Note folders that are in one for homes, or around it.

    Who may write there could put a link in a home's place, which the engine would follow.

    Args:
        config: of the stack.
        shared: its shared folders.
        paths: of folders with homes in them.
    """
    for number, folder in enumerate(shared.folders):
        at = folder.path
        for path in paths if at else ():
            if not (machine_path.within(at, path) or machine_path.within(path, at)):
                continue
            command = _set(number, "path", f"{folder.name}-data")
            if machine_path.within(shared.root, path):
                usable = not machine_path.within(SHARED_ROOT.example, path)
                command = SHARED_ROOT.set_command() if usable else homes.HOMES_PATH.set_command()
            config.clash(
                SHARED_FOLDERS,
                f"has {folder.name} at {at}, and homes are in {path}: neither may be in the other",
                command,
            )


def refuse_without_profile(config: Config, shared: SharedFolders, profiles: Iterable[str]) -> None:
    """Note folders for servers of a profile that the stack has not."""
    known = list(profiles)
    for number, folder in enumerate(shared.folders):
        missing = [name for name in folder.profiles if name not in known]
        for name in missing:
            there = f"there are {', '.join(known)}" if known else "there are none"
            item = f"profiles[{folder.profiles.index(name)}]"
            # Without groups and profiles, everybody would get it.
            if folder.groups or len(missing) < len(folder.profiles):
                commands = [_remove(number, item)]
            else:
                near = get_close_matches(name, known, n=1, cutoff=0)
                commands = [_set(number, item, one) for one in near]
                commands.append(f"{'or ' if near else ''}{_remove(number)}")
            config.clash(
                SHARED_FOLDERS,
                f"has {folder.name} for the profile {json.dumps(name)}, but {there}",
                *commands,
            )


def read(config: Config, *, recheck: bool) -> SharedFolders:
    """Read the settings of shared folders.

    Args:
        config: of the stack.
        recheck: whether the hub can look users' groups up at any time.
    """
    folders = config.value(SHARED_FOLDERS)
    root = config.value(SHARED_ROOT) or ""
    at_path = [folder for folder in folders if folder.path]
    if not config.refused & {SHARED_FOLDERS, SHARED_ROOT}:
        if at_path and not root:
            config.clash(
                SHARED_ROOT,
                f"must be set, since the shared folder {at_path[0].name} has a path",
                SHARED_ROOT.set_command(),
            )
        if root and not at_path:
            config.clash(
                SHARED_ROOT,
                "has no use, since no shared folder has a path",
                SHARED_ROOT.remove_command(),
            )
        if not recheck:
            of_groups = [folder.name for folder in folders if folder.groups]
            ldap_entries.refuse_groups(config, SHARED_FOLDERS, of_groups)
    return SharedFolders(
        folders=tuple(
            SharedFolder(
                name=one.name,
                mode=one.mode,
                groups=one.groups,
                profiles=one.profiles,
                path=f"{root}/{one.path}" if one.path else "",
            )
            for one in folders
        ),
        root=root,
    )
