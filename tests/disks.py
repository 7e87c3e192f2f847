"""A file system with subvolumes, in a file."""

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


@contextmanager
def home_with_a_subvolume(folder: Path) -> Iterator[Path]:
    """Mount a disk in the folder; yields a home in it with a large file in a subvolume."""
    if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
        pytest.skip("a subvolume needs root and mkfs.btrfs: apt-get install btrfs-progs")
    file, disk = folder / "file", folder / "disk"
    with file.open("wb") as made:
        made.truncate(200 << 20)
    disk.mkdir()
    for command in (f"mkfs.btrfs -q {file}", f"mount -o loop {file} {disk}"):
        subprocess.run(command.split(), check=True, stderr=subprocess.DEVNULL)
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
