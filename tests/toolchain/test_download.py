"""Pulumi's own downloads, from a stand-in for its site on loopback."""

from __future__ import annotations

import hashlib
import io
import platform
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from toolchain import cli
from toolchain.console import Problem

pytestmark = pytest.mark.slow

#: A CLI that is no more than its version.
CLI_SCRIPT = b"#!/bin/sh\necho v3.259.0\n"


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("pulumi/pulumi", "pulumi/pulumi-language-python"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(CLI_SCRIPT), 0o755
            tar.addfile(entry, io.BytesIO(CLI_SCRIPT))
    return buffer.getvalue()


ARCHIVE = archive()


class Site(ThreadingHTTPServer):
    """Serves the archive under /right, half of it under /broken, another under /wrong."""

    asked: list[str]

    def url(self, folder: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{folder}/{{file}}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        folder = self.path.split("/")[1]
        if folder == "missing":
            self.send_error(403)
            return
        body = ARCHIVE if folder != "wrong" else ARCHIVE[:-1] + b"x"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if folder == "broken" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache and a clone that are empty, and a release for this machine whose sum is known."""
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(cli, "CLI", tmp_path / "clone" / "cli")
    monkeypatch.setattr(cli, "DOWNLOAD_TIMEOUT", 1)
    name = cli.release_name() or "linux-x64"
    monkeypatch.setattr(cli, "release_name", lambda: name)
    monkeypatch.setattr(cli, "CLI_SHA256", {name: hashlib.sha256(ARCHIVE).hexdigest()})


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_release_is_taken_and_put_beside_its_language_host(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("right"),))
    assert cli.ensure() is True
    for name in ("pulumi", "pulumi-language-python"):
        assert (tmp_path / "clone" / "cli" / name).read_bytes() == CLI_SCRIPT
    assert not list((tmp_path / "cache").glob("*.tar.gz"))
    site.asked.clear()
    assert cli.ensure() is True
    assert site.asked == []


def test_the_next_site_is_asked_where_the_first_refuses(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("missing"), site.url("right")))
    assert cli.ensure() is True
    assert [path.split("/")[1] for path in site.asked] == ["missing", "right"]


@pytest.mark.parametrize("choice", ["auto", "official"])
def test_an_archive_with_another_sum_is_never_used(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, choice: str
) -> None:
    monkeypatch.setenv(cli.CHOICE, choice)
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("wrong"), site.url("right")))
    with pytest.raises(Problem, match=r"it was not used.*ZHUB_TOOLCHAIN=portable make up"):
        cli.ensure()
    assert cached(tmp_path) == []
    assert not (tmp_path / "clone" / "cli").exists()


def test_a_download_that_breaks_off_leaves_nothing_and_builds_instead(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = tmp_path / "cache" / "built"

    def build(architecture: str) -> Path:
        assert architecture
        assert cached(tmp_path) == []
        built.mkdir(parents=True)
        (built / "pulumi").write_bytes(CLI_SCRIPT)
        (built / "pulumi").chmod(0o755)
        return built

    monkeypatch.setattr(cli, "build", build)
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("broken"),))
    assert cli.ensure() is False
    assert (tmp_path / "clone" / "cli" / "pulumi").read_bytes() == CLI_SCRIPT


def test_insisting_on_the_release_says_why_it_cannot_be_had(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cli.CHOICE, "official")
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("missing"), site.url("broken")))
    with pytest.raises(Problem, match=r"unset ZHUB_TOOLCHAIN(.|\n)*403(.|\n)*broke off after"):
        cli.ensure()


def test_a_site_that_does_not_answer_is_given_up_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{{file}}"
        monkeypatch.setenv(cli.CHOICE, "official")
        monkeypatch.setattr(cli, "CLI_RELEASES", (url,))
        with pytest.raises(Problem, match="timed out"):
            cli.ensure()


def test_portable_asks_no_site(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = cli.built_folder("amd64")
    folder.mkdir(parents=True)
    (folder / "pulumi").write_bytes(CLI_SCRIPT)
    (folder / "pulumi").chmod(0o755)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("right"),))
    monkeypatch.setenv(cli.CHOICE, "portable")
    assert cli.ensure() is False
    assert site.asked == []
    assert (tmp_path / "clone" / "cli" / "pulumi").exists()


def test_another_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.CHOICE, "offical")
    with pytest.raises(Problem, match="ZHUB_TOOLCHAIN=offical is none of auto, official, portable"):
        cli.ensure()


def test_a_cli_of_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    folder = cli.built_folder("amd64")
    folder.mkdir(parents=True)
    (folder / "pulumi").write_text("#!/bin/sh\necho v3.1.0\n")
    (folder / "pulumi").chmod(0o755)
    with pytest.raises(Problem, match="another version; remove that folder"):
        cli.ensure()
    assert not (tmp_path / "clone" / "cli" / "from").exists()


def test_s390x_has_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    assert cli.release_name() is None
