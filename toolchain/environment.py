"""The Python environment of this clone, from the hash-locked requirements."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from toolchain.console import apt_install, output, run, timed
from toolchain.places import ROOT, VENV

STEP = "python"

PYTHON = VENV / "bin" / "python"

#: Packages without a working s390x wheel, by module: the name on the Python package index and that
#: of the distribution's package, which is used instead in whatever version it has. Compiling takes
#: most of an hour. protobuf's wheel crashes on any big-endian machine
#: (protocolbuffers/protobuf#29651). Debian 13's are known to work (cryptography 43.0, grpcio 1.51,
#: protobuf 3.21).
FROM_DISTRIBUTION = {
    "cryptography": ("cryptography", "python3-cryptography"),
    "grpc": ("grpcio", "python3-grpcio"),
    "google.protobuf": ("protobuf", "python3-protobuf"),
}

#: Makes this clone's packages importable in `.venv` from any folder, without PYTHONPATH, which a
#: stack's commands would inherit.
PATH_FILE = "zhub.pth"


def locked(*, development: bool) -> str:
    """The hash of what `.venv` depends on: the clone's path and the lock."""
    lock = ROOT / ("requirements-dev.txt" if development else "requirements.txt")
    return hashlib.sha256(f"{ROOT}\n".encode() + lock.read_bytes()).hexdigest()


def _mark(*, development: bool) -> Path:
    """The file that has the hash of the lock that `.venv` was last installed from."""
    return VENV / ("development" if development else "program")


def agrees(*, development: bool) -> bool:
    """Whether `.venv` was installed from the lock as it is now."""
    mark = _mark(development=development)
    # After an upgrade of the machine's Python, the link in `.venv` may lead nowhere.
    return PYTHON.exists() and mark.exists() and mark.read_text() == locked(development=development)


def takes_from_distribution() -> bool:
    """Whether the package index lacks wheels for this machine's processor."""
    return platform.machine() == "s390x"


def without(names: Iterable[str], lock: str) -> str:
    """A lock without some of its packages."""
    blocks = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.partition("==")[0] not in names)


def _require_distribution_packages(python: Path) -> None:
    """Install the distribution's packages that replace missing wheels.

    Raises:
        Problem: one is missing, and this process may not install it.
    """
    missing = [
        package
        for module, (_, package) in FROM_DISTRIBUTION.items()
        if output([python, "-c", f"import {module}"]) is None
    ]
    if missing:
        apt_install(STEP, *missing)


def _create() -> None:
    """Make an empty `.venv`, unless there is one that works.

    Raises:
        Problem: Python's venv module is missing, and this process may not install it.
    """
    if output([PYTHON, "-m", "pip", "--version"]) is not None:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    # The installed Python, even when `python3` is the one in the `.venv` just removed.
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    if output([python, "-c", "import ensurepip"]) is None:
        apt_install(STEP, "python3-venv")
    options = []
    if takes_from_distribution():
        _require_distribution_packages(python)
        options = ["--system-site-packages"]
    run(STEP, [python, "-m", "venv", *options, VENV], fix="Install Python's venv module.")


def ensure(*, development: bool = False) -> None:
    """Install what the lock says into `.venv`.

    Args:
        development: also what tests and linters need.

    Raises:
        Problem: there is no venv module, or the packages cannot be installed.
    """
    if agrees(development=development) or (not development and agrees(development=True)):
        return
    lock = "requirements-dev.txt" if development else "requirements.txt"
    # First: an installation changes what either lock has installed, even if it is interrupted.
    for mark in (_mark(development=True), _mark(development=False)):
        mark.unlink(missing_ok=True)
    with (
        timed(STEP, f"installing {lock} into .venv"),
        tempfile.TemporaryDirectory() as folder,
    ):
        _create()
        wanted = ROOT / lock
        if takes_from_distribution():
            names = [name for name, _ in FROM_DISTRIBUTION.values()]
            wanted = Path(folder, lock)
            wanted.write_text(without(names, (ROOT / lock).read_text()))
        install: list[str | Path] = [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        locked_only: list[str | Path] = ["--require-hashes", "--no-deps", "-r", wanted]
        fix = (
            "Does the package index answer? Its address: pip config list. If a hash is wrong, "
            "somebody may have tampered with the package; it was not installed."
        )
        run(STEP, [*install, *locked_only], fix=fix)
    for site in VENV.glob("lib/python3*/site-packages"):
        (site / PATH_FILE).write_text(f"{ROOT}\n")
    _mark(development=development).write_text(locked(development=development))
