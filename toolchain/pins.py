"""Versions and sums of everything the toolchain installs.

`make lock` moves them. Pulumi's are read from the files that go and pip use.
"""

from __future__ import annotations

import re
from pathlib import Path

from toolchain.places import ROOT

#: The folder of the Go module that builds the CLI: go.mod has the CLI's version, go.sum all sums.
MODULE = Path(__file__).with_name("pulumi-cli")

#: The Go module of the CLI.
CLI_MODULE = "github.com/pulumi/pulumi/pkg/v3"


def locked(file: Path) -> dict[str, str]:
    """Versions in a lock of Python packages, by package."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", file.read_text(), re.MULTILINE))


def required(file: Path) -> dict[str, str]:
    """Versions of the modules in a go.mod, without the v, by module."""
    line = re.compile(r"^(?:require|\t) ?(\S+) v(\S+)", re.MULTILINE)
    return dict(line.findall(file.read_text()))


def sums_in(text: str) -> dict[str, str]:
    """SHA-256 sums in a list as `sha256sum` writes it, by file name."""
    found = re.findall(r"^([0-9a-f]{64})  (\S+)$", text, re.MULTILINE)
    return {name: digest for digest, name in found}


def earlier_plugins(file: Path) -> list[tuple[str, str]]:
    """Name and version of each provider plugin in a list of those that were pinned before."""
    return re.findall(r"^([a-z]+) (\S+)$", file.read_text(), re.MULTILINE)


#: The version of the CLI.
PULUMI = required(MODULE / "go.mod")[CLI_MODULE]

#: Provider plugins have the same versions as their Python packages.
PLUGINS = {
    name: locked(ROOT / "requirements.txt")[f"pulumi-{name}"]
    for name in ("docker", "tls", "command")
}

#: Which versions they had before: states of stacks name these until the next `up`.
EARLIER_PLUGINS = Path(__file__).with_name("earlier-plugins.txt")

#: Where Pulumi publishes its releases of the CLI; tried in this order.
CLI_RELEASES = (
    "https://github.com/pulumi/pulumi/releases/download/v{version}/{file}",
    "https://get.pulumi.com/releases/sdk/{file}",
)

#: The machines that Pulumi releases the CLI for, as its archives call them.
CLI_MACHINES = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64")

#: The archives' sums. The names have the version in them, so one release's sums fit no other's.
CLI_SUMS = MODULE / "releases.sha256"

#: Where base images come from: a tag of the image registry, or a suite of a Debian mirror.
BASE_TAG = "debian:trixie-slim"
BASE_CODENAME = "trixie"
