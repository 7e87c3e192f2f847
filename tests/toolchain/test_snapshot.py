"""Archives as of one moment: Debian's own tools, with small signed archives on loopback."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.toolchain.conftest import serving
from toolchain import base, engine, snapshot, sources
from toolchain.console import Problem
from toolchain.engine import client
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MOMENT = "20260101T000000Z"
EXPIRED = timedelta(days=-300)
VALID = timedelta(days=1)


def name_archives(root: Path, *lines: str) -> Path:
    """Make a clone that names these archives."""
    file = root / snapshot.FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["# of one moment, http://not.this.example", *lines, ""]))
    return root


MAIN = f"http://archive.example/debian/{MOMENT}"
SECURITY = f"http://archive.example/debian-security/{MOMENT}/"


def test_two_archives_of_one_moment_or_none_are_accepted(tmp_path: Path) -> None:
    assert snapshot.archives(name_archives(tmp_path)) == []
    assert snapshot.archives(name_archives(tmp_path, MAIN, "", SECURITY)) == [MAIN, SECURITY]


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ([MAIN], "number of addresses is 1"),
        ([MAIN, SECURITY, SECURITY], "number of addresses is 3"),
        ([MAIN, SECURITY.replace("2026", "2025")], "their moments differ"),
        ([MAIN, "http://archive.example/debian-security"], "debian-security is no such address"),
        ([MAIN, SECURITY.replace("http:", "https:")], "https://.* is no such address"),
        ([f"[trusted=yes] {MAIN}", SECURITY], r"\[trusted=yes\] .* is no such address"),
        ([f"{MAIN} trixie main", SECURITY], "trixie main is no such address"),
        ([line.replace("2026", "9026") for line in (MAIN, SECURITY)], "is in the future"),
    ],
)
def test_anything_else_is_refused_with_the_fix(
    tmp_path: Path, lines: list[str], wrong: str
) -> None:
    with pytest.raises(Problem, match=wrong) as caught:
        snapshot.archives(name_archives(tmp_path, *lines))
    assert "git checkout images/build/debian-archives.txt" in str(caught.value)


def test_the_moment_moves_to_the_last_midnight_if_both_archives_have_it(tmp_path: Path) -> None:
    new = snapshot.last_midnight()
    with serving(tmp_path) as address:
        lines = [f"{address}/debian/{MOMENT}/", f"{address}/security/{MOMENT}"]
        clone = name_archives(tmp_path, *lines)
        suites = {"debian": "trixie", "security": "trixie-security"}
        for archive, suite in suites.items():
            shown = snapshot.move(clone)
            assert f"as of {MOMENT}, as before" in shown
            assert "404" in shown
            assert snapshot.archives(clone) == lines
            (tmp_path / archive / new / "dists" / suite).mkdir(parents=True)
            (tmp_path / archive / new / "dists" / suite / "InRelease").touch()
        assert snapshot.move(clone) == f"Debian as of {MOMENT} -> {new}"
        assert snapshot.archives(clone) == [line.replace(MOMENT, new) for line in lines]
        assert snapshot.move(clone) == f"Debian as of {new}, as before"


@dataclass(frozen=True)
class Archive:
    """The release trixie with one package, `apt`, at dated and undated addresses."""

    root: Path
    address: str
    key: Path

    @property
    def dated(self) -> list[str]:
        """The dated addresses of the main and the security archive."""
        return [f"{self.address}/{name}/{MOMENT}" for name in ("debian", "debian-security")]

    @property
    def undated(self) -> sources.Mirrors:
        """The undated addresses of the same archives."""
        return sources.Mirrors(f"{self.address}/debian", f"{self.address}/debian-security")

    def suites(self) -> list[Path]:
        """The suites' folders."""
        return [
            self.root / "debian/dists/trixie",
            self.root / "debian/dists/trixie-updates",
            self.root / "debian-security/dists/trixie-security",
        ]

    def release(self, validity: timedelta) -> None:
        """Write the release files and sign them.

        Args:
            validity: how long they are valid, from now on.
        """
        now = datetime.now(UTC)
        for suite in self.suites():
            packages = suite / "main/binary-s390x/Packages"
            digest = hashlib.sha256(packages.read_bytes()).hexdigest()
            (suite / "Release").write_text(
                f"Origin: Debian\nSuite: stable\nCodename: {suite.name}\n"
                f"Date: {format_datetime(now - timedelta(days=400))}\n"
                f"Valid-Until: {format_datetime(now + validity)}\n"
                "Architectures: s390x\nComponents: main\nSHA256:\n"
                f" {digest} {packages.stat().st_size} main/binary-s390x/Packages\n"
            )
            signed, release = suite / "InRelease", suite / "Release"
            gpg(self.key.parent / "home", "--output", signed, "--clear-sign", release)


