"""What is there, what is missing and what to type: `make doctor`. Changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain import base, cli, engine, environment, stack
from toolchain.console import Problem, output
from toolchain.pins import PULUMI
from toolchain.places import BIN, CACHE, ROOT
from toolchain.stack import named

#: Bytes of disk that images, CLI and caches take, with room to build in.
DISK_NEEDED = 8 * 1000**3

GETS_IT = "make up gets it"
ENGINE_AS_ROOT = "make up as root installs and starts Debian's; else: apt-get install docker.io"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        good: whether it is as it should be.
        text: what it is, and how it was found.
        mend: what to type where it is not good.
    """

    good: bool
    text: str
    mend: str = GETS_IT


def _python() -> Finding:
    agrees = environment.agrees(development=False) or environment.agrees(development=True)
    state = "as locked" if agrees else "missing or not as locked"
    return Finding(agrees, f"Python {sys.version.split()[0]}, its packages in .venv: {state}")


def _cli() -> Iterator[Finding]:
    found = output([BIN / "pulumi", "version"])
    good = found == f"v{PULUMI}"
    yield Finding(good, f"Pulumi CLI: {found or 'missing'}")
    if not good and cli.release_name() is None and cli.go_installed() is None:
        needed = ".".join(map(str, cli.go_needed()))
        yield Finding(good=True, text=f"no Go {needed} to build it with; make up gets one")


def _modes() -> Finding:
    """Image digests hash file modes, so that checkouts with another umask would all rebuild."""
    odd = [p for p in (ROOT / "images").rglob("*") if p.is_file() and p.stat().st_mode & 0o022]
    text = f"{odd[0]} is writable by others" if odd else "file modes under images/: as git has them"
    return Finding(not odd, text, "chmod -R go-w images; umask 022")


def _disk() -> Finding:
    folder = next(parent for parent in (CACHE, *CACHE.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1000**3:.0f} GB of disk free at {folder}"
    return Finding(free > DISK_NEEDED, text, f"make room: {DISK_NEEDED / 1000**3:.0f} GB")


def _engine() -> Iterator[Finding]:
    if context := os.environ.get("DOCKER_CONTEXT"):
        yield Finding(good=False, text=f"DOCKER_CONTEXT={context}", mend="unset DOCKER_CONTEXT")
    link = BIN / "docker"
    docker = str(link) if link.exists() else next(filter(engine.builds, engine.clients()), None)
    if docker is None:
        yield Finding(good=False, text="Docker client with BuildKit: none", mend=ENGINE_AS_ROOT)
        return
    yield Finding(good=True, text=f"Docker client with BuildKit: {Path(docker).resolve()}")
    architecture = engine.architecture(docker)
    if architecture is None:
        yield Finding(good=False, text="Docker engine: does not answer", mend=ENGINE_AS_ROOT)
        return
    yield Finding(good=True, text=f"Docker engine: answers, {architecture}")
    if architecture != "s390x" and engine.local():
        emulates = engine.emulates()
        yield Finding(emulates, f"s390x emulation: {'enabled' if emulates else 'not enabled'}")
    for tag in base.missing(docker, architecture):
        text = f"base image {tag}: missing, for another processor or from other archives"
        yield Finding(good=False, text=text)


def check(name: str, *, with_engine: bool) -> None:
    """Print every finding.

    Args:
        name: of the stack that the commands to type are about.
        with_engine: whether it needs an engine of this machine.

    Raises:
        Problem: something is missing.
    """
    findings = [_python(), *_cli(), _modes(), _disk(), *(_engine() if with_engine else [])]
    for finding in findings:
        if finding.good:
            print(f"     ok  {finding.text}", flush=True)
        else:
            mend = finding.mend.replace("make up", f"make up{named(name)}")
            print(f"MISSING  {finding.text}\n         → {mend}", flush=True)
    if not all(finding.good for finding in findings):
        raise Problem("not everything is there yet, see above")


def check_directory(name: str, user: str) -> None:
    """Have a stack's hub try its directory out, and print what would become of a user's login.

    Raises:
        Problem: there is no hub to ask, or it found something that does not work.
    """
    docker = next(engine.clients(), None)
    if docker is None:
        raise Problem("no Docker client: apt-get install docker.io")
    address = stack.engine_address(name)
    command = [docker, *(["--host", address] if address else [])]
    hub = f"{stack.prefix(name)}-hub"
    if output([*command, "inspect", "--format", "{{.State.Running}}", hub]) != "true":
        where = address or os.environ.get("DOCKER_HOST") or "this machine's engine"
        raise Problem(f"no container {hub} runs on {where}: make up{named(name)}")
    asked = [*command, "exec", hub, "zhub", "check-directory", "--", user]
    if subprocess.run(asked, check=False).returncode:
        raise Problem(f"{user} cannot log in, or not all of the directory works; see above")
