"""The folder that backups are in: when one is whole, which ones go, and what killed ones leave."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from toolchain.backup.manifest import PARTIAL, read
from toolchain.console import Problem, say

STEP = "backup"

#: Seconds without a change after which what another machine has begun counts as left behind.
ABANDONED = 24 * 3600

#: Ends the name of a backup: when it was begun, in UTC.
_TIME = "%Y%m%dT%H%M%SZ"

#: `made` in manifests.
_MADE = "%Y-%m-%dT%H:%M:%SZ"


def target(place: Path, name: str, now: datetime) -> Path:
    """The folder of a stack's backup that begins now (UTC)."""
    return place / f"{name}-{now:{_TIME}}"


def made(now: datetime) -> str:
    """A time (UTC) as manifests have it."""
    return f"{now:{_MADE}}"


def _unfinished(folder: Path) -> Path:
    """The folder while it is written or removed; its name has this machine's.

    Others may write to the same share, where a lock of theirs does not show.
    """
    return folder.with_name(f".{folder.name}.{_host()}{PARTIAL}")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """A folder that becomes the target when all went well, and is removed otherwise.

    It is locked as long as this process lives, so that the next backup knows what was left behind.

    Raises:
        Problem: the target exists.
    """
    if target.exists():
        raise Problem(f"{target} exists already. Try again")
    folder = _unfinished(target)
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        os.fsync(lock)
        folder.rename(target)
        _sync(target.parent)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        # What finds no room while it writes does not say where.
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            error.filename = error.filename or str(target)
        raise
    finally:
        os.close(lock)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sweep(place: Path, name: str) -> None:
    """Remove what backups of this stack have left that were killed.

    What another machine has begun goes when nothing has changed in it for a day.
    """
    # A stack's name may be the beginning of another one's.
    ours = re.compile(rf"\.{re.escape(name)}-\d{{8}}T\d{{6}}Z(?:\.([\w-]+))?{re.escape(PARTIAL)}")
    for folder in place.iterdir():
        found = ours.fullmatch(folder.name)
        if not found:
            continue
        if _locked(folder) if found[1] == _host() else _in_use(folder):
            continue  # another backup is being made
        say(STEP, f"removing what an interrupted backup has left: {folder}")
        shutil.rmtree(folder)


def _locked(folder: Path) -> bool:
    """Whether a process of this machine writes to it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _in_use(folder: Path) -> bool:
    """Whether anything has changed in it lately."""
    try:
        last = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return True  # at this moment
    return last > time.time() - ABANDONED


def forget(new: Path, keep: int) -> None:
    """Remove the oldest backups of a stack, but never the one that was just made.

    Args:
        new: its folder, beside the others.
        keep: how many to keep, with this one.
    """
    this = read(new)
    now = made(datetime.now(UTC))
    older = []
    for folder in new.parent.glob(f"{this.stack}-*Z"):
        try:
            found = read(folder)
        except Problem:
            continue  # not ours to remove
        # Stacks of two projects may have the same name, and differ in their prefix.
        if folder == new or (found.stack, found.prefix) != (this.stack, this.prefix):
            continue
        if found.made > now:
            say(
                STEP,
                f"WARNING: {folder} says that it is from the future, {found.made}: a clock was",
            )
            say(STEP, "or is wrong. It is left alone, and KEEP does not count it")
            continue
        older.append((found.made, folder))
    older.sort(reverse=True)
    for _, folder in older[keep - 1 :]:
        say(STEP, f"removing an old backup: {folder}")
        # Half removed, it must not be taken for a backup.
        gone = _unfinished(folder)
        folder.rename(gone)
        shutil.rmtree(gone)
