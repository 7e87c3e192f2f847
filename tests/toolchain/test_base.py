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

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(snapshot, "archives", list)
    return tmp_path / "cache" / "base"


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replaces mmdebstrap; for s390x it succeeds only with the sources in the file `gives`."""
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


def test_if_the_mirror_is_inconsistent_the_next_source_is_used(
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


def test_apts_checks_are_on_for_every_source(mmdebstrap: Path) -> None:
    mmdebstrap.with_suffix(".gives").write_text("deb http://mirror.example/debian stable main\n")
    base.bootstrap(["s390x"])
    calls = mmdebstrap.with_suffix(".calls").read_text().splitlines()
    assert len(calls) == 3
    for call in calls:
        assert 'Acquire::Check-Valid-Until "true"' in call
        assert 'Acquire::AllowInsecureRepositories "false"' in call
        assert "trusted=yes" not in call


def test_if_every_source_fails_the_cache_is_unchanged(mmdebstrap: Path, cache: Path) -> None:
    mmdebstrap.with_suffix(".gives").write_text("nothing\n")
    cache.mkdir(parents=True)
    (cache / "trixie-amd64.tar").write_text("of a better day")
    with pytest.raises(Problem, match="unexpected size"):
        base.bootstrap(["amd64", "s390x"])
    assert [path.name for path in cache.iterdir()] == ["trixie-amd64.tar"]
    assert (cache / "trixie-amd64.tar").read_text() == "of a better day"


@pytest.fixture
def unsigned_mirror(tmp_path: Path) -> Iterator[str]:
    """A mirror on loopback with unsigned suites."""
    root = tmp_path / "mirror"
    for suite in ("trixie", "stable"):
        folder = root / "debian" / "dists" / suite
        folder.mkdir(parents=True)
        (folder / "Release").write_text(f"Suite: {suite}\nCodename: trixie\nSHA256:\n")
    with serving(root) as address:
        yield f"{address}/debian"


def test_an_unsigned_mirror_is_refused_for_every_source(
    unsigned_mirror: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "mirrors", lambda: Mirrors(unsigned_mirror, None))
    with pytest.raises(Problem, match="is not signed") as caught:
        base.bootstrap(["amd64"])
    assert str(caught.value).count("is not signed") >= 2
    assert list(cache.iterdir()) == []
