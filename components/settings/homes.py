"""Where on the engine's machine users' homes are, and how large they should be at most."""

from __future__ import annotations

import json
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pulumi

from components.settings import machine_path, parsing
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

HOMES_PATH = Setting(
    "homesPath",
    "",
    "Folder of the engine's machine for users' homes, such as one of a file system with quotas or"
    " snapshots; empty for the engine's own; docs/homes.md says how to move homes",
    parsing.or_none(machine_path.parse),
    example="/srv/homes/zhub",
)

HOME_LIMIT = Setting(
    "homeLimit",
    "",
    "How large a user's home should be at most, such as 20G: users are warned from 80 % on, and the"
    " operator is told at 100 %; enforced only where docs/homes.md says; empty for no limit",
    parsing.or_none(parsing.size("128M", what="disk space", why="too little to work with")),
    example="20G",
)

#: The output with the folder that new homes are made in, then those before; empty for the engine's
#: own.
OUTPUT = "homesPaths"


@dataclass(frozen=True, kw_only=True)
class Homes:
    """Folders of the engine's machine."""

    path: str | None = None
    """Where new homes are made; None for the engine's own folder."""
    former: tuple[str, ...] = ()
    """Where homes may be as well, since they stay where they were made until they are moved."""
    limit: int | None = None
    """MiB that a home should not have more than; None for no limit."""

    def after(self, outputs: Mapping[str, Any], guard: Mapping[str, str] | None) -> Homes:
        """Return it with the folders that the stack had before.

        Args:
            outputs: of its last `up` that ended without an error.
            guard: the variables of its guard; None for a stack that has none. An `up` that failed
                may have made the guard anew, and homes in a folder that no output has.
        """
        guard = guard or {}
        former = json.loads(guard.get("ZHUB_FORMER_HOMES_PATHS", "[]"))
        known = {*outputs.get(OUTPUT, ()), guard.get("ZHUB_HOMES_PATH", ""), *former}
        return replace(self, former=tuple(sorted(known - {self.path, ""})))

    @property
    def paths(self) -> tuple[str, ...]:
        """All folders of the site's choice that homes may be in."""
        return (*filter(None, [self.path]), *self.former)

    @property
    def output(self) -> list[str]:
        """What the next run has to know; nothing for a stack that never had a folder."""
        return [self.path or "", *self.former] if self.path or self.former else []

    def changes(self, outputs: Mapping[str, Any]) -> list[str]:
        """What to know before an `up` that changes the folder; nothing where it stays."""
        if "prefix" not in outputs:
            return []  # of a stack that was never up
        before = next(iter(outputs.get(OUTPUT, ())), "")
        if before == (self.path or ""):
            return []
        return [
            (
                f"homesPath changes from {before or _OWN} to {self.path or _OWN}: homes that are"
                " there stay there and go on working, and new ones are made in the new place. To"
                f" move them, after this up: make homes STACK={pulumi.get_stack()}"
            )
        ]


_OWN = "the engine's own folder"

#: What a folder's mode lets its group write, and all of the machine's users do.
OPEN = 0o027


def refuse_unusable(path: str, root: str | None) -> None:
    """Refuse a folder that an engine on this machine cannot use.

    Args:
        path: the folder.
        root: where the engine keeps its own; None if it does not answer.

    Raises:
        RefusedError: it is the engine's own, not there, or not for root alone.
    """
    if root and (machine_path.within(path, root) or machine_path.within(root, path)):
        raise RefusedError(
            f"the engine's own folder, {root}, or in it, or around it; name one elsewhere"
        )
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise RefusedError(
            "does not exist. If it belongs on a file system of its own, mount that first. Then, as"
            " root",
            fix=shlex.join(["install", "-d", "-m", "700", path]),
        ) from None
    except OSError:
        return  # this user may not see it; the engine may
    if not stat.S_ISDIR(mode):
        raise RefusedError("not a folder")
    if mode & OPEN:
        raise RefusedError(
            f"open to others than root (mode {stat.S_IMODE(mode):o}): they could read homes, or put"
            " links in their place, which the engine would follow. As root",
            fix=shlex.join(["install", "-d", "-o", "root", "-g", "root", "-m", "700", path]),
        )
