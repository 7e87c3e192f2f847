"""The newest Pulumi CLI that can be had, and its Go module."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from toolchain.console import Problem, output, run
from toolchain.environment import PYTHON
from toolchain.pins import CLI_MODULE, required

#: Of the same version as the CLI; served apart from it.
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"

#: Go as it is on the machine: no other Go is got, no setting of one project counts for another.
GO = {"GOTOOLCHAIN": "local", "GOFLAGS": "", "GO111MODULE": "on", "GOWORK": "off"}

#: Seconds a registry has for one module.
TIMEOUT = 300


def allowed(requirements: Path) -> SpecifierSet:
    """What a requirements.in says of Pulumi's version: of the SDK, and so of the CLI.

    Raises:
        Problem: it does not require Pulumi.
    """
    for line in requirements.read_text().splitlines():
        if re.match(r"pulumi\b(?!-)", line):
            return Requirement(line.partition("#")[0].strip()).specifier
    raise Problem(f"{requirements.name} has no line for pulumi; it must require it")


def _go(go: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask Go something that it may well fail at.

    Raises:
        Problem: the registry keeps it waiting.
    """
    try:
        return subprocess.run(
            [go, *arguments],
            env={**os.environ, **GO},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Problem(f"go {' '.join(arguments)} has no answer after {TIMEOUT} s") from error


def _listed(go: Path) -> set[str]:
    """All versions that somebody lists.

    The registry of Go's modules may list versions that it refuses, and leave out some that it
    serves; the Python packages are of the same versions.
    """
    # What is retracted, the newest version says: were that one refused, there would be no list.
    modules = _go(go, "list", "-m", "-retracted", "-versions", CLI_MODULE).stdout
    packages = output([PYTHON, "-m", "pip", "index", "versions", "pulumi"], TIMEOUT) or ""
    lists = [modules, *re.findall(r"^Available versions: .*", packages, re.MULTILINE)]
    return set(re.findall(r"(?<=[ v])\d+\.\d+\.\d+(?=,|\s|$)", " ".join(lists)))


def _refusal(go: Path, version: Version) -> str:
    """Why the modules of a CLI cannot be had; empty when they can."""
    for module in (CLI_MODULE, SDK_MODULE):
        result = _go(go, "mod", "download", f"{module}@v{version}")
        if result.returncode:
            return result.stderr.strip()
    return ""


def newest(go: Path, current: str, specifier: SpecifierSet) -> str:
    """Find the newest version of the CLI that can be built.

    Args:
        go: the Go command to ask with.
        current: the version that is pinned; an older one is taken only if this one is not allowed.
        specifier: the versions that are allowed.

    Raises:
        Problem: no registry answers, or none has a version that is allowed.
    """
    listed = _listed(go)
    if not listed:
        raise Problem(
            "neither Go's module registry nor the Python package index lists Pulumi's versions; "
            "are they reachable (go env GOPROXY, pip config list)?"
        )
    floor = Version(current) if specifier.contains(current) else Version("0")
    versions = sorted(map(Version, listed | {current}), reverse=True)
    refusal = ""
    for version in versions:
        if version >= floor and specifier.contains(version):
            refusal = _refusal(go, version)
            if not refusal:
                return str(version)
    raise Problem(
        f"no Go module of Pulumi {specifier or f'from {current} on'} can be had. The last answer: "
        f"{refusal or 'there is none in the lists'}"
    )


def write_module(go: Path, folder: Path, version: str) -> None:
    """Make a go.mod for the CLI of a version, and the sums of all it is built from.

    Args:
        go: the Go command to do it with.
        folder: of the go.mod; has the file that imports the CLI.
        version: of the CLI.

    Raises:
        Problem: something that it is built from cannot be had, or this Go is too old.
    """
    if required(folder / "go.mod").get(CLI_MODULE) == version:
        return
    name = (folder / "go.mod").read_text().partition("\n")[0]
    oldest = _go(go, "list", "-m", "-f", "{{.GoVersion}}", f"{CLI_MODULE}@v{version}")
    # Anew, or it would keep what only the version before needed.
    (folder / "go.sum").write_text("")
    (folder / "go.mod").write_text(
        f"{name}\n\ngo {oldest.stdout.strip()}\n\nrequire {CLI_MODULE} v{version}\n"
    )
    run(
        "lock",
        [go, "-C", folder, "mod", "tidy"],
        environment=GO,
        mend="Go's modules: go env GOPROXY.",
    )
