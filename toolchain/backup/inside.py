"""What runs in a helper container: packs a volume to standard output, or unpacks standard input.

It is given to the image's Python as text, so that it also works with images of other releases. So
it imports nothing but the standard library. The last line on standard error is its report, as JSON.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

#: Where the volume is mounted.
VOLUME = Path("/data")

DATABASE = "jupyterhub.sqlite"

#: What the hub writes beside the database and a copy must not have: they belong to the live file.
LIVE = tuple(f"{DATABASE}{end}" for end in ("-wal", "-shm", "-journal"))

#: What is unpacked has this name, or one that begins with it, until all is there.
UNPACKING = ".restoring"

#: Begins the report's line.
MARK = "zhub-backup "

BLOCK = 1 << 20

#: Owners by number, access lists, users' own attributes, holes in files, names of any length. Other
#: attributes belong to the machine (SELinux labels) or need rights that no user's program has.
TAR = ("tar", "--format=posix", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=user.*")

#: tar's exit code when files changed while it read them.
CHANGED = 1

#: Lines of tar's warnings that a report has.
WARNINGS = 20

#: Bytes of the longest path that a system call takes. Programs that go from folder to folder make
#: longer ones, and tar packs them, but does not unpack them: how its lines about them end.
LONGEST = 4095
TOO_LONG = (b"File name too long\n", b"due to previous errors\n")

#: How tar's line about a full disk ends; and what a job then says last.
NO_ROOM = b"No space left on device\n"
FULL = "the engine's disk is full"


class Failed(Exception):
    """It did not work; the text says why."""


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """A stream of a process that was started with one."""
    if stream is None:
        raise ValueError("the process has no such stream")
    return stream


class _Counted:
    """A stream that counts and hashes what is written to it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._size += len(data)
        return self._out.write(data)

    def report(self) -> dict[str, Any]:
        self._out.flush()
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}


