"""`make backup`: all that a stack cannot make again, as files, while people work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from toolchain import passphrase, stack
from toolchain.backup import encryption, jobs, place, turn
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers, JobFailed, Report
from toolchain.backup.manifest import (
    CONFIG,
    ENCRYPTED,
    FORMAT,
    HOMES,
    NAME,
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

    def file(self, name: str) -> Path:
        """Where a part is."""
        return self.path / (name + (ENCRYPTED if self.key else ""))

    def add(self, name: str, write: Callable[[IO[bytes]], Report], user: str = "") -> Part:
        """Write a part; what writes it may say what it has packed.

        Raises:
            Problem: no backup has a part of that name.
        """
        if not NAME.fullmatch(name):
            raise Problem(f"{name!r} cannot be the name of a part of a backup")
        file = self.file(name)
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
        self, name: str, helpers: Helpers, job: jobs.Job, what: str, user: str = ""
    ) -> _Streamed:
        """Write a part that a helper streams.

        Raises:
            JobFailed: it failed, or not all arrived. Half a file may be there.
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
            raise JobFailed(
                f"of {what}, {progress.size} bytes of {report['bytes']} arrived. Try again"
            )
        return _Streamed(part, report)


@dataclass(frozen=True)
class _Streamed:
    part: Part
    report: Report


@dataclass(frozen=True)
class _Volume:
    """One that a backup has."""

    name: str
    file: str
    what: str
    """In words."""
    told: str
    """What is said when it is packed."""
    owner: str
    """The user, or the shared folder's name."""

    @property
    def user(self) -> str:
        return self.owner if self.file.startswith(HOMES) else ""


def save(name: str, docker: str, to: str, recipient: str, keep: str) -> Path:
    """Back a stack up; returns the backup's folder.

    Homes that cannot be read are left out, since one user could otherwise keep everybody's files
    from being backed up; `check_whole` fails then.

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
    with turn.among_others(helpers, turn.BACKUP):
        return saved(name, helpers, to, key, int(keep or 0))


def saved(name: str, helpers: Helpers, to: str, key: Path | None, keep: int) -> Path:
    """The same, for who sees to it that homes stay as they are."""
    engine = helpers.engine
    parent = Path(to).resolve() if to else PLACE
    now = datetime.now(UTC)
    os.umask(0o077)
    parent.mkdir(parents=True, exist_ok=True)
    place.sweep(parent, name)
    target = place.target(parent, name, now)
    with place.making(target) as folder:
        manifest = _fill(_Folder(folder, key), name, helpers, now)
        manifest.write(folder)
    if not manifest.missing():
        _mark(helpers)
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
    if keep and not manifest.missing():
        place.forget(target, keep)
    return target


def _mark(helpers: Helpers) -> None:
    """Have the hub know of a whole backup, which is one also where that fails: a disk is full."""
    try:
        helpers.ask(jobs.mark(f"{helpers.engine.prefix}-state"))
    except JobFailed as failed:
        say(STEP, "WARNING: the backup is whole, but the hub's metrics do not show it:")
        for line in str(failed).splitlines():
            say(STEP, f"    {line}")


def check_whole(folder: Path) -> None:
    """Check that a backup has all homes and shared folders.

    Raises:
        Problem: some could not be read.
    """
    manifest = read(folder)
    if missing := manifest.missing():
        raise Problem(
            f"the backup {folder} can be restored, but it does not have what could not be read: "
            f"{missing}. See above why: the engine's disk, or programs that swap files and links "
            "all the time. Then back up again. Until a backup has all, KEEP removes none, and the "
            "hub's metrics show the time of the last one that had"
        )


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
    release = helpers.ask(jobs.release())
    state = folder.stream(
        STATE, helpers, jobs.save_state(f"{engine.prefix}-state"), "the hub's database"
    )
    parts.append(state.part)
    failed: list[_Volume] = []
    volumes = _volumes(engine)
    for kind in (HOMES, SHARED):
        (folder.path / kind).mkdir()
    for volume in volumes:
        try:
            parts += _pack(folder, helpers, volume)
        except JobFailed:
            failed.append(volume)
    return Manifest(
        format=FORMAT if failed else 2 if engine.shared() else 1,
        made=place.made(now),
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
        failed=tuple(volume.owner for volume in failed if volume.user),
        failed_shared=tuple(volume.owner for volume in failed if not volume.user),
    )


def _volumes(engine: Engine) -> list[_Volume]:
    """The homes and the shared folders."""
    homes = engine.homes()
    found = [
        _Volume(
            name=volume,
            file=f"{HOMES}/{volume.removeprefix(f'{engine.prefix}-home-')}.tar.gz",
            what=f"the home of {user}",
            told=f"home {number} of {len(homes)}: {user}",
            owner=user,
        )
        for number, (volume, user) in enumerate(homes.items(), start=1)
    ]
    for folder, volume in engine.shared().items():
        what = f"the shared folder {folder}"
        found.append(_Volume(volume, f"{SHARED}/{folder}.tar.gz", what, what, folder))
    return found


def _pack(folder: _Folder, helpers: Helpers, volume: _Volume, *, again: bool = True) -> list[Part]:
    """Write the part of a volume, in a second try if the first fails.

    Returns:
        the part; none if the volume was removed meanwhile.

    Raises:
        JobFailed: the volume cannot be read. No part of it is left.
        Problem: the engine does not answer any more.
    """
    try:
        streamed = folder.stream(
            volume.file, helpers, jobs.save_home(volume.name), volume.what, volume.user
        )
    except JobFailed as failed:
        folder.file(volume.file).unlink(missing_ok=True)
        engine = helpers.engine
        if volume.name not in {*engine.homes(), *engine.shared().values()}:
            say(STEP, f"{volume.what} was removed meanwhile")
            return []
        say(STEP, f"{volume.what} cannot be read{'; once more' if again else ': left out'}")
        for line in str(failed).splitlines():
            say(STEP, f"    {line}")
        if again:
            return _pack(folder, helpers, volume, again=False)
        raise
    _tell(volume.told, streamed.part)
    return [streamed.part]


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
