"""Install packages for users' kernels: `sets.py ARCHITECTURE NAME...`, of requirements/NAME.txt.

Runs on the building machine, and installs the wheels for the target into /build/sets. Packages of
which the index has no wheel for it are left to compile.sh, which runs on the target: their lines of
the locks go into /missing/requirements.txt, and what Debian packages compiling needs into
/missing/packages. Both are empty where nothing is missing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Of Debian: the compilers for C and C++, Python's headers, and what most packages are built with.
TOOLS = (
    *("build-essential", "cython3", "flit", "pkgconf", "python3-dev", "python3-hatchling"),
    *("python3-mesonpy", "python3-pip", "python3-poetry-core", "python3-setuptools"),
    *("python3-setuptools-scm", "python3-wheel"),
)

#: A locked package, with its hashes.
LOCKED = re.compile(r"^(\S+?)(?:\[\S*\])?==(?:.*\\\n)*.*\n", re.MULTILINE)

#: What pip says of a package of which the index has nothing that fits.
MISSING = re.compile(r"^ERROR: No matching distribution found for ([^ ;\[=]+)", re.MULTILINE)

#: pip says the same of each package where the index does not answer.
SILENT = re.compile(r"^WARNING: Retrying \(", re.MULTILINE)


def without(lock: str, name: str) -> tuple[str, str]:
    """Split a lock into the lines of other packages and those of one."""
    taken = [found[0] for found in LOCKED.finditer(lock) if found[1] == name]
    for lines in taken:
        lock = lock.replace(lines, "")
    return lock, "".join(taken[:1])


def packages(text: str) -> list[str]:
    """Return the names in a file of Debian packages: words, and comments behind #."""
    return re.sub("#.*", "", text).split()


class Sets:
    """The locks of some sets, in a folder where the packages without wheels go from them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names
        self.missing: dict[str, str] = {}
        """By name: the lines of a lock."""

    def leave(self, name: str) -> None:
        """Leave a package to compile.sh.

        Raises:
            SystemExit: it is in no lock.
        """
        for each in self.names:
            file = self.folder / f"{each}.txt"
            rest, taken = without(file.read_text(), name)
            if taken:
                file.write_text(rest)
                self.missing[name] = taken
        if name not in self.missing:
            raise SystemExit(f"{name}: no lock has it")

    def install(self, command: Sequence[str]) -> None:
        """Install the wheels; `command` is pip's, but for the names of the locks.

        Raises:
            SystemExit: pip fails for another reason than missing wheels.
        """
        files = [str(self.folder / f"{name}.txt") for name in self.names]
        while True:
            pip = subprocess.run([*command, *files], stderr=subprocess.PIPE, text=True, check=False)
            found = [] if SILENT.search(pip.stderr) else MISSING.findall(pip.stderr)
            if not pip.returncode or not found:
                sys.stderr.write(pip.stderr)
                if pip.returncode:
                    raise SystemExit(pip.returncode)
                return
            for name in found:
                print(f"{name}: no wheel for this platform; it will be compiled", flush=True)
                self.leave(name)

    def tools(self) -> list[str]:
        """Return what Debian packages compiling needs; none where nothing is missing."""
        if not self.missing:
            return []
        files = (self.folder / f"{name}.debian" for name in self.names)
        own = (name for file in files if file.exists() for name in packages(file.read_text()))
        return sorted({*TOOLS, *own})


def main(architecture: str, *names: str) -> None:
    build, missing = Path("/build"), Path("/missing")
    sets = Sets(build / "requirements", names)
    (build / "sets").mkdir()
    missing.mkdir()
    if names:
        sets.install(["sh", "/build/pip.sh", architecture, "/build/sets"])
    (missing / "requirements.txt").write_text("".join(sets.missing.values()))
    (missing / "packages").write_text("\n".join(sets.tools()))


if __name__ == "__main__":
    main(*sys.argv[1:])
