"""Build contexts: what is ignored, the digest, the tar. No engine needed.

The digests were computed by the official plugin over the same files.
"""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.docker import context
from plugins.docker.context import ContextError, Ignore, Pattern

DOCKERFILE = "FROM scratch\nCOPY . /\n"


def lay_out(root: Path, ignore: str = "", dockerfile: str = DOCKERFILE) -> None:
    """Make the context with the recorded digests."""
    for path, content, mode in (
        ("a.txt", "a", 0o644),
        ("bin/run", "#!/bin/sh\n", 0o755),
        ("bin/set", "", 0o4755),
        ("docs/b.md", "b", 0o600),
        ("docs/deep/c.md", "c", 0o644),
        ("docs/deep/d.txt", "d", 0o644),
        ("docs-more/e.md", "e", 0o644),
        ("ümlaut x", "f", 0o1644),
    ):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)
    (root / "docs" / "up").symlink_to("../a.txt")
    (root / "docs" / "folder").symlink_to("deep")
    (root / "docs" / "root").symlink_to("/etc")
    (root / "Dockerfile").write_text(dockerfile)
    (root / "Dockerfile").chmod(0o644)
    if ignore:
        (root / ".dockerignore").write_text(ignore)
        (root / ".dockerignore").chmod(0o644)


RECORDED = {
    "nothing ignored": ("", "829b0b57a752f660331e4d8d93897e5f88b2e8babbbe036ee3b1989f56c693cc"),
    "one file": ("a.txt\n", "c4609d9890a3b30560d0fd65a143807e2bb9919e28bededd991d37ba0e0a8ab1"),
    "all but": (
        "*\n!bin\n!docs/deep/d.txt\n",
        "2bbc79c9c94102c7fec456fc4bddc9ab9124596bfa8d4f7d1757d24c2f4e224d",
    ),
    "everywhere": (
        "# words\n**/*.md\n!docs/deep/*.md\n",
        "c4fc0db1192aca58fe620604dcf1fcce431d4ce8385edf187d209dd424a6ef9c",
    ),
    "suffix": ("**t\n", "b475703acde443cde446af20ec8835846431019f1ce8ecdb2f72c7c4f7459410"),
    "folder": (
        "/docs/\n  bin  \n",
        "f1279b7273d7093f4e6269489242d197b3bc0140d7932c69f54b99ddde2021e1",
    ),
    "question and class": (
        "docs/?p\n[ab].txt\nüm*\n",
        "cbda4d0d6e3025b217e67981d384acc9a458a20324e44fe8f18647bfde57523e",
    ),
    "the last one decides": (
        "docs\n!docs\ndocs/deep\n!docs/deep/c.md\ndocs/deep/c*\n",
        "7736ad49fc7b717c551605aacb26e22e89d4e499b3c7de358c113ae1a1fc0372",
    ),
    "windows lines": (
        "a.txt\r\ndocs\r\n",
        "87e51bd1565724ca1ab48d72c1255b55f7e8d14c669d4e0697e851fc44933db2",
    ),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("ignore", "digest"), RECORDED.values(), ids=RECORDED)
def test_the_digest_is_the_official_one(ignore: str, digest: str) -> None:
    lay_out(Path("ctx"), ignore)
    assert context.digest("ctx", "ctx/Dockerfile") == digest


def test_a_link_to_nowhere_ends_the_digest_of_its_directory() -> None:
    lay_out(Path("ctx"))
    Path("ctx/docs/deep/c0").symlink_to("nowhere")
    assert (
        context.digest("ctx", "ctx/Dockerfile")
        == "26aa49e6e741bd983efabe5081cc46acbccb4d6e82592ff94149089a228df610"
    )


def test_an_ignore_file_of_the_dockerfile_comes_first() -> None:
    lay_out(Path("ctx"), "docs\n")
    Path("ctx/Dockerfile.dockerignore").write_text("bin\n")
    Path("ctx/Dockerfile.dockerignore").chmod(0o644)
    assert (
        context.digest("ctx", "ctx/Dockerfile")
        == "90957e7375828329406a7856d83b7403cc1b29feff9eb6709997e692c48be5d6"
    )


