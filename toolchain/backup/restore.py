"""`make restore`: a backup into an empty stack, or one user's home beside the present one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain import stack
from toolchain.backup import encryption, jobs, turn
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers, JobFailed
from toolchain.backup.inside import FULL
from toolchain.backup.manifest import CONFIG, STATE, Manifest, Part, blocks, check, read
from toolchain.backup.save import MB, PLACE
from toolchain.backup.unused import DATABASE, NAMED, REPLACE, Wish, check_unused
from toolchain.console import Problem, say, timed, uninterrupted

STEP = "restore"

#: Seconds that the hub gets to become healthy; under emulation it takes most of a minute.
START_SECONDS = 300


def restore(  # noqa: PLR0913, PLR0917 - as on the command line
    name: str, docker: str, source: str, user: str, only: str, replace: str
) -> None:
    """Restore a backup into a stack that is up, and that nobody has used.

    Args:
        name: of the stack; another one than was backed up will do.
        docker: the client.
        source: the backup's folder.
        user: restore nothing but this user's home, into a new folder in it; empty for all.
        only: `database` for no homes; empty for all.
        replace: `yes` for a database in place of one that people have logged in to.

    Raises:
        Problem: it was refused, and then nothing has changed; or it failed, and then the stack is
            as it was; or all is restored but what the text names.
    """
    if only not in ("", DATABASE) or (only and user):
        raise Problem(f"ONLY={only}: can only be {DATABASE}, and not together with USER")
    if replace not in ("", REPLACE) or (replace and not only):
        raise Problem(f"REPLACE={replace}: can only be {REPLACE}, and only with ONLY={DATABASE}")
    folder = _folder(source)
    manifest = read(folder)
    engine = Engine((docker, *stack.docker_options(name)), stack.prefix(name))
    helpers = Helpers(engine, engine.image())
    if user:
        with turn.among_others(helpers, f"make restore USER={user}"):
            _one_home(folder, manifest, helpers, user)
        return
    wish = Wish(homes=not only, replace=bool(replace))
    # A database must not have to wait for the hours that a backup takes, which has it already.
    with turn.alone(helpers, "make restore", but="" if wish.homes else turn.BACKUP):
        _all(name, folder, manifest, helpers, wish)


def _folder(source: str) -> Path:
    if source:
        return Path(source).resolve()
    found = sorted(path for path in PLACE.glob("*") if path.is_dir())
    shown = f". In {PLACE}: {', '.join(path.name for path in found[-NAMED:])}" if found else ""
    raise Problem(f"say which backup: make restore STACK=NAME FROM=FOLDER{shown}")


def content(folder: Path, manifest: Manifest, part: Part) -> Iterator[bytes]:
    file = folder / part.file
    return encryption.decrypted(file) if manifest.encrypted else blocks(file)


def _check_key(folder: Path, manifest: Manifest) -> None:
    """Read a small part, before anything is changed: this user may have no key for it."""
    for _ in content(folder, manifest, manifest.part(CONFIG)):
        pass


def _all(name: str, folder: Path, manifest: Manifest, helpers: Helpers, wish: Wish) -> None:
    engine, homes = helpers.engine, wish.homes
    wanted = manifest.homes() if homes else {}
    shared = manifest.shared() if homes else {}
    mounted = _check_release(name, manifest, helpers)
    check_unused(name, helpers, wish, wanted, shared)
    with timed(STEP, f"checking the backup of {manifest.stack} of {manifest.made}"):
        for part in (manifest.part(STATE), *wanted.values(), *shared.values()):
            check(folder, part)
        _check_key(folder, manifest)
    if homes:
        _tell_missing(manifest)
    with stopped(engine):
        # Reading the files may have taken long, and people could log in meanwhile.
        check_unused(name, helpers, wish, wanted, shared)
        left = _put_all(folder, manifest, helpers, mounted=mounted, homes=homes)
    _report(engine)
    if shared:
        say(STEP, f"shared folders: {', '.join(shared)}. Who gets them, the stack's settings say")
    count = len(wanted) - sum(what.startswith("home") for what in left)
    say(STEP, f"{len(manifest.users)} users and {count} homes are in stack {name}")
    if homes:
        _tell_missing(manifest)
    if left:
        raise Problem(
            f"all is restored but what cannot be unpacked (see above): {', '.join(left)}. If paths "
            "are too long, this puts the rest of a home in its place: "
            f"make restore{stack.named(name)} FROM={folder} USER=NAME. A shared folder is unpacked "
            "by hand (docs/backup.md, Restore)"
        )


def _report(engine: Engine, *user: str) -> None:
    """Have the audit log say it: users and tokens that were removed since the backup are back."""
    try:
        engine.ask("exec", f"{engine.prefix}-hub", "zhub", "users", "restored", *user)
    except Problem as error:
        say(STEP, f"WARNING: done, but perhaps not in the audit log: {error}")


def _put_all(
    folder: Path, manifest: Manifest, helpers: Helpers, *, mounted: bool, homes: bool
) -> list[str]:
    """Put a backup in its place; returns what was left out, since it cannot be unpacked.

    One user's home could otherwise keep everybody from being restored.
    """
    engine = helpers.engine
    made: list[str] = []
    left: list[str] = []

    def put(volume: str, part: Part, what: str) -> None:
        made.append(volume)
        if not _put(helpers, volume, part, content(folder, manifest, part)):
            made.remove(volume)
            left.append(what)

    wanted = manifest.homes() if homes else {}
    try:
        for number, (suffix, part) in enumerate(wanted.items(), start=1):
            volume = f"{engine.prefix}-home-{suffix}"
            helpers.make_home(volume, part.user, mounted=mounted)
            say(STEP, f"home {number} of {len(wanted)}: {part.user}, {part.bytes / MB:.1f} MB")
            put(volume, part, f"home of {part.user}")
        for name, part in manifest.shared().items() if homes else ():
            say(STEP, f"shared folder {name}, {part.bytes / MB:.1f} MB")
            put(_shared(engine, name), part, f"shared folder {name}")
        # Last: a stack without it is still an unused one.
        part = manifest.part(STATE)
        # An `up` of somebody else may have started a hub meanwhile, with the database before.
        engine.ask("stop", f"{engine.prefix}-hub")
        report = helpers.send(
            # Of a stack that nobody has used, nobody misses it.
            jobs.put_state(f"{engine.prefix}-state", part.content, keep=not homes),
            content(folder, manifest, part),
        )
    except BaseException:
        say(STEP, "failed: removing what was made …")
        with uninterrupted():
            for volume in made:
                helpers.remove_home(volume)
        say(STEP, "the stack is as it was")
        raise
    if kept := report["kept"]:
        say(STEP, f"the database before is kept, in {engine.prefix}-state: {kept}")
    return left


def _put(helpers: Helpers, volume: str, part: Part, packed: Iterable[bytes]) -> bool:
    """Unpack a home or a shared folder into a volume that was just made.

    Returns:
        whether all was unpacked. If not, the volume is removed: half a home would be taken for it.

    Raises:
        Problem: the volume cannot be removed, the packed content cannot be read, or the engine's
            disk is full: all homes that follow would be left out as well.
    """
    try:
        helpers.send(jobs.put_home(volume, part.content), packed)
    except JobFailed as failed:
        helpers.remove_home(volume)
        if volume in helpers.engine.ask("volume", "ls", "--quiet").split():
            raise
        if failed.last == FULL:
            raise Problem(
                f"{failed}\nMake room (docs/operations.md, The engine's disk is full), and type the"
                " command again"
            ) from None
        say(STEP, "    WARNING: left out, since it cannot be unpacked:")
        for line in str(failed).splitlines():
            say(STEP, f"    {line}")
        return False
    return True


def _tell_missing(manifest: Manifest) -> None:
    """Say what the backup does not have."""
    if missing := manifest.missing():
        say(STEP, f"WARNING: not in the backup, since it could not be read then: {missing}")


def _check_release(name: str, manifest: Manifest, helpers: Helpers) -> bool:
    """Check that the stack's hub can read the database; returns whether homes can be mounted.

    Raises:
        Problem: it is of a newer JupyterHub.
    """
    release = helpers.ask(jobs.release())
    if manifest.revision and manifest.revision not in release["revisions"]:
        raise Problem(
            f"the database in this backup is of JupyterHub {manifest.jupyterhub}, and stack {name} "
            f"runs {release['jupyterhub']}, which does not know it ({manifest.revision}): nothing "
            f"was changed. Bring the stack up with the backup's release ({manifest.program}) first"
        )
    return bool(release["mounted"])


def _shared(engine: Engine, folder: str) -> str:
    """Make the volume of a shared folder anew, in place of an empty one; returns its name.

    So that a restore that fails can remove all that it has made, and the guard makes it again.
    """
    if volume := engine.shared().get(folder):
        engine.ask("volume", "rm", volume)
    return engine.make_shared(folder)


@contextmanager
def stopped(engine: Engine) -> Iterator[None]:
    """Stop the hub meanwhile; afterwards wait until it is healthy."""
    hub = f"{engine.prefix}-hub"
    say(STEP, f"stopping {hub}")
    engine.ask("stop", hub)
    try:
        yield
    finally:
        with uninterrupted():
            # One that an `up` has started meanwhile still has the database before.
            engine.ask("restart", hub)
    with timed(STEP, f"waiting for {hub}"):
        end = time.monotonic() + START_SECONDS
        health = "inspect", "--format", "{{.State.Health.Status}}", hub
        while engine.ask(*health) != "healthy":
            if time.monotonic() > end:
                raise Problem(f"{hub} is not healthy after {START_SECONDS} s: docker logs {hub}")
            time.sleep(1)


def _one_home(folder: Path, manifest: Manifest, helpers: Helpers, user: str) -> None:
    """Restore one user's home, also while the user works: into a new folder if there are files."""
    engine = helpers.engine
    found = {part.user: (suffix, part) for suffix, part in manifest.homes().items()}
    if user in manifest.failed:
        raise Problem(
            f"the backup has no home of {user}: it could not be read then. Take another backup"
        )
    if user not in found:
        raise Problem(f"the backup has no home of {user}. It has: {', '.join(sorted(found))}")
    suffix, part = found[user]
    check(folder, part)
    _check_key(folder, manifest)
    volume = f"{engine.prefix}-home-{suffix}"
    into = f"restored-{manifest.made.replace(':', '').replace('-', '')}"
    new = volume not in engine.homes()
    if new:
        helpers.make_home(volume, user, mounted=helpers.ask(jobs.release())["mounted"])
    try:
        with timed(STEP, f"the home of {user}, {part.bytes / MB:.1f} MB"):
            report = helpers.send(
                jobs.put_home(volume, part.content, into, partly=True),
                content(folder, manifest, part),
            )
    except BaseException:
        if new:
            with uninterrupted():
                helpers.remove_home(volume)
        raise
    # One that is there may be empty, as after a restore that was killed.
    into = report["into"]
    place = f"the folder {into} of the home" if into else "a new home"
    say(STEP, f"{user} finds the files of {manifest.made} in {place}")
    _report(engine, user)
    if not report["whole"]:
        raise Problem(f"some of it has paths too long to be unpacked:\n{report['said']}")
