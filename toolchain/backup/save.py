"""`make backup`: all that a stack cannot make again, as files, while people work."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from toolchain import passphrase, stack
from toolchain.backup import encryption, helper
from toolchain.backup.helper import Engine, Helpers, Report
from toolchain.backup.manifest import (
    CONFIG,
    ENCRYPTED,
    FORMAT,
    HOMES,
    NAME,
    PARTIAL,
    PASSPHRASE,
    PULUMI,
    SHARED,
    STATE,
    Manifest,
    Part,
    checksum,
    read,
)
from toolchain.console import Problem, output, say
from toolchain.places import ROOT
from toolchain.shell import pulumi

STEP = "backup"

#: Where backups are put, unless the operator says otherwise; git ignores it.
PLACE = ROOT / "backups"

#: Seconds between two signs of life while a home is packed.
PULSE = 10

MB = 1000**2


@dataclass
class _Progress:
    """Says how much has come, while it comes."""

    what: str
    size: int = 0
    _said: float = field(default_factory=time.monotonic)

    def add(self, block: bytes) -> None:
        self.size += len(block)
        if time.monotonic() - self._said > PULSE:
            self._said = time.monotonic()
            say(STEP, f"… {self.what}: {self.size / MB:.0f} MB so far")


@dataclass(frozen=True)
class _Folder:
    """A backup's folder while it is written."""

    path: Path
    key: Path | None

    def add(self, name: str, write: Callable[[IO[bytes]], Report], user: str = "") -> Part:
        """Write a part; what writes it may say what it has packed.

        Raises:
            Problem: no backup has a part of that name.
        """
        if not NAME.fullmatch(name):
            raise Problem(f"{name!r} cannot be the name of a part of a backup")
        file = self.path / (name + (ENCRYPTED if self.key else ""))
        with encryption.writing(file, self.key) as out:
            report = write(out)
        return Part(
            file=str(file.relative_to(self.path)),
            bytes=file.stat().st_size,
            sha256=checksum(file),
            content=report.get("sha256", ""),
            user=user,
            warnings=tuple(report.get("warnings", ())),
        )

    def add_text(self, name: str, text: str) -> Part:
        return self.add(name, lambda out: {"written": out.write(text.encode())})

    def stream(
        self, name: str, helpers: Helpers, job: helper.Job, what: str, user: str = ""
    ) -> _Streamed:
        """Write a part that a helper streams.

        Raises:
            Problem: it failed, or not all arrived.
        """
        progress = _Progress(what)
        reports: list[Report] = []

        def write(out: IO[bytes]) -> Report:
            def take(block: bytes) -> None:
                out.write(block)
                progress.add(block)

            reports.append(helpers.receive(job, take))
            return reports[0]

        part = self.add(name, write, user)
        [report] = reports
        if progress.size != report["bytes"] or (not self.key and part.sha256 != report["sha256"]):
            raise Problem(
                f"of {what}, {progress.size} bytes of {report['bytes']} arrived. Try again"
            )
        return _Streamed(part, report)


@dataclass(frozen=True)
class _Streamed:
    part: Part
    report: Report


def save(name: str, docker: str, to: str, recipient: str, keep: str) -> Path:
    """Back a stack up; returns the backup's folder.

    Args:
        name: of the stack.
        docker: the client.
        to: folder of backups; the default place if empty.
        recipient: file with a public key to encrypt for; empty for not encrypted.
        keep: how many backups of the stack to keep, in digits; empty for all.

    Raises:
        Problem: it failed; no half-made backup is left.
    """
    if keep and not (keep.isdecimal() and int(keep)):
        raise Problem(f"KEEP={keep}: must be a whole number from 1, as in KEEP=14")
    key = encryption.checked(recipient)
    engine = Engine((docker, *stack.docker_options(name)), stack.prefix(name))
    helpers = Helpers(engine, engine.image())
    place = Path(to).resolve() if to else PLACE
    now = datetime.now(UTC)
    os.umask(0o077)
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place, name)
    target = place / f"{name}-{now:%Y%m%dT%H%M%SZ}"
    with _making(target) as folder:
        manifest = _fill(_Folder(folder, key), name, helpers, now)
        manifest.write(folder)
    helpers.ask(helper.mark(f"{engine.prefix}-state"))
    total = sum(part.bytes for part in manifest.parts)
    shared = f", {len(manifest.shared())} shared folders" if manifest.shared() else ""
    say(
        STEP,
        f"{len(manifest.homes())} homes{shared} and the database, {total / MB:.1f} MB: {target}",
    )
    for path in engine.shared_paths():
        say(STEP, f"not in it, since it is not the engine's: the shared folder at {path}")
    if key is None:
        say(STEP, "not encrypted (RECIPIENT=FILE): whoever reads it has the users' files, and can")
        say(STEP, "log in as anybody. To read its secrets, keep the stack's passphrase elsewhere")
    if keep:
        _forget(place, name, int(keep))
    return target