class TestWhatCounts:
    def digest(self) -> str:
        return context.digest("ctx", "ctx/Dockerfile")

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "a.txt").write_text("A"),
            lambda root: (root / "a.txt").chmod(0o664),
            lambda root: (root / "a.txt").rename(root / "b.txt"),
            lambda root: (root / "Dockerfile").write_text("FROM other\n"),
            lambda root: (
                (root / "docs" / "up").unlink() or (root / "docs" / "up").symlink_to("b.md")
            ),
            lambda root: (root / "new").write_text(""),
        ],
        ids=["content", "mode", "name", "Dockerfile", "link", "new file"],
    )
    def test_counts(self, change: Callable[[Path], Any]) -> None:
        lay_out(Path("ctx"))
        before = self.digest()
        change(Path("ctx"))
        assert self.digest() != before

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: os.utime(root / "a.txt", (0, 0)),
            lambda root: (root / "docs").chmod(0o700),
            lambda root: (root / "ignored").write_text("anything"),
            lambda root: (root / "empty").mkdir(),
        ],
        ids=["time", "mode of a directory", "ignored file", "empty directory"],
    )
    def test_does_not_count(self, change: Callable[[Path], Any]) -> None:
        lay_out(Path("ctx"), "ignored\n")
        before = self.digest()
        change(Path("ctx"))
        assert self.digest() == before

    def test_another_checkout_has_the_same_digest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lay_out(Path("ctx"))
        before = self.digest()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        lay_out(Path("ctx"))
        assert self.digest() == before

    def test_a_dockerfile_from_outside_counts_by_its_content(self) -> None:
        lay_out(Path("ctx"), "Dockerfile\n")
        Path("one").write_text("FROM scratch\n")
        Path("two").write_text("FROM scratch\n")
        assert context.digest("ctx", "one") == context.digest("ctx", "two") != self.digest()


@pytest.mark.parametrize("line", ["!", "[a", "a\\"])
def test_a_malformed_pattern_is_named(line: str) -> None:
    with pytest.raises(ContextError, match="pattern"):
        Pattern(line)


def test_a_socket_is_refused_by_name() -> None:
    lay_out(Path("ctx"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("ctx/talk")
        with pytest.raises(ContextError, match=r"ctx/talk is a socket; .*\.dockerignore"):
            context.digest("ctx", "ctx/Dockerfile")


def test_a_loop_of_links_is_refused_by_name() -> None:
    lay_out(Path("ctx"))
    Path("ctx/loop").symlink_to("loop")
    with pytest.raises(ContextError, match="ctx/loop is a loop"):
        context.digest("ctx", "ctx/Dockerfile")


class TestTar:
    def packed(self, dockerfile: str = "ctx/Dockerfile") -> tuple[str, dict[str, tarfile.TarInfo]]:
        buffer = io.BytesIO()
        name = context.write_tar("ctx", dockerfile, buffer)
        buffer.seek(0)
        with tarfile.open(fileobj=buffer) as tar:
            return name, {member.name: member for member in tar}

    def test_it_holds_what_was_hashed(self) -> None:
        lay_out(Path("ctx"), "*\n!docs/deep/c.md\n")
        name, members = self.packed()
        # The builder gets Dockerfile and ignore file even if these are ignored.
        assert name == "Dockerfile"
        assert sorted(members) == [
            ".",
            ".dockerignore",
            "Dockerfile",
            "docs",
            "docs/deep",
            "docs/deep/c.md",
        ]

    def test_modes_and_links_are_kept_and_owners_are_not(self) -> None:
        lay_out(Path("ctx"))
        os.chown("ctx/a.txt", os.getuid(), os.getgid())
        _, members = self.packed()
        assert members["bin/set"].mode == 0o4755
        assert members["docs/up"].linkname == "../a.txt"
        assert {(m.uid, m.gid, m.uname) for m in members.values()} == {(0, 0, "")}

    def test_a_dockerfile_from_outside_comes_along(self) -> None:
        lay_out(Path("ctx"))
        Path("other").write_text("FROM scratch\n")
        name, members = self.packed("other")
        assert name.startswith(".dockerfile.")
        assert members[name].size == len("FROM scratch\n")
        assert context.relative_dockerfile("ctx", "other") == "../other"


def test_excluded_directories_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(Path("ctx"), "docs\n!bin\n")
    seen: list[str] = []
    real = Path.iterdir

    def watched(self: Path) -> Iterator[Path]:
        seen.append(str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", watched)
    list(context.walk("ctx", Ignore.read("ctx", "ctx/Dockerfile")))
    assert "ctx/docs" not in seen
