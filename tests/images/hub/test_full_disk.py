"""Logins go on where the disk with the hub's database is full; here a small file system in memory.

tests/engine/test_full_disk.py has a stack on an engine whose disk is full.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.built import wait_until
from tests.images.hub import real_hub, slapd
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

LOGINS = 30


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40M", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def in_the_database(file: Path) -> bool:
    """Whether all of the log is in the database, which writes what is not."""
    with closing(sqlite3.connect(file)) as connection:
        _, frames, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(frames == done)


def test_logins_go_on(disk: Path, tmp_path: Path) -> None:
    with slapd.running(tmp_path / "slapd") as directory:
        ldap = directory.everybody()
        folder = disk / "hub"
        folder.mkdir()
        (folder / "hub.log").symlink_to(tmp_path / "hub.log")
        with real_hub.running(folder, ldap) as hub:
            wait_until(lambda: hub.database.stat().st_size > 8 << 20, seconds=30)
            # The file is as large before the last page of the log is in it and the log begins anew.
            wait_until(lambda: in_the_database(hub.database), seconds=30)
            with (disk / "fill").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            assert not shutil.disk_usage(disk).free
            for _ in range(LOGINS):
                hub.browser("bob", PASSWORDS["bob"])
            token = hub.token("bob", PASSWORDS["bob"])
            assert token.status_code == 201
            assert not shutil.disk_usage(disk).free
        assert "disk is full" not in hub.log
