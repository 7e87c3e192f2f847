"""Where on the engine's machine users' homes are, and how large they should be at most."""

from __future__ import annotations

import json
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pulumi

from components.settings import machine_path, parsing
from components.settings.config import Config
from components.settings.disclosure import holds_a_secret, names_a_secret
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: Stands for the name of a home's volume in options.
HOME = "{home}"

#: What the place of a home ends in, with the driver `local`.
BY_HOME = f"/{HOME}"

LOCAL = "local"

_DRIVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}")
_OPTION = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,63})=(.+)", re.DOTALL)
_PASSWORD = re.compile(r"(^|,)\s*(pass\w*|pwd)\s*=", re.IGNORECASE)

#: Of an option's value.
LONGEST = 1024


def _driver(text: str) -> str:
    if not _DRIVER.fullmatch(text):
        raise RefusedError("not the name of a volume driver, such as local or vendor/plugin:1.2")
    return text


def option(text: str) -> str:
    """Options as NAME=VALUE, without secrets: whoever may inspect volumes can read them."""
    match = _OPTION.fullmatch(text)
    if not match:
        raise RefusedError("not an option, such as type=nfs", secret=holds_a_secret(text))
    name, value = match.groups()
    if names_a_secret(name) or holds_a_secret(value) or _PASSWORD.search(value):
        raise RefusedError(
            f"{name} holds what looks like a secret, which whoever may inspect volumes can read:"
            " have the driver take it from elsewhere, such as from its own configuration",
            secret=True,
            superfluous=True,
        )
    if not value.isprintable() or len(value) > LONGEST:
        raise RefusedError(f"{name} is not one line of at most {LONGEST} printable characters")
    return text


HOMES_PATH = Setting(
    "homesPath",
    "",
    "Folder of the engine's machine for users' homes, such as one of a file system with quotas or"
    " snapshots; empty for the engine's own; docs/homes.md says how to move homes",
    parsing.or_none(machine_path.parse),
    example="/srv/homes/zhub",
)

HOMES_DRIVER = Setting(
    "homesDriver",
    "",
    "Volume driver that users' homes are made with: a plugin of the site's storage, or local with"
    " options such as those of NFS; empty for folders of the engine's machine",
    parsing.or_none(_driver),
    example="local",
)

HOMES_OPTIONS = Setting(
    "homesOptions",
    (),
    "Options of homesDriver, each NAME=VALUE, in which {home} is the name of a home's volume; no"
    " secrets",
    parsing.assignments_of(option),
    example=f"device=:/export/homes{BY_HOME}",
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
    driver: str | None = None
    """Volume driver that new homes are made with; None for folders of the engine's machine."""
    options: tuple[str, ...] = ()
    """Of that driver, each NAME=VALUE."""

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
        if self.driver or before == (self.path or ""):
            return []
        return [
            (
                f"homesPath changes from {before or _OWN} to {self.path or _OWN}: homes that are"
                " there stay there and go on working, and new ones are made in the new place. To"
                f" move them, after this up: make homes STACK={pulumi.get_stack()}"
            )
        ]


def read(config: Config) -> Homes:
    """Read where homes are; note settings that do not go together."""
    found = Homes(
        path=config.value(HOMES_PATH),
        limit=config.value(HOME_LIMIT),
        driver=config.value(HOMES_DRIVER),
        options=config.value(HOMES_OPTIONS),
    )
    if config.refused & {HOMES_PATH, HOMES_DRIVER, HOMES_OPTIONS}:
        return found
    if found.options and not found.driver:
        config.clash(
            HOMES_OPTIONS,
            f"has no use without {HOMES_DRIVER}",
            HOMES_OPTIONS.remove_command(),
            f"or {HOMES_DRIVER.set_command()}",
        )
    if found.driver and found.path:
        config.clash(
            HOMES_PATH,
            f"is set, and so is {HOMES_DRIVER}: homes are in the one or with the other",
            HOMES_PATH.remove_command(),
            f"or {HOMES_DRIVER.remove_command()}",
        )
    devices = [one for one in found.options if one.startswith("device=")]
    if found.driver == LOCAL and not any(one.endswith(BY_HOME) for one in devices):
        number = found.options.index(devices[0]) if devices else len(found.options)
        config.clash(
            HOMES_OPTIONS,
            f"has no device that ends in {BY_HOME}, and with {HOMES_DRIVER} {LOCAL} it says where"
            " each home is: without, all users would have the same files",
            HOMES_OPTIONS.set_command(item=number),
        )
    return found


def refuse_change(config: Config, found: Homes, guard: Mapping[str, str] | None) -> None:
    """Note a driver that changes while the stack is up: the guard takes volumes of one only.

    Args:
        config: of the stack.
        found: its homes.
        guard: the variables of its guard; None for a stack that has none.
    """
    if guard is None or not (driver := guard.get("ZHUB_HOMES_DRIVER")):
        return
    options = json.loads(guard.get("ZHUB_HOMES_OPTIONS", "[]"))
    if config.refused & {HOMES_DRIVER, HOMES_OPTIONS}:
        return
    if (driver, tuple(options)) == (found.driver, found.options):
        return
    less = range(len(options), len(found.options))
    config.clash(
        HOMES_DRIVER if driver != found.driver else HOMES_OPTIONS,
        "changes, but a volume keeps the driver and the options that it was made with, and the"
        " stack is up with such homes. Keep it. To move homes: make backup, pulumi destroy, remove"
        " the homes' volumes (docker volume rm, on all nodes of a swarm), pulumi up, make restore."
        " To leave it as it is",
        HOMES_DRIVER.set_command(driver),
        *(HOMES_OPTIONS.set_command(one, item=number) for number, one in enumerate(options)),
        *(HOMES_OPTIONS.remove_command(item=number) for number in reversed(less)),
    )


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
