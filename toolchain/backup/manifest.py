"""What a backup consists of: `manifest.json`, without which a folder is no backup."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.backup.inside import BLOCK
from toolchain.console import Problem

FILE = "manifest.json"

#: The newest layout that this program writes and reads. A backup has the oldest one that will do,
#: so that earlier programs restore it: 3 if a home is missing, 2 with shared folders, else 1.
FORMAT = 3

#: Ends the name of a folder that is being written or removed.
PARTIAL = ".partial"

STATE = "state.tar.gz"
HOMES = "homes"
SHARED = "shared"
PULUMI = "pulumi-state.json"
CONFIG = "stack.yaml"
PASSPHRASE = "passphrase"  # noqa: S105 - the name of a file

#: Added to the names of encrypted files.
ENCRYPTED = ".gpg"

#: The only files that a manifest may name: a changed one must not lead out of its folder.
NAME = re.compile(
    rf"(?:{re.escape(STATE)}|(?:{HOMES}|{SHARED})/[A-Za-z0-9_.-]+\.tar\.gz"
    rf"|{re.escape(PULUMI)}|{re.escape(CONFIG)}|{PASSPHRASE})(?:{re.escape(ENCRYPTED)})?"
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a backup."""

    file: str
    """Its path in the backup's folder."""
    bytes: int
    sha256: str
    """Of the file as it is, encrypted or not."""
    content: str = ""
    """SHA-256 of what was packed, before encryption; empty where nobody asks for it."""
    user: str = ""
    """Whose home it is."""
    warnings: tuple[str, ...] = ()
    """What tar said, such as that a file changed while it was read."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A backup, as it describes itself."""

    format: int
    made: str
    """When, in UTC (ISO 8601)."""
    stack: str
    prefix: str
    engine: str
    """The address, and the engine's own id."""
    program: str
    """The commit of the program that made the backup."""
    jupyterhub: str
    """The version of the hub whose database it is."""
    revision: str
    """Of the database's schema, as JupyterHub names it."""
    encrypted: bool
    users: tuple[str, ...]
    parts: tuple[Part, ...]
    failed: tuple[str, ...] = ()
    """Users whose homes could not be read: the backup does not have them."""
    failed_shared: tuple[str, ...] = ()
    """Shared folders that could not be read."""

    def missing(self) -> str:
        """What could not be read, in words; empty if the backup is whole."""
        kinds = {"homes": self.failed, "shared folders": self.failed_shared}
        return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)

    def part(self, name: str) -> Part:
        """The part that has this name, encrypted or not.

        Raises:
            Problem: there is none.
        """
        for part in self.parts:
            if part.file.removesuffix(ENCRYPTED) == name:
                return part
        raise Problem(f"the backup of {self.stack} of {self.made} has no {name}")

    def homes(self) -> dict[str, Part]:
        """The homes, by the ends of their volumes' names."""
        return self._below(HOMES)

    def shared(self) -> dict[str, Part]:
        """The folders that several users share, by name."""
        return self._below(SHARED)

    def _below(self, folder: str) -> dict[str, Part]:
        return {
            part.file.removesuffix(ENCRYPTED).removeprefix(f"{folder}/").removesuffix(".tar.gz"): (
                part
            )
            for part in self.parts
            if part.file.startswith(f"{folder}/")
        }

    def write(self, folder: Path) -> None:
        """Write it, to the disk."""
        found = asdict(self)
        if not self.missing():
            # Earlier programs do not know them, and read whole backups.
            del found["failed"], found["failed_shared"]
        with (folder / FILE).open("w") as file:
            json.dump(found, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """Read a backup's manifest.

    Raises:
        Problem: the folder is no whole backup, or one of a newer program.
    """
    file = folder / FILE
    if not file.is_file():
        why = "it was interrupted" if folder.name.endswith(PARTIAL) else f"it has no {FILE}"
        raise Problem(f"{folder} is no whole backup: {why}")
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        if found["format"] > FORMAT:
            raise Problem(
                f"{folder} was made by a newer release of this program ({found['program']}): "
                "restore it with that one"
            )
        parts = tuple(
            Part(**{**part, "warnings": tuple(part["warnings"])}) for part in found.pop("parts")
        )
        found |= {key: tuple(found.get(key, ())) for key in ("failed", "failed_shared")}
        manifest = Manifest(**{**found, "users": tuple(found["users"]), "parts": parts})
        wrong = [part.file for part in parts if not NAME.fullmatch(part.file)]
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(f"{file} is damaged: {error!r}") from None
    if wrong:
        raise Problem(f"{file} names {', '.join(wrong)}, which no backup has: nothing was read")
    return manifest


def blocks(file: Path) -> Iterator[bytes]:
    """The content of a file, in pieces."""
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    for block in blocks(file):
        digest.update(block)
    return digest.hexdigest()


def check(folder: Path, part: Part) -> None:
    """Check that a file is the one that was written.

    Raises:
        Problem: it is not.
    """
    file = folder / part.file
    if not file.is_file():
        raise Problem(f"{file} is missing: nothing was restored")
    size = file.stat().st_size
    if size != part.bytes or checksum(file) != part.sha256:
        raise Problem(
            f"{file} is not what was backed up: it has {size} bytes of {part.bytes}, or another "
            "checksum. Nothing was restored; take another backup"
        )