def _fill(folder: _Folder, name: str, helpers: Helpers, now: datetime) -> Manifest:
    """Write all parts; returns what describes them."""
    engine = helpers.engine
    file = passphrase.stack_file(name)
    parts = [
        folder.add_text(PULUMI, pulumi(name, "stack", "export", "--stack", name, quiet=True)),
        folder.add_text(CONFIG, file.read_text() if file.exists() else ""),
    ]
    if folder.key and (text := _passphrase(name)):
        parts.append(folder.add_text(PASSPHRASE, text))
    release = helpers.ask(helper.release())
    state = folder.stream(
        STATE, helpers, helper.save_state(f"{engine.prefix}-state"), "the hub's database"
    )
    parts.append(state.part)
    homes = engine.homes()
    (folder.path / HOMES).mkdir()
    for number, (volume, user) in enumerate(homes.items(), start=1):
        suffix = volume.removeprefix(f"{engine.prefix}-home-")
        streamed = folder.stream(
            f"{HOMES}/{suffix}.tar.gz",
            helpers,
            helper.save_home(volume),
            f"the home of {user}",
            user,
        )
        parts.append(streamed.part)
        _tell(f"home {number} of {len(homes)}: {user}", streamed.part)
    (folder.path / SHARED).mkdir()
    for shared_name, volume in engine.shared().items():
        what = f"the shared folder {shared_name}"
        streamed = folder.stream(
            f"{SHARED}/{shared_name}.tar.gz", helpers, helper.save_home(volume), what
        )
        parts.append(streamed.part)
        _tell(what, streamed.part)
    return Manifest(
        # One without shared folders is as earlier programs make and read it.
        format=FORMAT if engine.shared() else 1,
        made=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        stack=name,
        prefix=engine.prefix,
        engine=f"{stack.engine_address(name) or os.environ.get('DOCKER_HOST') or 'local'} "
        f"{engine.ask('info', '--format', '{{.ID}}')}",
        program=output(["git", "-C", ROOT, "describe", "--always", "--tags", "--dirty"]) or "",
        jupyterhub=release["jupyterhub"],
        revision=state.report["revision"],
        encrypted=folder.key is not None,
        users=tuple(state.report["users"]),
        parts=tuple(parts),
    )


def _tell(what: str, part: Part) -> None:
    """Say that a part is written, and what tar said about it."""
    say(STEP, f"{what}, {part.bytes / MB:.1f} MB")
    for warning in part.warnings:
        say(STEP, f"    {warning}")


def _passphrase(name: str) -> str | None:
    """The passphrase of the stack's secrets, where this clone knows it."""
    found = passphrase.variables(name) or {
        variable: os.environ.get(variable) for variable in (passphrase.TEXT, passphrase.FILE)
    }
    if text := found.get(passphrase.TEXT):
        return text
    file = found.get(passphrase.FILE)
    return Path(file).read_text() if file else None


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """A folder that becomes the target when all went well, and is removed otherwise.

    It is locked as long as this process lives, so that the next backup knows what was left behind.
    """
    if target.exists():
        raise Problem(f"{target} exists already. Try again")
    folder = target.with_name(f".{target.name}{PARTIAL}")
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
        os.fsync(lock)
        folder.rename(target)
        _sync(target.parent)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        # What finds no room while it writes does not say where.
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            error.filename = error.filename or str(target)
        raise
    finally:
        os.close(lock)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sweep(place: Path, name: str) -> None:
    """Remove what backups of this stack have left that were killed."""
    for folder in place.glob(f".{name}-*Z{PARTIAL}"):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another backup is being made
        finally:
            os.close(lock)
        say(STEP, f"removing what an interrupted backup has left: {folder}")
        shutil.rmtree(folder)


def _forget(place: Path, name: str, keep: int) -> None:
    """Remove the oldest backups of the stack."""
    whole = []
    for folder in place.glob(f"{name}-*Z"):
        try:
            found = read(folder)
        except Problem:
            continue  # not ours to remove
        if found.stack == name:
            whole.append((found.made, folder))
    for _, folder in sorted(whole)[:-keep]:
        say(STEP, f"removing an old backup: {folder}")
        # Half removed, it must not be taken for a backup.
        gone = folder.with_name(f".{folder.name}{PARTIAL}")
        folder.rename(gone)
        shutil.rmtree(gone)
