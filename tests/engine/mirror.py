"""A site's mirror, served over HTTP or HTTPS: a package index, a git repository, npm's and R's."""

from __future__ import annotations

import io
import json
import shutil
import ssl
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import docker
from docker.types import IPAMConfig, IPAMPool

from tests.engine import subnets

#: Known to no public index.
PACKAGE = "zhub-of-the-site"
MODULE = "zhub_of_the_site"
R_PACKAGE = "zhubofthesite"


def fill(folder: Path) -> None:
    """Write a package index at `simple/`, a repository at `git/team/data.git`."""
    index = folder / "simple" / PACKAGE
    index.mkdir(parents=True)
    wheel = f"{MODULE}-1.0-py3-none-any.whl"
    info = f"{MODULE}-1.0.dist-info"
    with zipfile.ZipFile(index / wheel, "w") as archive:
        archive.writestr(f"{MODULE}.py", "ORIGIN = 'the mirror'\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", f"{MODULE}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    (index / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    repository = folder / "git" / "team" / "data.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    [tree] = _git(repository, "mktree")
    [commit] = _git(repository, *identity, "commit-tree", "-m", "first", tree)
    _git(repository, "update-ref", "HEAD", commit)
    # What a client needs that finds no more than files.
    _git(repository, "update-server-info")


def fill_wheels(folder: Path, wheels: Path) -> None:
    """Add wheels to the package index."""
    for wheel in wheels.glob("*.whl"):
        name = wheel.name.partition("-")[0].replace("_", "-").lower()
        index = folder / "simple" / name
        index.mkdir(exist_ok=True)
        shutil.copy(wheel, index)
        (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')


def fill_cran(folder: Path) -> None:
    """Write a package for R at `cran/`."""
    contrib = folder / "cran" / "src" / "contrib"
    contrib.mkdir(parents=True)
    description = f"Package: {R_PACKAGE}\nVersion: 1.0\nTitle: A\nDescription: A.\nLicense: GPL-3\n"
    (contrib / "PACKAGES").write_text(description)
    files = {
        "DESCRIPTION": f"{description}Author: A\nMaintainer: A <a@example.com>\n",
        "NAMESPACE": "export(origin)\n",
        "R/origin.R": 'origin <- function() "the mirror"\n',
    }
    _tar(contrib / f"{R_PACKAGE}_1.0.tar.gz", R_PACKAGE, files)


def fill_npm(folder: Path, url: str) -> None:
    """Write a package for node at `npm/`.

    Args:
        folder: that is served.
        url: of the folder; npm wants all of a package's address.
    """
    (folder / "npm" / "files").mkdir(parents=True)
    about = {"name": PACKAGE, "version": "1.0.0", "main": "index.js"}
    files = {"package.json": json.dumps(about), "index.js": 'module.exports = "the mirror";\n'}
    _tar(folder / "npm" / "files" / "package.tgz", "package", files)
    dist = {"tarball": f"{url}/npm/files/package.tgz"}
    versions = {"1.0.0": about | {"dist": dist}}
    known = {"name": PACKAGE, "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    (folder / "npm" / PACKAGE).write_text(json.dumps(known))


def _tar(archive: Path, top: str, files: Mapping[str, str]) -> None:
    with tarfile.open(archive, "w:gz") as made:
        for name, text in files.items():
            content = text.encode()
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))


def _git(repository: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, input="", capture_output=True, text=True, check=True
    )
    return done.stdout.split()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests read nothing of it."""


@contextmanager
def served(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve a folder on all addresses of this machine; yields the port."""
    server = ThreadingHTTPServer(("0.0.0.0", 0), partial(_Quiet, directory=str(folder)))  # noqa: S104
    if tls:
        # Each connection's own thread does the handshake.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def address_of_its_own(engine: docker.DockerClient, name: str) -> Iterator[str]:
    """An address of the engine's machine, which is closed to servers unless a stack opens it."""
    subnet = subnets.free(28)
    address = str(subnet[9])
    pool = IPAMPool(subnet=str(subnet), gateway=address)
    network = engine.networks.create(name, ipam=IPAMConfig(pool_configs=[pool]))
    try:
        yield address
    finally:
        network.remove()
