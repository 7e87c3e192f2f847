"""The Python environment of this clone, from the hash-locked requirements."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from toolchain.console import apt_install, output, run, timed
from toolchain.places import ROOT, VENV

STEP = "python"

PYTHON = VENV / "bin" / "python"

#: Makes the packages of this clone importable in `.venv` from any folder and without PYTHONPATH,
#: which the commands of a stack would inherit.
PATH_FILE = "zhub.pth"


def locked(*, development: bool) -> str:
    """What the environment has to agree with: the place of the clone and the lock."""
    lock = ROOT / ("requirements-dev.txt" if development else "requirements.txt")
    return hashlib.sha256(f"{ROOT}\n".encode() + lock.read_bytes()).hexdigest()


def agrees(*, development: bool) -> bool:
    """Whether `.venv` is what the lock says."""
    mark = VENV / ("development" if development else "program")
    # A Python that was upgraded away leaves the environment's own link pointing nowhere.
    return PYTHON.exists() and mark.exists() and mark.read_text() == locked(development=development)


def _create() -> None:
    """Make an empty `.venv`, unless there is a sound one.

    Raises:
        Problem: Python's venv module is missing and may not be installed.
    """
    if output([PYTHON, "-m", "pip", "--version"]) is not None:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    # Of the installation, even when `python3` is the one of the environment just removed.
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    if output([python, "-c", "import ensurepip"]) is None:
        apt_install(STEP, "python3-venv")
    run(STEP, [python, "-m", "venv", VENV], mend="Install Python's venv module.")


def ensure(*, development: bool = False) -> None:
    """Make `.venv` what the lock says; with `development`, also what tests and linters need.

    Raises:
        Problem: no venv module, or the packages cannot be had.
    """
    if agrees(development=development) or (not development and agrees(development=True)):
        return
    lock = "requirements-dev.txt" if development else "requirements.txt"
    with timed(STEP, f"installing {lock} into .venv"):
        _create()
        install: list[str | Path] = [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        locked_only: list[str | Path] = ["--require-hashes", "--no-deps", "-r", ROOT / lock]
        mend = "Is a package index reachable (pip config list)? A wrong hash means: do not use it."
        run(STEP, [*install, *locked_only], mend=mend)
    for site in VENV.glob("lib/python3*/site-packages"):
        (site / PATH_FILE).write_text(f"{ROOT}\n")
    (VENV / ("development" if development else "program")).write_text(
        locked(development=development)
    )
