"""Downloads of Pulumi's own CLI, from a server on loopback."""

from __future__ import annotations

import hashlib
import io
import platform
import socket
import ssl
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.pki import Identity
from toolchain import cli, pins, release
from toolchain.console import Problem

pytestmark = pytest.mark.slow

#: A CLI that only prints its version.
CLI_SCRIPT = f"#!/bin/sh\necho v{pins.PULUMI}\n".encode()


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("pulumi/pulumi", "pulumi/pulumi-language-python"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(CLI_SCRIPT), 0o755
            tar.addfile(entry, io.BytesIO(CLI_SCRIPT))
    return buffer.getvalue()


ARCHIVE = archive()


def sums(content: bytes, version: str = pins.PULUMI) -> str:
    """A release's list of sums, for archives with this content."""
    digest = hashlib.sha256(content).hexdigest()
    names = [release.archive(version, machine) for machine in pins.CLI_MACHINES]
    return "".join(f"{digest}  {name}\n" for name in names)


class Site(ThreadingHTTPServer):
    """Serves the archive under /right, half of it under /broken, another under /wrong.

    Next to it is the release's own list of sums, from `lists`, unless that is empty.
    """

    asked: list[str]
    lists: str = ""
    onward: str = ""
    """The address that every request is redirected to."""

    def url(self, folder: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{folder}/{{file}}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        folder = self.path.split("/")[1]
        if self.server.onward:
            self.send_response(302)
            self.send_header("Location", self.server.onward + Path(self.path).name)
            self.end_headers()
            return
        body = ARCHIVE if folder != "wrong" else ARCHIVE[:-1] + b"x"
        if self.path.endswith(f"/pulumi-{pins.PULUMI}-checksums.txt"):
            body = self.server.lists.encode()
        if folder == "missing" or not body:
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if folder == "broken" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, an empty clone, and a release for this machine with a pinned sum."""
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(cli, "CLI", tmp_path / "clone" / "cli")
    monkeypatch.setattr(release, "TIMEOUT", 1)
    name = cli.release_name() or "linux-x64"
    monkeypatch.setattr(cli, "release_name", lambda: name)
    monkeypatch.setattr(pins, "CLI_SUMS", tmp_path / "sums")
    pins.CLI_SUMS.write_text(f"# a comment\n{sums(ARCHIVE)}")


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_release_is_downloaded_and_installed_with_its_language_host(
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


def test_two_clones_may_download_it_at_the_same_time(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The faster one has removed the archive that both have in the cache."""
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("right"),))
    keep = cli._keep

    def keep_and_lose(new: Path, folder: Path) -> None:
        keep(new, folder)
        for file in (tmp_path / "cache").glob("*.tar.gz"):
            file.unlink()

    monkeypatch.setattr(cli, "_keep", keep_and_lose)
    assert cli.ensure() is True


def test_if_the_first_site_refuses_the_next_is_tried(
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
    with pytest.raises(Problem, match=r"It was not used.*ZHUB_TOOLCHAIN=portable make up"):
        cli.ensure()
    assert cached(tmp_path) == []
    assert not (tmp_path / "clone" / "cli").exists()


@pytest.mark.parametrize("pinned", ["", sums(b"another release", "3.1.0")])
def test_without_a_pinned_sum_the_published_one_is_used(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pinned: str
) -> None:
    pins.CLI_SUMS.write_text(pinned)
    sites = (site.url("right"),)
    monkeypatch.setattr(cli, "CLI_RELEASES", sites)
    monkeypatch.setattr(pins, "CLI_RELEASES", sites)
    monkeypatch.setenv(cli.CHOICE, "official")
    for lists, said in (
        ("", "unset ZHUB_TOOLCHAIN(.|\n)*checksums.txt: HTTP Error 403"),
        (sums(ARCHIVE, "3.1.0"), f"has no sum for pulumi-v{pins.PULUMI}-linux-x64.tar.gz"),
        (sums(b"x"), "It was not used"),
    ):
        site.lists = lists
        with pytest.raises(Problem, match=said):
            cli.ensure()
        assert cached(tmp_path) == []
    site.lists = f"{'0' * 64}  pulumi-v{pins.PULUMI}-windows-x64.zip\n{sums(ARCHIVE)}"
    assert cli.ensure() is True


def test_sums_received_without_tls_are_not_used(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A site with TLS redirects to one without."""
    site.lists = sums(ARCHIVE)
    Identity.create("127.0.0.1").write(tmp_path, "site")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "site.crt", tmp_path / "site.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "site.crt"))
    with Site(("127.0.0.1", 0), Handler) as safe:
        safe.asked = []
        safe.onward = site.url("right").format(file="")
        safe.socket = context.wrap_socket(safe.socket, server_side=True)
        threading.Thread(target=safe.serve_forever, daemon=True).start()
        address = safe.url("right").replace("http:", "https:")
        monkeypatch.setattr(pins, "CLI_RELEASES", (address,))
        with pytest.raises(OSError, match=r"redirects to http://127\.0\.0\.1"):
            release.published(pins.PULUMI)
        safe.onward, safe.lists = "", site.lists
        assert pins.sums_in(release.published(pins.PULUMI)) == pins.sums_in(site.lists)
        safe.shutdown()
    assert site.asked == []  # it could redirect back to a site with TLS, unseen


def test_a_pinned_sum_has_priority(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.lists = sums(ARCHIVE[:-1] + b"x")
    sites = (site.url("wrong"),)
    monkeypatch.setattr(cli, "CLI_RELEASES", sites)
    monkeypatch.setattr(pins, "CLI_RELEASES", sites)
    with pytest.raises(Problem, match="It was not used"):
        cli.ensure()
    assert not any("checksums" in path for path in site.asked)


def test_after_an_incomplete_download_nothing_is_left_and_the_cli_is_built(
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


def test_if_the_release_is_required_the_error_says_why_it_failed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cli.CHOICE, "official")
    monkeypatch.setattr(cli, "CLI_RELEASES", (site.url("missing"), site.url("broken")))
    with pytest.raises(Problem, match=r"unset ZHUB_TOOLCHAIN(.|\n)*403(.|\n)*broke off after"):
        cli.ensure()


def test_a_site_that_does_not_answer_costs_little_time(
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


def test_portable_downloads_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.CHOICE, "offical")
    with pytest.raises(Problem, match=r"=offical: must be one of auto, official, portable$"):
        cli.ensure()


def test_a_cli_of_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    folder = cli.built_folder("amd64")
    folder.mkdir(parents=True)
    (folder / "pulumi").write_text("#!/bin/sh\necho v3.1.0\n")
    (folder / "pulumi").chmod(0o755)
    with pytest.raises(Problem, match="To get it anew: rm -r "):
        cli.ensure()
    assert not (tmp_path / "clone" / "cli" / "from").exists()


def test_s390x_has_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    assert cli.release_name() is None
