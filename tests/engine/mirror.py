"""A site's mirror: a package index and a git repository, served over HTTP."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

#: Known to no public index.
PACKAGE = "zhub-of-the-site"
MODULE = "zhub_of_the_site"


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


def _git(repository: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, input="", capture_output=True, text=True, check=True
    )
    return done.stdout.split()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests read nothing of it."""


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve a folder on all addresses of this machine; yields the port."""
    server = ThreadingHTTPServer(("0.0.0.0", 0), partial(_Quiet, directory=str(folder)))  # noqa: S104
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