class _Checked:
    """A stream whose content is checked at its end."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def compare(self, sha256: str) -> None:
        """Read the rest, and check it all.

        Raises:
            Failed: it is something else, or not all of it.
        """
        while self.read(BLOCK):
            pass
        if self._hash.hexdigest() != sha256:
            raise Failed("not all arrived as it was backed up (checksum)")


def save_home(volume: Path, out: BinaryIO) -> dict[str, Any]:
    """Pack a home.

    `gzip --rsyncable` compresses the same file to the same bytes, whatever was before it in the
    archive: tools that look for what two backups have in common find it.
    """
    counted = _Counted(out)
    with (
        tempfile.TemporaryFile("w+", errors="replace") as said,
        subprocess.Popen(
            [*TAR, "--create", "--sparse", "--file=-", f"--directory={volume}", "."],
            stdout=subprocess.PIPE,
            stderr=said,
        ) as tar,
        subprocess.Popen(
            ["gzip", "-1", "--rsyncable"], stdin=tar.stdout, stdout=subprocess.PIPE
        ) as gzip,
    ):
        pipe(tar.stdout).close()  # so that tar notices when gzip has ended
        packed = pipe(gzip.stdout)
        while block := packed.read(BLOCK):
            counted.write(block)
        code = tar.wait()
        said.seek(0)
        lines = said.read().splitlines()
        if code not in (0, CHANGED) or gzip.wait():
            raise Failed("\n".join(["tar or gzip failed", *lines[-WARNINGS:]]))
    return counted.report() | {"warnings": [*_too_long(volume), *lines][:WARNINGS]}


def _too_long(volume: Path) -> list[str]:
    """A warning of paths that cannot be unpacked, if there are any."""
    # No name has more than 255 bytes, so only deep folders have such paths.
    command = ["find", ".", "-mindepth", str(LONGEST // 256), "-printf", r"%p\0"]
    count, shown, rest = 0, "", b""
    with subprocess.Popen(
        command, cwd=volume, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as find:
        found = pipe(find.stdout)
        while block := found.read(BLOCK):
            *paths, rest = (rest + block).split(b"\0")
            for path in paths:
                if len(path) > LONGEST:
                    count += 1
                    shown = shown or path[:80].decode(errors="replace")
    if not count:
        return []
    return [f"WARNING: paths of more than {LONGEST} bytes cannot be restored ({count}): {shown}…"]


def size(volume: Path, seconds: float) -> dict[str, Any]:
    """Count what a volume takes on the disk: what holes do not, and each file once.

    It yields to everything else that wants the processor, and ends when the time is up: what it has
    counted until then is the least there is. So it is where something cannot be read, such as a
    path that is too long.
    """
    os.nice(19)
    end = time.monotonic() + seconds
    taken = files = 0
    whole = True
    seen: set[tuple[int, int]] = set()
    left = [os.fsencode(volume)]
    while left and time.monotonic() < end:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    found = _stat(entry)
                    # A subvolume of btrfs has numbers of its own.
                    if found is None or (number := (found.st_dev, found.st_ino)) in seen:
                        continue
                    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                        seen.add(number)
                    files += 1
                    taken += found.st_blocks * 512
                    if stat.S_ISDIR(found.st_mode):
                        left.append(entry.path)
                    if time.monotonic() > end:
                        return {"bytes": taken, "files": files, "whole": False}
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError as error:
            print(f"a folder is not counted: {error.strerror}", file=sys.stderr)
            whole = False
    return {"bytes": taken, "files": files, "whole": whole and not left}


def _stat(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    """What a file is; None for one that was removed meanwhile."""
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def put_home(
    volume: Path, source: BinaryIO, sha256: str, into: str = "", partly: str = ""
) -> dict[str, Any]:
    """Unpack a home: as the volume's content if it has none, otherwise into a new folder in it.

    Nothing is in its place before all is there: who is interrupted leaves no half of a home.

    Args:
        volume: where it is.
        source: the archive.
        sha256: of the archive.
        into: name of the folder; empty if the volume must have no content.
        partly: not empty if all may stay but paths that are too long.

    Returns:
        `whole`: whether all was unpacked; tar has said on standard error what was not.
        `into`: the folder; empty for the volume itself.
    """
    _sweep(volume)
    if into and (volume / into).exists():
        raise Failed(f"the home already has a folder {into}")
    if not into and any(volume.iterdir()):
        raise Failed("the volume is not empty")
    target = Path(tempfile.mkdtemp(dir=volume, prefix=UNPACKING))
    lock = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = _unpack(target, source, sha256, partly)
        where = _settle(target, volume, into)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        os.close(lock)
    return {"whole": whole, "into": where}


def _sweep(volume: Path) -> None:
    """Remove what jobs have left that were killed."""
    for folder in volume.glob(f"{UNPACKING}*"):
        # Of root's until all is unpacked: a folder of the user's with such a name is left alone.
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            continue
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another job works in it
        finally:
            os.close(lock)
        shutil.rmtree(folder)


def _settle(target: Path, volume: Path, into: str) -> str:
    """Put what is unpacked in its place; returns the folder, or nothing for the volume itself."""
    if any(path != target for path in volume.iterdir()):
        if not into:
            raise Failed("the volume is not empty any more: its user has begun to work")
        target.rename(volume / into)
        return into
    found = target.stat()
    for path in target.iterdir():
        path.rename(volume / path.name)
    os.chown(volume, found.st_uid, found.st_gid)
    shutil.copystat(target, volume)
    target.rmdir()
    os.utime(volume, ns=(found.st_atime_ns, found.st_mtime_ns))
    return ""


def _unpack(folder: Path, source: BinaryIO, sha256: str, partly: str) -> bool:
    """Unpack an archive, perhaps without paths that are too long; returns whether that was all."""
    checked = _Checked(source)
    command = [*TAR, "--extract", "--gzip", "--same-permissions", "--file=-", f"-C{folder}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
        more, full = threading.Event(), threading.Event()

        def listen() -> None:
            for line in pipe(tar.stderr):
                print(line.decode(errors="replace"), end="", file=sys.stderr)
                if not line.endswith(TOO_LONG):
                    more.set()
                if line.endswith(NO_ROOM):
                    full.set()

        listening = threading.Thread(target=listen)
        listening.start()
        packed = pipe(tar.stdin)
        with suppress(BrokenPipeError):  # tar says why
            while block := checked.read(BLOCK):
                packed.write(block)
        with suppress(BrokenPipeError):
            packed.close()
        listening.join()
    checked.compare(sha256)
    if full.is_set():
        raise Failed(FULL)
    if tar.returncode and (not partly or more.is_set()):
        raise Failed("tar failed, see above")
    return not tar.returncode


def save_state(volume: Path, out: BinaryIO) -> dict[str, Any]:
    """Pack what the hub keeps, with a consistent copy of the database that it may be using."""
    if not (volume / DATABASE).exists():
        raise Failed(f"there is no {DATABASE}: was the hub ever up?")
    counted = _Counted(out)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / DATABASE
        with (
            closing(sqlite3.connect(volume / DATABASE, timeout=60)) as live,
            closing(sqlite3.connect(copy)) as connection,
        ):
            # `backup` would wait forever for a database that is locked.
            live.execute("SELECT name FROM sqlite_master").fetchall()
            # In one step: a reader sees one state of the database, whatever is written meanwhile.
            live.backup(connection)
            # One file, without a log beside it.
            connection.execute("PRAGMA journal_mode=DELETE")
        found = look(copy)
        with tarfile.open(fileobj=cast("BinaryIO", counted), mode="w|gz") as archive:
            archive.add(copy, DATABASE)
            for path in sorted(volume.iterdir()):
                # Folders are copies of databases from before an upgrade.
                if path.is_file() and not path.name.startswith((DATABASE, ".")):
                    archive.add(path, path.name)
    return counted.report() | found


def mark(volume: Path, now: Callable[[], float] = time.time) -> dict[str, Any]:
    """Write down that a backup is whole; the hub shows the time in its metrics."""
    part = volume / ".last-backup.part"
    part.write_text(f"{now():.0f}\n")
    part.rename(volume / "last-backup")
    return {}


def look(database: Path) -> dict[str, Any]:
    """Who is in a database, and which release can read it.

    Raises:
        Failed: it cannot be read, or is damaged.
    """
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=60)) as db:
            (health,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            if health != "ok":
                raise Failed(f"the database is damaged: {health}")
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}

            def column(name: str, table: str) -> list[str]:
                query = f"SELECT {name} FROM {table} ORDER BY 1"  # noqa: S608 - constants
                return [value for (value,) in db.execute(query)] if table in tables else []

            return {
                "users": column("name", "users"),
                # Releases before recorded no logins.
                "logins": column("name", "zhub_logins" if "zhub_logins" in tables else "users"),
                "revision": "".join(column("version_num", "alembic_version")),
            }
    except sqlite3.Error as error:
        raise Failed(f"the database cannot be read: {error}") from None


def release() -> dict[str, Any]:
    """The image's JupyterHub, the databases it can read, and the homes its guard accepts."""
    package = importlib.util.find_spec("jupyterhub")
    if package is None or package.origin is None:
        raise Failed("the image has no JupyterHub")
    known = [
        found[1]
        for file in Path(package.origin).parent.glob("alembic/versions/*.py")
        if (found := re.search(r"^revision = ['\"](\w+)", file.read_text(), re.MULTILINE))
    ]
    hub = importlib.util.find_spec("zhub")
    return {
        "jupyterhub": importlib.metadata.version("jupyterhub"),
        "revisions": sorted(known),
        # Guards of releases before accept only volumes without options.
        "mounted": bool(
            hub and hub.origin and Path(hub.origin).with_name("guard").joinpath("homes.py").exists()
        ),
    }


