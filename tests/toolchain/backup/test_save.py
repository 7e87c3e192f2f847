"""When a folder becomes a backup, and which ones go; the real thing is in tests/engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.toolchain.backup.test_manifest import WHOLE
from toolchain.backup import save
from toolchain.backup.helper import Engine, Helpers, put_home, save_home, save_state
from toolchain.backup.manifest import PARTIAL
from toolchain.console import Problem


def test_a_folder_gets_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "site-20261129T030000Z"
    with save._making(target) as folder:
        (folder / "file").touch()
        assert folder.name == f".{target.name}{PARTIAL}"
        save._sweep(tmp_path, "site")  # another backup, at the same time
        assert folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    with pytest.raises(Problem, match="exists already"), save._making(target):
        pass


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "file").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), save._making(tmp_path / "site-1Z") as folder:
        fail(folder)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The system does not say which file a write was for."""
    target = tmp_path / "site-1Z"
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        save._making(target),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert caught.value.filename == str(target)
    assert not list(tmp_path.iterdir())


def test_what_killed_backups_left_of_this_stack_goes(tmp_path: Path) -> None:
    for name in ("site-20261129T030000Z", "other-20261129T030000Z"):
        (tmp_path / f".{name}{PARTIAL}" / "homes").mkdir(parents=True)
    save._sweep(tmp_path, "site")
    assert [path.name for path in tmp_path.iterdir()] == [f".other-20261129T030000Z{PARTIAL}"]


def test_the_oldest_backups_of_the_stack_go(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        for stack in ("site", "site-b"):
            folder = tmp_path / f"{stack}-2026110{day}T030000Z"
            folder.mkdir()
            made = f"2026-11-0{day}T03:00:00Z"
            replace(WHOLE, stack=stack, made=made).write(folder)
    (tmp_path / "site-of-somebody-Z").mkdir()
    save._forget(tmp_path, "site", 1)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [
        "site-20261103T030000Z",
        *(f"site-b-2026110{day}T030000Z" for day in (1, 2, 3)),
        "site-of-somebody-Z",
    ]


@pytest.mark.parametrize("keep", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_is_refused_first(tmp_path: Path, keep: str) -> None:
    with pytest.raises(Problem, match=f"KEEP={keep}: must be a whole number"):
        save.save("site", "docker", str(tmp_path), "", keep)


def options(*words: str) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_a_helper_has_the_least_rights() -> None:
    helpers = Helpers(Engine(("docker", "--host", "ssh://ops@z"), "zhub-site"), "sha256:abc")
    mount = "type=volume,source=zhub-site-home-a,target=/data,volume-nocopy"
    read = helpers.command(save_home("zhub-site-home-a"), "helper")
    state = helpers.command(save_state("v"), "helper")
    assert read[:4] == ["docker", "--host", "ssh://ops@z", "run"]
    assert f"{mount},readonly" in read
    for command in (read, state, helpers.command(put_home("v", "0"), "helper")):
        assert {
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--log-driver=none",
        } <= options(*command)
        assert not options(*command) & {"--privileged", "--volume", "--env-file"}
    assert [word for word in read if word.startswith("--cap-add")] == ["--cap-add=DAC_OVERRIDE"]
    assert "--user=1000:1000" in state
    assert not [word for word in state if word.startswith("--cap-add")]
