"""Base images from a Debian mirror."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toolchain.conftest import serving
from toolchain import base, snapshot
from toolchain.console import Problem

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(snapshot, "archives", list)
    return tmp_path / "cache" / "base"


def apt(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def test_mirrors_of_both_formats_are_found(tmp_path: Path) -> None:
    one_line = """\
        # deb http://commented.example/debian bookworm main
        deb-src http://source.example/debian bookworm main
        deb [signed-by=/key arch=amd64] http://mirror.example/debian/ bookworm main contrib
        deb http://mirror.example/debian-security bookworm-security main
    """
    deb822 = """\
        Types: deb
        # URIs: http://commented.example/debian
        URIs: http://mirror.example/debian
        Suites: bookworm bookworm-updates
        Components: main

        Types: deb
        URIs: http://mirror.example/debian-security/
        Suites: bookworm-security
        Components: main
    """
    expected = base.Mirrors("http://mirror.example/debian", "http://mirror.example/debian-security")
    assert base.mirrors(apt(tmp_path / "a", {"sources.list": one_line})) == expected
    assert base.mirrors(apt(tmp_path / "b", {"sources.list.d/debian.sources": deb822})) == expected


def test_repositories_of_others_are_no_mirror(tmp_path: Path) -> None:
    files = {
        "sources.list.d/a.list": "deb https://downloads.example/linux/debian bookworm stable\n",
        "sources.list.d/b.sources.save": "URIs: http://old.example/debian\nComponents: main\n",
    }
    assert base.mirrors(apt(tmp_path, files)) == base.Mirrors(None, None)


def test_without_a_mirror_debians_own_servers_are_left_to_mmdebstrap() -> None:
    (only,) = base.sources(base.Mirrors(None, None))
    assert only.lines == ()


def test_every_way_without_security_updates_warns() -> None:
    for source in base.sources(base.Mirrors("http://m.example/debian", "http://m.example/s")):
        has_security = any("-security" in line for line in source.lines)
        assert has_security == (not source.warning)


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
    mirrors = base.Mirrors("http://mirror.example/debian", "http://mirror.example/debian-security")
    monkeypatch.setattr(base, "mirrors", lambda: mirrors)
    return script


def test_the_next_way_is_taken_and_said_where_the_mirror_is_out_of_step(
    mmdebstrap: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mmdebstrap.with_suffix(".gives").write_text("deb http://mirror.example/debian stable main\n")
    base.bootstrap(["s390x", "amd64"])
    told = capsys.readouterr().err
    assert "trixie alone: cannot be had now (E: File has unexpected size)" in told
    assert "warning: the mirror's trixie does not verify now, its alias `stable` does" in told
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
    monkeypatch.setattr(base, "mirrors", lambda: base.Mirrors(unsigned_mirror, None))
    with pytest.raises(Problem, match="is not signed") as caught:
        base.bootstrap(["amd64"])
    assert str(caught.value).count("is not signed") >= 2
    assert list(cache.iterdir()) == []
