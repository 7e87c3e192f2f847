"""Refresh every pin and hash of the project, and show what changed: `make lock`.

Runs in the development environment, which has uv. The images' Python locks leave out what their
Debian packages bring: PyPI has no s390x wheels for these.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import snapshot
from toolchain.cli import GO_LOCK
from toolchain.console import Problem, exit_code
from toolchain.places import ROOT, VENV

UV = VENV / "bin" / "uv"
NOTEBOOK = Path("images/notebook")
HUB = Path("images/hub")

#: Brought by Debian's packages (images/notebook/debian.txt has their versions), or by nothing on
#: Linux (pywin32).
NOT_FROM_PYPI = (
    *("argon2-cffi", "argon2-cffi-bindings", "cffi", "cryptography", "markupsafe", "psutil"),
    *("pycparser", "pywin32", "pyzmq"),
)

#: The oldest Python of operators' machines, and that of the images' Debian.
OPERATOR_PYTHON = "3.11"
IMAGE_PYTHON = "3.13"


def run(command: Sequence[str | Path], folder: Path = ROOT) -> None:
    """Run a command on the terminal.

    Raises:
        Problem: it failed; why is on the screen already. Or it is not there.
    """
    try:
        code = subprocess.run(command, cwd=folder, check=False).returncode
    except OSError as error:
        raise Problem(f"{command[0]} cannot be run: {error.strerror}; install it") from error
    if code:
        raise Problem(f"{shlex.join(map(str, command))} failed, see above")


def compile_lock(source: Path, python: str, *options: str | Path) -> None:
    """Pin and hash everything `source` needs. No address of an index is written.

    Args:
        source: the .in file; the lock is the .txt file beside it.
        python: the oldest Python version the lock is for.
        options: more options of `uv pip compile`.
    """
    print(f"locking {source}", flush=True)
    run(
        [
            *(UV, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--upgrade"),
            *("--no-header", "--no-annotate", "--python-version", python),
            *(*options, source, "-o", source.with_suffix(".txt")),
        ]
    )


def constrained(*files: Path) -> list[str | Path]:
    """The options that hold a lock to the versions in other files."""
    return [part for file in files for part in ("--constraint", file)]


def left_out(names: Sequence[str]) -> list[str]:
    """The options that keep packages out of a lock."""
    return [part for name in names for part in ("--no-emit-package", name)]


def refresh() -> None:
    """Refresh all locks.

    Raises:
        Problem: one cannot be.
    """
    program, notebook, hub = (folder / "requirements.txt" for folder in (Path(), NOTEBOOK, HUB))
    debian = constrained(NOTEBOOK / "debian.txt")
    compile_lock(program.with_suffix(".in"), OPERATOR_PYTHON)
    compile_lock(notebook.with_suffix(".in"), IMAGE_PYTHON, *debian, *left_out(NOT_FROM_PYPI))
    # The hub image is built on the notebook image: its lock has only what that one lacks.
    there = re.findall(r"^([a-z0-9.-]+)==", (ROOT / notebook).read_text(), re.MULTILINE)
    compile_lock(
        hub.with_suffix(".in"),
        IMAGE_PYTHON,
        *(*debian, *constrained(notebook), *left_out([*NOT_FROM_PYPI, *there])),
    )
    # Tests run the hub's own code with the versions its image has.
    development = Path("requirements-dev.in")
    compile_lock(development, OPERATOR_PYTHON, *constrained(program, notebook, hub))
    compile_lock(GO_LOCK.relative_to(ROOT).with_suffix(".in"), OPERATOR_PYTHON)
    print(f"locking {HUB / 'package.json'}", flush=True)
    run(
        [
            *("npm", "update", "--package-lock-only", "--ignore-scripts", "--no-audit"),
            *("--omit-lockfile-registry-resolved", "--no-fund"),
        ],
        ROOT / HUB,
    )
    print(snapshot.move(), flush=True)
    run(["git", "diff", "--stat"])


if __name__ == "__main__":
    sys.exit(exit_code(refresh))