def gpg(home: Path, *arguments: str | Path) -> None:
    """Run GnuPG with keys of its own."""
    subprocess.run(
        ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "", *arguments],
        check=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def key() -> Iterator[Path]:
    """The public part of a key to sign with, beside GnuPG's home."""
    if not shutil.which("gpg") or not shutil.which("gpg-agent"):
        pytest.skip("no GnuPG: apt-get install gpg gpg-agent")
    # Not in pytest's folder: the agent's socket needs a short path, and _apt must read it.
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        home = Path(folder, "home")
        home.mkdir(0o700)
        key = Path(folder, "key.asc")
        gpg(home, "--quick-generate-key", "archive@example.com", "ed25519", "sign", "never")
        gpg(home, "--armor", "--output", key, "--export")
        key.chmod(0o644)
        yield key
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True, timeout=60)


@pytest.fixture
def archive(tmp_path: Path, key: Path) -> Iterator[Archive]:
    root = tmp_path / "archive"
    control = tmp_path / "package" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    fields = "Package: apt\nVersion: 1.2-3\nArchitecture: all\nEssential: yes\n"
    control.write_text(f"{fields}Maintainer: Nobody <nobody@example.com>\nDescription: nothing\n")
    deb = root / "debian/pool/apt.deb"
    deb.parent.mkdir(parents=True)
    subprocess.run(
        ["dpkg-deb", "--build", control.parents[1], deb], check=True, capture_output=True
    )
    listed = f"{control.read_text()}Filename: pool/apt.deb\nSize: {deb.stat().st_size}\n"
    listed += f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n\n"
    with serving(root) as address:
        archive = Archive(root, address, key)
        for suite in archive.suites():
            packages = suite / "main/binary-s390x/Packages"
            packages.parent.mkdir(parents=True)
            packages.write_text(listed if suite.name == "trixie" else "")
        for name in ("debian", "debian-security"):
            (root / name / MOMENT).symlink_to(".")
        yield archive


