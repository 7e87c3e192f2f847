"""When a folder becomes a backup, and which ones go."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.toolchain.backup.test_manifest import WHOLE
from toolchain.backup import place
from toolchain.backup.manifest import PARTIAL
from toolchain.console import Problem

TIME = "20261129T030000Z"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gets_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / f"site-{TIME}"
    with place.making(target) as folder:
        (folder / "file").touch()
        assert folder.name.startswith(".")
        assert folder.name.endswith(PARTIAL)
        os.utime(folder, (0, 0))
        os.utime(folder / "file", (0, 0))
        place.sweep(tmp_path, "site")  # another backup, at the same time
        assert folder.exists()
    assert names(tmp_path) == [target.name]
    with pytest.raises(Problem, match="exists already"), place.making(target):
        pass


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "file").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), place.making(tmp_path / "site-1Z") as folder:
        fail(folder)
    assert not list(tmp_path.iterdir())


def left(folder: Path, name: str, host: str, age: float = 0) -> Path:
    """What a backup has left that was killed."""
    made = folder / f".{name}-{TIME}{host}{PARTIAL}"
    (made / "homes").mkdir(parents=True)
    for path in (made / "homes", made):
        os.utime(path, (time.time() - age,) * 2)
    return made


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The system does not say which file a write was for."""
    target = tmp_path / "site-1Z"
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        place.making(target),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert caught.value.filename == str(target)
    assert not list(tmp_path.iterdir())


def test_what_killed_backups_left_of_this_stack_goes(tmp_path: Path) -> None:
    own = f".{place._host()}"
    left(tmp_path, "site", own)
    # Their names begin or end as this one's.
    kept = [left(tmp_path, name, own) for name in ("other", "site-b", "my-site", "site-b-2026")]
    place.sweep(tmp_path, "site")
    assert names(tmp_path) == sorted(path.name for path in kept)


@pytest.mark.parametrize("host", [".elsewhere", ""])
def test_what_another_machine_writes_to_a_share_is_left_for_a_day(
    tmp_path: Path, host: str
) -> None:
    """Its lock does not show here. Programs of before did not write the machine's name."""
    other = left(tmp_path, "site", host, age=place.ABANDONED + 60)
    (other / "homes" / "alice.tar.gz").touch()
    place.sweep(tmp_path, "site")
    assert other.exists()
    for path in (other / "homes" / "alice.tar.gz", other / "homes", other):
        os.utime(path, (time.time() - place.ABANDONED - 60,) * 2)
    place.sweep(tmp_path, "site")
    assert not other.exists()


def whole(folder: Path, day: int, stack: str = "site", prefix: str = "zhub-site") -> Path:
    made = folder / f"{stack}-2020110{day}T030000Z"
    if prefix != "zhub-site":
        made = made.with_name(f"{stack}-2020110{day}T040000Z")
    made.mkdir()
    time_ = f"2020-11-0{day}T03:00:00Z"
    replace(WHOLE, stack=stack, prefix=prefix, made=time_).write(made)
    return made


def test_the_oldest_backups_of_the_stack_go(tmp_path: Path) -> None:
    kept = []
    for day in (1, 2, 3):
        new = whole(tmp_path, day)
        # Another stack, and one of another project with the same name.
        kept += [whole(tmp_path, day, "site-b"), whole(tmp_path, day, prefix="zhub-of-others")]
    (tmp_path / "site-of-somebody-Z").mkdir()
    place.forget(new, 2)
    assert names(tmp_path) == sorted(
        [
            *(path.name for path in kept),
            "site-20201102T030000Z",
            "site-20201103T030000Z",
            "site-of-somebody-Z",
        ]
    )
    place.forget(new, 14)
    place.forget(new, 1)
    assert "site-20201102T030000Z" not in names(tmp_path)
    assert new.exists()


def test_the_backup_that_was_just_made_stays_whatever_the_clock_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    future = tmp_path / "site-20360101T000000Z"
    future.mkdir()
    replace(WHOLE, made="2036-01-01T00:00:00Z").write(future)
    old, new = whole(tmp_path, 1), whole(tmp_path, 2)
    place.forget(new, 1)
    assert names(tmp_path) == [new.name, future.name]
    assert f"WARNING: {future} says that it is from the future" in capsys.readouterr().err
    # The clock is behind: this one is the oldest.
    older = tmp_path / "site-20190101T000000Z"
    older.mkdir()
    replace(WHOLE, made="2019-01-01T00:00:00Z").write(older)
    place.forget(older, 1)
    assert older.exists()
    assert not old.exists()
