"""File systems of their own, in files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LARGE = 1 << 20
"""Bytes of the file in the subvolume."""


def mount_new(file: Path, folder: Path, size: int, *mkfs: str) -> None:
    """Make a file system in a new file and mount it in a new folder; as root.

    Args:
        file: where it is.
        folder: where it is mounted. Whoever asks for it unmounts it.
        size: of the file, in bytes.
        mkfs: the command that makes it, without the file.
    """
    with file.open("wb") as made:
        made.truncate(size)
    subprocess.run([*mkfs, file], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", file, folder], check=True)


@contextmanager
def home_with_a_subvolume(folder: Path) -> Iterator[Path]:
    """Mount a disk in the folder; yields a home in it with a large file in a subvolume."""
    if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
        pytest.skip("a subvolume needs root and mkfs.btrfs: apt-get install btrfs-progs")
    disk = folder / "disk"
    mount_new(folder / "file", disk, 200 << 20, "mkfs.btrfs", "-q")
    try:
        inner = disk / "home" / "inner"
        inner.parent.mkdir()
        subprocess.run(["btrfs", "-q", "subvolume", "create", inner], check=True)
        with (inner / "large").open("wb") as content:
            content.write(os.urandom(LARGE))
            os.fsync(content.fileno())
        yield inner.parent
    finally:
        subprocess.run(["umount", disk], check=True)