@pytest.fixture
def bootstrap(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Runs `bootstrap` with a mmdebstrap that trusts the key and installs nothing."""
    if not (real := shutil.which("mmdebstrap")):
        pytest.skip("no mmdebstrap: run `make toolchain`")
    script = tmp_path / "bin" / "mmdebstrap"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\n{real} --simulate --keyring={archive.key} "$@" || exit\n'
        'for word; do case "$word" in *.tar) : > "$word";; esac; done\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(base, "CACHE", tmp_path)
    monkeypatch.setattr(base, "mirrors", lambda: archive.undated)

    def make(address: str) -> None:
        named = {"dated": archive.dated, "undated": []}[address]
        monkeypatch.setattr(snapshot, "archives", lambda: named)
        base.bootstrap(["s390x"])

    return make


def test_an_expired_release_is_accepted_only_from_a_dated_address(
    tmp_path: Path, archive: Archive, bootstrap: Callable[[str], None]
) -> None:
    archive.release(EXPIRED)
    with pytest.raises(Problem) as caught:
        bootstrap("undated")
    expired = f"Release file for {archive.undated.main}/dists/trixie/InRelease is expired"
    assert str(caught.value).count(expired) == 2  # with and without security updates
    assert list((tmp_path / "base").iterdir()) == []
    bootstrap("dated")
    assert base._kept("s390x", " ".join(archive.dated))
    assert not base._kept("s390x", " ".join(archive.dated).replace("2026", "2025"))
    assert not base._kept("s390x", "")


@pytest.mark.parametrize("address", ["dated", "undated"])
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("InRelease", "GPG error: .* signatures were invalid"),
        ("main/binary-s390x/Packages", "Failed to fetch .* Hash Sum mismatch"),
    ],
)
def test_a_changed_file_is_refused_from_every_address(
    archive: Archive, bootstrap: Callable[[str], None], address: str, file: str, said: str
) -> None:
    archive.release(EXPIRED if address == "dated" else VALID)
    bootstrap(address)
    changed = archive.suites()[0] / file
    changed.write_text(changed.read_text().replace("Size", "size").replace("Debian", "debian"))
    with pytest.raises(Problem, match=said) as caught:
        bootstrap(address)
    assert ("images/build/debian-archives.txt names these archives" in str(caught.value)) == (
        address == "dated"
    )


@pytest.fixture
def docker() -> str:
    """A client of the engine that builds."""
    if not any(map(engine.architecture, engine.clients())):
        pytest.skip("no engine answers")
    return client()


@pytest.mark.engine
def test_base_images_from_other_archives_are_replaced(
    tmp_path: Path, docker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "TARGET", "zhub-test-dated:s390x")
    monkeypatch.setattr(base, "BUILD", "zhub-test-dated:build")
    images = {base.TARGET: "s390x", base.BUILD: "amd64"}
    with tarfile.open(tmp_path / "rootfs.tar", "w"):
        pass
    try:
        for made_from in ([], [MAIN, SECURITY]):
            monkeypatch.setattr(snapshot, "archives", lambda made_from=made_from: made_from)
            for tag, architecture in images.items():
                base._build(docker, architecture, tag, base.FROM_TAR, tmp_path / "rootfs.tar")
            for named in ([], [MAIN, SECURITY], [MAIN.replace("2026", "2025"), SECURITY]):
                monkeypatch.setattr(snapshot, "archives", lambda named=named: named)
                assert base.missing(docker, "amd64") == ({} if named == made_from else images)
    finally:
        subprocess.run([docker, "image", "rm", *images], check=True, capture_output=True)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("made_from", "named", "said"),
    [
        ("dated", "dated", "apt_1.2-3_all.deb"),
        ("dated", "nothing", "apt_1.2-3_all.deb"),
        ("undated", "nothing", "InRelease is expired"),
        ("undated", "dated", "On the machine that builds them: make base"),
    ],
)
def test_builds_on_a_base_image_use_the_same_archives(
    docker: str, archive: Archive, made_from: str, named: str, said: str
) -> None:
    if base.missing(docker, engine.architecture(docker) or ""):
        pytest.skip("no base images: run `make toolchain`")
    archive.release(EXPIRED)
    undated, *_ = sources.sources(archive.undated)
    source = sources.dated(*archive.dated) if made_from == "dated" else undated
    folder = archive.root.parent
    apt = folder / "base/etc/apt"
    (apt / "trusted.gpg.d").mkdir(parents=True)
    shutil.copy(archive.key, apt / "trusted.gpg.d/key.asc")
    (apt / "sources.list").write_text("\n".join([*source.lines, ""]))
    (folder / "base/var/lib/dpkg").mkdir(parents=True)
    (folder / "base/var/lib/dpkg/status").write_text("Package: base-files\nVersion: 13.8\n\n")
    clone = name_archives(folder / "clone", *(archive.dated if named == "dated" else []))
    shutil.copy(ROOT / "images/build/debs.sh", clone / "images/build")
    result = subprocess.run(
        [
            *(docker, "run", "--rm", "--network=host", f"--volume={folder / 'base'}:/base:ro"),
            f"--volume={apt / 'sources.list'}:/etc/apt/sources.list:ro",
            *(f"--volume={clone / 'images/build'}:/build", base.BUILD),
            *("sh", "-euc", "sh /build/debs.sh s390x apt 2>&1; ls /debs"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )
    assert said in result.stdout
    assert (result.returncode == 0) == (made_from == "dated")
