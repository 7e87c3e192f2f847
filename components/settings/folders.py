"""Settings of folders that several users share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from components.settings import homes, ldap_entries, machine_path, parsing
from components.settings.config import Config
from components.settings.objects import Objects, remove, some
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PART = re.compile(r"[A-Za-z0-9_@+][A-Za-z0-9._@+-]*")


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
    mode: Mode = Mode.READ_ONLY
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


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RefusedError("not a name of a-z, 0-9 and -, at most 32 of them, such as project")
    return value


def _mode(value: object) -> Mode:
    if not isinstance(value, str) or value not in list(Mode):
        raise RefusedError(f"not one of {', '.join(Mode)}")
    return Mode(value)


def _path(value: object) -> str:
    """A path below the root; a relative one for the operator, so that it cannot be elsewhere."""
    parts = value.split("/") if isinstance(value, str) and value else []
    if not isinstance(value, str) or not all(map(_PART.fullmatch, parts)):
        raise RefusedError("not a path below sharedRoot, such as data/2026")
    return value


EVERYBODY = "leave it out if everybody may have the folder"

FOLDER = Objects(
    key="sharedFolders",
    noun="folder",
    fields={
        "name": (_name, "project"),
        "groups": (
            some(parsing.dn, otherwise=EVERYBODY),
            "cn=research,ou=groups,dc=example,dc=org",
        ),
        "profiles": (some(str, otherwise=EVERYBODY), "large"),
        "mode": (_mode, Mode.READ_ONLY),
        "path": (_path, "data"),
    },
    lists={"groups", "profiles"},
    most=100,
)


def _folders(text: str) -> tuple[SharedFolder, ...]:
    """Lists of folders, each of another name, none at a path within another's."""
    found = tuple(SharedFolder(**given) for given in FOLDER(text))
    for number, folder in enumerate(found):
        for other in found[:number]:
            inner, outer = sorted((folder.path, other.path), key=len, reverse=True)
            if outer and inner.startswith(f"{outer}/"):
                raise RefusedError(
                    f"the path {inner} is in another folder's, {outer}: who may write there could"
                    " put a link in its place",
                    fix=_elsewhere(number, folder),
                )
    return found


def _elsewhere(number: int, folder: SharedFolder) -> str:
    """The command that puts the folder of that number at another path."""
    return FOLDER.set(number, "path", value=f"{folder.name}-data")


def _root(text: str) -> str:
    """A path whose parts are as those of folders below it: the guard takes no other."""
    path = machine_path.parse(text)
    if not all(map(_PART.fullmatch, path.split("/")[1:])):
        raise RefusedError("has a name that begins with . or -, as no shared folder's path may")
    return path


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
    parsing.or_none(_root),
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
            command = _elsewhere(number, folder)
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
            item = folder.profiles.index(name)
            # Without groups and profiles, everybody would get it.
            if folder.groups or len(missing) < len(folder.profiles):
                commands = [remove(f"sharedFolders[{number}].profiles[{item}]")]
            else:
                near = get_close_matches(name, known, n=1, cutoff=0)
                commands = [FOLDER.set(number, "profiles", item, value=one) for one in near]
                commands.append(f"{'or ' if near else ''}{remove(f'sharedFolders[{number}]')}")
            config.clash(
                SHARED_FOLDERS,
                f"has {folder.name} for the profile {json.dumps(name)}, but {there}",
                *commands,
            )


def changes(shared: SharedFolders, prefix: str, guard: Mapping[str, str] | None) -> list[str]:
    """What to know before an `up` that takes folders away or puts them elsewhere.

    Args:
        shared: the folders from now on.
        prefix: of the stack's names.
        guard: the variables of its guard, as it was; None for a stack that has none.
    """
    now = {one.name: one for one in shared.folders}
    found = []
    for one in json.loads((guard or {}).get("ZHUB_SHARED_FOLDERS", "[]")):
        name, writable = one["name"], one["mode"] == Mode.READ_WRITE.short
        volume = f"the volume {prefix}-shared_{name}"
        before = one.get("path") or volume
        if name not in now:
            found.append(
                f"sharedFolders has no {name} any more: the recheck stops servers with it, and its"
                f" files stay in {before}. A folder of another name does not have them"
            )
        elif before != (after := now[name].path or volume):
            found.append(
                f"sharedFolders: {name} changes from {before} to {after}: no files are moved, and"
                " servers that run keep the old place until their next start. How to move them:"
                " docs/shared-folders.md"
            )
        elif writable and now[name].mode is Mode.READ_ONLY:
            found.append(
                f"sharedFolders: {name} becomes read-only: the recheck stops servers that may write"
                " to it"
            )
    return found


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
            groups = {folder.name: folder.groups for folder in folders}
            ldap_entries.refuse_groups(config, SHARED_FOLDERS, groups)
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
