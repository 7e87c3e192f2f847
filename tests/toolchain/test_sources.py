"""Where Debian packages come from: this machine's mirrors."""

from __future__ import annotations

import textwrap
from pathlib import Path

from toolchain.sources import Mirrors, mirrors, sources


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
    expected = Mirrors("http://mirror.example/debian", "http://mirror.example/debian-security")
    assert mirrors(apt(tmp_path / "a", {"sources.list": one_line})) == expected
    assert mirrors(apt(tmp_path / "b", {"sources.list.d/debian.sources": deb822})) == expected


def test_other_repositories_are_no_mirrors(tmp_path: Path) -> None:
    files = {
        "sources.list.d/a.list": "deb https://downloads.example/linux/debian bookworm stable\n",
        "sources.list.d/b.sources.save": "URIs: http://old.example/debian\nComponents: main\n",
    }
    assert mirrors(apt(tmp_path, files)) == Mirrors(None, None)


def test_without_a_mirror_mmdebstrap_uses_debians_own_servers() -> None:
    (only,) = sources(Mirrors(None, None))
    assert only.lines == ()


def test_every_source_without_security_updates_warns() -> None:
    for source in sources(Mirrors("http://m.example/debian", "http://m.example/s")):
        has_security = any("-security" in line for line in source.lines)
        assert has_security == (not source.warning)
