"""Find the newest Pulumi CLI that can be built, and write its Go module."""

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

#: Has the same versions as the CLI; the registry serves it separately.
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"

#: Use the installed Go, download no other one, and ignore settings of other projects.
GO = {"GOTOOLCHAIN": "local", "GOFLAGS": "", "GO111MODULE": "on", "GOWORK": "off"}

#: Seconds to wait for one module.
TIMEOUT = 300


def allowed(requirements: Path) -> SpecifierSet:
    """The Pulumi versions that a requirements.in allows, for the SDK and so for the CLI.

    Raises:
        Problem: it has no line for Pulumi.
    """
    for line in requirements.read_text().splitlines():
        if re.match(r"pulumi\b(?!-)", line):
            return Requirement(line.partition("#")[0].strip()).specifier
    raise Problem(f"{requirements.name} has no line for pulumi: add one, such as pulumi>=3")


def _go(go: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Go command that may fail.

    Raises:
        Problem: it did not end in time.
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
        raise Problem(
            f"`go {' '.join(arguments)}` got no answer in {TIMEOUT} s. Does the Go module proxy "
            "answer? Its address: go env GOPROXY"
        ) from error


def _listed(go: Path) -> set[str]:
    """All versions that a registry lists.

    The Go module proxy may list versions that it refuses, and leave out some that it serves, so the
    Python package index is asked as well: its Pulumi packages have the same versions.
    """
    # With retracted ones: which ones these are is written in the newest version, and if the proxy
    # refuses that one, there would be no list at all.
    modules = _go(go, "list", "-m", "-retracted", "-versions", CLI_MODULE).stdout
    packages = output([PYTHON, "-m", "pip", "index", "versions", "pulumi"], TIMEOUT) or ""
    lists = [modules, *re.findall(r"^Available versions: .*", packages, re.MULTILINE)]
    return set(re.findall(r"(?<=[ v])\d+\.\d+\.\d+(?=,|\s|$)", " ".join(lists)))


def _refusal(go: Path, version: Version) -> str:
    """Why a CLI's modules cannot be downloaded; empty if they can."""
    for module in (CLI_MODULE, SDK_MODULE):
        result = _go(go, "mod", "download", f"{module}@v{version}")
        if result.returncode:
            return result.stderr.strip()
    return ""


def newest(go: Path, current: str, specifier: SpecifierSet) -> str:
    """Find the newest version of the CLI that can be built.

    Args:
        go: the Go command to ask with.
        current: the pinned version; an older one is chosen only if this one is not allowed.
        specifier: the allowed versions.

    Raises:
        Problem: no registry answers, or none has an allowed version.
    """
    listed = _listed(go)
    if not listed:
        raise Problem(
            "neither the Go module proxy nor the Python package index lists Pulumi's versions. "
            "Do they answer? Their addresses: go env GOPROXY; pip config list"
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
        f"no Go module of Pulumi {specifier or f'from {current} on'} can be downloaded. The last "
        f"answer: {refusal or 'no registry lists one'}"
    )


def write_module(go: Path, folder: Path, version: str) -> None:
    """Write go.mod and go.sum for a version of the CLI.

    Args:
        go: the Go command to use.
        folder: of the go.mod; has the file that imports the CLI.
        version: of the CLI.

    Raises:
        Problem: a module cannot be downloaded, or this Go is too old.
    """
    if required(folder / "go.mod").get(CLI_MODULE) == version:
        return
    name = (folder / "go.mod").read_text().partition("\n")[0]
    oldest = _go(go, "list", "-m", "-f", "{{.GoVersion}}", f"{CLI_MODULE}@v{version}")
    # Written from scratch, or modules that only the old version needed would stay.
    (folder / "go.sum").write_text("")
    (folder / "go.mod").write_text(
        f"{name}\n\ngo {oldest.stdout.strip()}\n\nrequire {CLI_MODULE} v{version}\n"
    )
    run(
        "lock",
        [go, "-C", folder, "mod", "tidy"],
        environment=GO,
        fix="Does the Go module proxy answer? Its address: go env GOPROXY",
    )
