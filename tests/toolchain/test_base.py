"""Base images from a Debian mirror."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toolchain.conftest import serving
from toolchain import base, snapshot
from toolchain.console import Problem
from toolchain.sources import Mirrors


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(snapshot, "archives", list)
    return tmp_path / "cache" / "base"


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for mmdebstrap with a mirror that gives s390x only as the file `gives` says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "mmdebstrap"
    script.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$*" >> "$0.calls"\n'
        'for last; do case "$last" in *.tar) tar=$last;; esac; done\n'
        'case "$*" in *architectures=s390x*)\n'
        '  grep -qF "$last" "$0.gives" || { echo "E: File has unexpected size"; exit 25; };;\n'
        'esac\necho "$last" > "$tar"\n'
    )
    script.chmod(0o755)
    (folder / "arch-test").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    mirrors = Mirrors("http://mirror.example/debian", "http://mirror.example/debian-security")
    monkeypatch.setattr(base, "mirrors", lambda: mirrors)
    return script


def test_the_next_way_is_taken_and_said_where_the_mirror_is_out_of_step(
    mmdebstrap: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mmdebstrap.with_suffix(".gives").write_text("deb http://mirror.example/debian stable main\n")
    base.bootstrap(["s390x", "amd64"])
    shown = capsys.readouterr().err
    assert "trixie alone: failed (E: File has unexpected size)" in shown
    assert "warning: the mirror's trixie does not verify now, its alias `stable` does" in shown
    for architecture in ("s390x", "amd64"):
        record = json.loads((cache / f"trixie-{architecture}.json").read_text())
        assert record["title"] == "the alias stable"
        assert "stable main" in (cache / f"trixie-{architecture}.tar").read_text()


def test_the_checks_of_apt_are_asked_for_in_every_way(mmdebstrap: Path) -> None:
    mmdebstrap.with_suffix(".gives").write_text("deb http://mirror.example/debian stable main\n")
    base.bootstrap(["s390x"])
    calls = mmdebstrap.with_suffix(".calls").read_text().splitlines()
    assert len(calls) == 3
    for call in calls:
        assert 'Acquire::Check-Valid-Until "true"' in call
        assert 'Acquire::AllowInsecureRepositories "false"' in call
        assert "trusted=yes" not in call


def test_nothing_is_left_and_the_old_is_kept_where_no_way_works(
    mmdebstrap: Path, cache: Path
) -> None:
    mmdebstrap.with_suffix(".gives").write_text("nothing\n")
    cache.mkdir(parents=True)
    (cache / "trixie-amd64.tar").write_text("of a better day")
    with pytest.raises(Problem, match="unexpected size"):
        base.bootstrap(["amd64", "s390x"])
    assert [path.name for path in cache.iterdir()] == ["trixie-amd64.tar"]
    assert (cache / "trixie-amd64.tar").read_text() == "of a better day"


@pytest.fixture
def unsigned_mirror(tmp_path: Path) -> Iterator[str]:
    """A mirror on loopback whose suites nobody has signed."""
    root = tmp_path / "mirror"
    for suite in ("trixie", "stable"):
        folder = root / "debian" / "dists" / suite
        folder.mkdir(parents=True)
        (folder / "Release").write_text(f"Suite: {suite}\nCodename: trixie\nSHA256:\n")
    with serving(root) as address:
        yield f"{address}/debian"


def test_a_mirror_nobody_signed_is_refused_in_every_way(
    unsigned_mirror: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "mirrors", lambda: Mirrors(unsigned_mirror, None))
    with pytest.raises(Problem, match="is not signed") as caught:
        base.bootstrap(["amd64"])
    assert str(caught.value).count("is not signed") >= 2
    assert list(cache.iterdir()) == []
