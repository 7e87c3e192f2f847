"""What a folder must be to count as a backup."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolchain.backup import manifest
from toolchain.backup.manifest import FORMAT, Manifest, Part, checksum
from toolchain.console import Problem

WHOLE = Manifest(
    format=FORMAT,
    made="2026-11-29T03:00:00Z",
    stack="site",
    prefix="zhub-site",
    engine="local ABCD",
    program="0db4f5d",
    jupyterhub="6.1.1",
    revision="f460b0348206",
    encrypted=False,
    users=("alice", "anna.maier"),
    parts=(
        Part(file="state.tar.gz", bytes=1, sha256="a", content="a"),
        Part(file="homes/anna-2emaier.tar.gz", bytes=2, sha256="b", user="anna.maier"),
        Part(file="shared/team.tar.gz", bytes=2, sha256="d"),
        Part(file="stack.yaml.gpg", bytes=3, sha256="c", warnings=("changed",)),
    ),
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    WHOLE.write(tmp_path)
    assert manifest.read(tmp_path) == WHOLE
    assert WHOLE.part("stack.yaml").bytes == 3
    assert list(WHOLE.homes()) == ["anna-2emaier"]
    assert list(WHOLE.shared()) == ["team"]
    with pytest.raises(Problem, match=r"has no pulumi-state\.json"):
        WHOLE.part("pulumi-state.json")


def test_what_could_not_be_read_is_in_it(tmp_path: Path) -> None:
    some = replace(WHOLE, failed=("bob", "carol"), failed_shared=("team",))
    some.write(tmp_path)
    assert manifest.read(tmp_path) == some
    assert some.missing() == "homes: bob, carol; shared folders: team"


def test_one_of_before_has_all(tmp_path: Path) -> None:
    """It does not have the fields; nor has a whole one, which programs of before read."""
    WHOLE.write(tmp_path)
    assert "failed" not in (tmp_path / manifest.FILE).read_text()
    assert not manifest.read(tmp_path).missing()


@pytest.mark.parametrize(
    "file",
    ["../state.tar.gz", "/etc/passwd", "homes/../x.tar.gz", "homes/a/b.tar.gz", "other", "homes/"],
)
def test_it_names_nothing_outside_its_folder(tmp_path: Path, file: str) -> None:
    part = Part(file=file, bytes=0, sha256="")
    replace(WHOLE, parts=(part,)).write(tmp_path)
    with pytest.raises(Problem, match="which no backup has: nothing was read"):
        manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": FORMAT + 1}, r"newer release of this program \(0db4f5d\)"),
        ({"parts": 1}, "is damaged"),
        ({"more": 1}, "is damaged"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    WHOLE.write(tmp_path)
    file = tmp_path / manifest.FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(Problem, match=said):
        manifest.read(tmp_path)


def test_a_folder_without_it_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"is no whole backup: it has no manifest\.json"):
        manifest.read(tmp_path)
    (tmp_path / manifest.FILE).write_text("{")
    with pytest.raises(Problem, match="is damaged"):
        manifest.read(tmp_path)


def test_a_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "state.tar.gz"
    file.write_bytes(b"content")
    part = Part(file=file.name, bytes=7, sha256=checksum(file))
    manifest.check(tmp_path, part)
    for wrong in (b"Content", b"conten", b""):
        file.write_bytes(wrong)
        with pytest.raises(Problem, match="is not what was backed up"):
            manifest.check(tmp_path, part)
    file.unlink()
    with pytest.raises(Problem, match="is missing: nothing was restored"):
        manifest.check(tmp_path, part)
