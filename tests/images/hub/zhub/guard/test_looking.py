"""What is seen of folders of the engine's machine; the helper here is this machine's own shell."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from zhub.guard.helpers import Helpers
from zhub.guard.looking import SEEN, look


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Helpers, command: list[str], **given: Any) -> str:
        [mount] = given["mounts"]
        there = [part.replace(SEEN, mount["Source"]) for part in command]
        return subprocess.run(there, capture_output=True, text=True, check=True).stdout

    monkeypatch.setattr(Helpers, "run", run)


HELPERS = Helpers(None, "image", "site")  # type: ignore[arg-type] # runs nothing


def test_owner_and_mode_of_each_folder_of_a_path_are_seen(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    inner.chmod(0o1757)
    root = PurePosixPath(tmp_path)
    found = look(HELPERS, root, "a", "b")
    assert [place.path for place in found] == [root, root / "a", root / "a" / "b"]
    assert {place.owner for place in found} == {os.getuid()}
    assert stat.S_IMODE(found[-1].mode) == 0o1757
    assert str(found[-1]) == f"{inner} (owner {os.getuid()}, mode 1757)"
    assert look(HELPERS, root) == found[:1]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("link/b", "/link is a link"),
        ("a/out", "/a/out is a link"),
        ("file", "/file is no folder"),
        ("a/missing", "/a/missing cannot be seen: No such file or directory"),
        ("missing/b", "/missing cannot be seen: No such file or directory"),
        ("file/b", "/file is no folder"),
    ],
)
def test_what_is_no_folder_at_the_end_of_folders_is_refused(
    tmp_path: Path, path: str, why: str
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a" / "out").symlink_to("/etc")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RuntimeError) as caught:
        look(HELPERS, PurePosixPath(tmp_path), *path.split("/"))
    assert str(caught.value) == f"{tmp_path}{why}"


@pytest.mark.parametrize("printed", ["", "0", "0 41ed x", "root 41ed"])
def test_a_helper_that_prints_something_else_has_seen_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str
) -> None:
    monkeypatch.setattr(Helpers, "run", lambda *_, **__: printed)
    with pytest.raises(RuntimeError, match="cannot be seen"):
        look(HELPERS, PurePosixPath(tmp_path))
