"""A checkout made with another umask builds the same images."""

from __future__ import annotations

import logging
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from components import checkout
from plugins.docker.context import digest
from tests.components.recorder import run_alone
from toolchain.places import ROOT

IMAGES = ("directory", "filter", "hub", "notebook")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    """What the operator reads, by its level."""
    caplog.set_level(logging.INFO)

    def texts(level: int) -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno == level]

    return texts


@pytest.fixture
def clone(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a copy of the images' folder, with the modes that git gives files at a umask."""

    def make(umask: int) -> Path:
        copy = tmp_path / f"{umask:03o}" / "images"
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "images", copy, symlinks=True, ignore=left_out)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod((0o777 if executable else 0o666) & ~umask)
        return copy

    return make


def settle(images: Path) -> None:
    """Run what is tried out as a program."""
    run_alone(lambda: checkout.settle_modes(images))


def digests(images: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The digests that images built from there have, as the docker plugin computes them."""
    monkeypatch.chdir(images.parent)
    return {name: digest("images", f"images/{name}/Dockerfile") for name in IMAGES}


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o002, 0o007, 0o027, 0o077], ids=oct)
def test_the_umask_of_a_clone_does_not_count(
    umask: int,
    clone: Callable[[int], Path],
    said: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = digests(clone(0o022), monkeypatch)
    images = clone(umask)
    assert digests(images, monkeypatch) != usual
    settle(images)
    assert digests(images, monkeypatch) == usual
    # What containers' users read is not only the same for the digest.
    for path in (images, *images.rglob("*")):
        assert path.stat().st_mode & 0o044 == 0o044, path
        assert not path.is_dir() or path.stat().st_mode & 0o011 == 0o011, path
    [line] = said(logging.INFO)
    assert line.startswith("images/: set the modes of ")
    assert not said(logging.WARNING)


def test_a_usual_clone_is_left_alone(
    clone: Callable[[int], Path], said: Callable[[int], list[str]]
) -> None:
    images = clone(0o022)
    before = {path: path.stat().st_ctime_ns for path in images.rglob("*")}
    settle(images)
    assert {path: path.stat().st_ctime_ns for path in images.rglob("*")} == before
    assert not said(logging.INFO) + said(logging.WARNING)


def test_who_shares_a_checkout_may_still_pull(clone: Callable[[int], Path]) -> None:
    """Git makes files anew, for which the group needs the directories."""
    images = clone(0o002)
    settle(images)
    assert all(path.stat().st_mode & 0o020 for path in images.rglob("*") if path.is_dir())


def test_what_cannot_be_set_is_said_with_the_command(said: Callable[[int], list[str]]) -> None:
    # Files that nobody may give other modes, root neither.
    fixed = Path("/proc/sys/kernel/random")
    if not fixed.exists():
        pytest.skip("no /proc/sys here")
    settle(fixed)
    [line] = said(logging.WARNING)
    assert re.match(r"random/\w+ has mode 444 instead of 644 \([A-Z][a-z -]+\): ", line)
    assert "chmod -R u=rwX,go=rX images" in line


def test_a_file_system_without_modes_is_named(
    clone: Callable[[int], Path],
    said: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = clone(0o022)
    (images / "filter" / "Dockerfile").chmod(0o664)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    settle(images)
    [line] = said(logging.WARNING)
    assert "mode 664 instead of 644 (the file system's own)" in line


LEFT = ("site.py~", ".site.py.swp", ".DS_Store", "site.py.orig", "site.py.rej")


#: A folder that is copied as it is, of each image that has one.
COPIED = {
    "hub": "hub/zhub/front",
    "notebook": "notebook/zsingleuser",
    "profile": "build",
    "proxy": "proxy/rootfs/usr/local/bin",
    "directory": "directory/rootfs/etc/ldap",
}


def test_what_editors_leave_in_a_clone_changes_no_image(clone: Callable[[int], Path]) -> None:
    """Otherwise the next `up` from that clone would replace the hub."""
    images = clone(0o022)

    def digests() -> dict[str, str]:
        return {one: digest(str(images), str(images / one / "Dockerfile")) for one in COPIED}

    before = digests()
    for folder in COPIED.values():
        for name in LEFT:
            (images / folder / name).write_text("left")
    assert digests() == before
    for folder in COPIED.values():
        (images / folder / "more").write_text("part of the image")
    assert not digests().items() & before.items()


def test_a_clone_has_the_same_lines_wherever_it_is_made() -> None:
    """Git for Windows makes CRLF, which a shell takes for a part of the command."""
    asked = subprocess.run(
        [
            "git",
            "-c",
            "core.autocrlf=true",
            "check-attr",
            "text",
            "eol",
            "--",
            "images/build/tools.sh",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.rpartition(": ")[2] for line in asked.stdout.splitlines()] == ["auto", "lf"]