def make_folder(place: Path, name: str) -> dict[str, Any]:
    """Make an empty folder; one that a site has prepared is taken, if nothing is in it."""
    folder = place / name
    if folder.is_symlink():
        raise Failed(f"{name} is a link")
    folder.mkdir(mode=0o700, exist_ok=True)
    if any(folder.iterdir()):
        raise Failed(
            f"{name} exists and has files in it, which are left alone. Move it elsewhere, or"
            " remove it, and type the command again"
        )
    return {}


def remove_folder(place: Path, name: str) -> dict[str, Any]:
    """Remove a folder, if there is one; if something is mounted on it, only what is in it."""
    folder = place / name
    if folder.is_symlink() or not folder.is_dir():
        return {}
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
    return {}


def put_state(volume: Path, source: BinaryIO, sha256: str, keep: str = "") -> dict[str, Any]:
    """Put what a hub kept into the volume, in place of what another one kept there.

    Nothing changes until all has arrived and the database is sound.

    Args:
        volume: where it is.
        source: the archive.
        sha256: of the archive.
        keep: not empty if the database that is there stays beside.

    Returns:
        what is known of the new database; `kept`: where the one before is, or nothing.
    """
    folder = volume / UNPACKING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        checked = _Checked(source)
        with tarfile.open(fileobj=cast("BinaryIO", checked), mode="r|gz") as archive:
            # Pythons before 3.11.4 have no filters; the image's has.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)  # noqa: S202 - with the filter
        checked.compare(sha256)
        found = look(folder / DATABASE)
        forget_servers(folder / DATABASE)
        kept = _set_aside(volume) if keep else ""
        # The log of the database that was there would spoil this one.
        for name in LIVE:
            (volume / name).unlink(missing_ok=True)
        for path in sorted(folder.iterdir()):
            path.rename(volume / path.name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Failed(f"the archive cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found | {"kept": kept}


def _set_aside(volume: Path) -> str:
    """Keep the database that is there as it is, sound or not; returns where."""
    there = [path for name in (DATABASE, *LIVE) if (path := volume / name).exists()]
    if not there:
        return ""
    # Beside the copies that a hub makes before an upgrade, which backups leave out.
    name = f"copies/replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    (volume / name).mkdir(mode=0o700, parents=True)
    for path in there:
        path.rename(volume / name / path.name)
    return name


def forget_servers(database: Path) -> None:
    """Delete what a database says of running servers.

    They ran on the engine, and under the names, of the stack that was backed up. Their tokens end
    with them.
    """
    with closing(sqlite3.connect(database)) as db, db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if {"api_tokens", "spawners", "servers"} <= tables:
            db.execute(
                "DELETE FROM api_tokens WHERE id IN (SELECT api_tokens.id FROM api_tokens"
                " JOIN spawners ON spawners.user_id = api_tokens.user_id"
                " JOIN servers ON servers.id = spawners.server_id"
                " WHERE expires_at IS NULL AND note = 'Server at ' || servers.base_url)"
            )
            db.execute("DELETE FROM servers WHERE id IN (SELECT server_id FROM spawners)")
            db.execute("UPDATE spawners SET server_id = NULL, started = NULL, state = '{}'")


def hold(out: BinaryIO) -> dict[str, Any]:
    """Say that this runs, and end when standard input ends."""
    out.write(b"held\n")
    out.flush()
    while os.read(0, 1):
        pass
    return {}


def end_with_reader() -> None:
    """End when standard input ends: who reads is gone, and nobody would take what is packed.

    The engine closes it when the `docker` command ends, however that ends.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: Sequence[str], volume: Path = VOLUME) -> int:
    """Do one of the jobs; returns the exit code."""
    job, *more = arguments
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "save-home": lambda: save_home(volume, sys.stdout.buffer),
        "save-state": lambda: save_state(volume, sys.stdout.buffer),
        "put-home": lambda: put_home(volume, sys.stdin.buffer, *more),
        "put-state": lambda: put_state(volume, sys.stdin.buffer, *more),
        "size": lambda: size(volume, *map(int, more)),
        "empty": lambda: {"empty": not any(volume.iterdir())},
        "mark": lambda: mark(volume),
        "look": lambda: look(volume / DATABASE) if (volume / DATABASE).exists() else {},
        "make-folder": lambda: make_folder(volume, *more),
        "remove-folder": lambda: remove_folder(volume, *more),
        "hold": lambda: hold(sys.stdout.buffer),
        "release": release,
    }
    os.umask(0o077)
    try:
        report = jobs[job]()
    except (Failed, sqlite3.Error) as failed:
        print(failed, file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(FULL, file=sys.stderr)
        return 1
    print(f"{MARK}{json.dumps(report)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    if sys.argv[1].startswith("save-"):
        end_with_reader()
    sys.exit(main(sys.argv[1:]))
