"""`make homes`: homes go where new ones are made, which pruning the engine leaves.

These are homes of releases before, and those from before `homesPath` was changed. Options of a
volume cannot be changed, so each home is made anew, from a backup that stays.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from toolchain import stack
from toolchain.backup import jobs, turn
from toolchain.backup import save as saving
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers
from toolchain.backup.manifest import check, read
from toolchain.backup.restore import content, stopped
from toolchain.console import Problem, say

STEP = "homes"


def take_over(name: str, docker: str) -> None:
    """Make a stack's homes anew that are elsewhere than new ones, with what is in them.

    Args:
        name: of the stack.
        docker: the client.

    Raises:
        Problem: it failed; the text says what to do about the home that it was at.
    """
    engine = Engine((docker, *stack.docker_options(name)), stack.prefix(name))
    helpers = Helpers(engine, engine.image())
    own = stack.named(name)
    if not helpers.ask(jobs.release())["mounted"]:
        raise Problem(f"the hub that runs is of a release before: make up{own}")
    if driver := engine.homes_driver():
        raise Problem(
            f"homesDriver is {driver}, and homes that are elsewhere are not moved there by this"
            " command. They go on working. docs/homes.md says how to move them"
        )
    path = engine.homes_path()
    under_way = saving.PLACE / f".homes-{name}"
    if under_way.exists():
        raise Problem(
            "an earlier `make homes` ended while it made a home anew, which may have only a part of"
            f" its files. Now, {under_way.read_text()}If the user has worked in it since, type only"
            " the last two lines: the files then come into a folder beside. If the hub is stopped:"
            f" docker start {engine.prefix}-hub. Then type this again"
        )
    if not _elsewhere(engine, path):
        place = f"in {path}" if path else "where pruning the engine leaves them"
        say(STEP, f"nothing to do: all homes are {place}")
        return
    # Nobody can start a server meanwhile.
    with turn.alone(helpers, "make homes"), stopped(engine):
        running = {server.removeprefix(f"{engine.prefix}-user-") for server in engine.servers()}
        homes = {
            suffix: volume
            for volume in _elsewhere(engine, path)
            if (suffix := volume.removeprefix(f"{engine.prefix}-home-")) not in running
        }
        if homes:
            _make_anew(name, helpers, homes, under_way)
    left = {v.removeprefix(f"{engine.prefix}-home-") for v in _elsewhere(engine, path)}
    if left := left & running:
        say(STEP, f"left as they are, since their servers run: {', '.join(sorted(left))}.")
        say(STEP, f"Stop the servers (docker stop {engine.prefix}-user-NAME), and type again:")
        say(STEP, f"make homes{own}")


def _make_anew(name: str, helpers: Helpers, homes: dict[str, str], under_way: Path) -> None:
    """Make homes anew.

    Args:
        name: of the stack.
        helpers: on its engine.
        homes: their volumes, by the ends of these names.
        under_way: file that has what to do while a home is not whole, for whoever comes after this
            was killed: that home is where new ones are made, as if it were done.
    """
    engine = helpers.engine
    path = engine.homes_path()
    before = _elsewhere(engine, path)
    if path:
        # Refused before the backup, which takes long, if there are files: they are not this home's.
        for volume in homes.values():
            helpers.ask(jobs.make_folder(path, volume))
    folder = saving.saved(name, helpers, "", None, 0)
    manifest = read(folder)
    parts = manifest.homes()
    # One user's home that cannot be read must not keep all others where pruning deletes them.
    unread = {suffix: volume for suffix, volume in homes.items() if suffix not in parts}
    homes = {suffix: volume for suffix, volume in homes.items() if suffix in parts}
    for suffix in homes:
        check(folder, parts[suffix])
    for number, (suffix, volume) in enumerate(homes.items(), start=1):
        part = parts[suffix]
        fix = [
            f"the files of {part.user} are in the backup. To put them back:",
            f"docker volume rm {volume}",
            *([f"on the engine's machine, as root: rm -r {path}/{volume}"] if path else []),
            f"make restore{stack.named(name)} FROM={folder} USER={part.user}",
            f"rm {shlex.quote(str(under_way))}",
        ]
        under_way.write_text("\n".join([*fix, ""]))
        try:
            engine.ask("volume", "rm", volume)
        except Problem:
            under_way.unlink()
            raise
        try:
            engine.make_home(volume, part.user, mounted=True, path=path)
            helpers.send(jobs.put_home(volume, part.content), content(folder, manifest, part))
        except BaseException:
            for line in fix:
                say(STEP, line)
            raise
        under_way.unlink()
        say(STEP, f"home {number} of {len(homes)}: {part.user}")
        if device := before[volume]:
            say(STEP, f"    what was there before is left: {device}")
    say(STEP, f"done. When users have found their files, remove the backup: {folder}")
    if unread:
        raise Problem(
            f"left as they are, since they could not be read (see above): {', '.join(unread)}. "
            f"When that is mended: make homes{stack.named(name)}"
        )


def _elsewhere(engine: Engine, path: str) -> dict[str, str]:
    """The homes that are not where new ones are made, and the folder that `docker` leaves of each.

    One without options is in the engine's own folder, where pruning deletes it while nobody uses
    it. One in a folder that the site chose before stays there when its volume is removed.
    """
    found = engine.homes()
    if not found:
        return {}
    own = engine.device("{}", "")
    now = f"{path}/{{}}" if path else own
    root = own.partition("{}")[0]
    listed = json.loads(engine.ask("volume", "inspect", *found))
    elsewhere = {}
    for volume in listed:
        options = volume["Options"] or {}
        device = options.get("device", "")
        if not options:
            elsewhere[volume["Name"]] = ""
        elif options.get("o") == "bind" and device != now.format(volume["Name"]):
            elsewhere[volume["Name"]] = "" if device.startswith(root) else device
    return elsewhere
