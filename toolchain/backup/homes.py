"""`make homes`: homes of releases before become such that pruning the engine leaves them.

Options of a volume cannot be changed, so each home is made anew, from a backup that stays.
"""

from __future__ import annotations

import json

from toolchain import stack
from toolchain.backup import helper
from toolchain.backup.helper import Engine, Helpers
from toolchain.backup.manifest import check, read
from toolchain.backup.restore import content, stopped
from toolchain.backup.save import save
from toolchain.console import Problem, say

STEP = "homes"


def take_over(name: str, docker: str) -> None:
    """Make a stack's homes anew that pruning would delete, with what is in them.

    Args:
        name: of the stack.
        docker: the client.

    Raises:
        Problem: it failed; the text says what to do about the home that it was at.
    """
    engine = Engine((docker, *stack.docker_options(name)), stack.prefix(name))
    helpers = Helpers(engine, engine.image())
    own = stack.named(name)
    if not helpers.ask(helper.release())["mounted"]:
        raise Problem(f"the hub that runs is of a release before: make up{own}")
    if not _plain(engine):
        say(STEP, "nothing to do: pruning the engine leaves all homes")
        return
    # Nobody can start a server meanwhile.
    with stopped(engine):
        running = {server.removeprefix(f"{engine.prefix}-user-") for server in engine.servers()}
        homes = {
            suffix: volume
            for volume in _plain(engine)
            if (suffix := volume.removeprefix(f"{engine.prefix}-home-")) not in running
        }
        if homes:
            _make_anew(name, docker, helpers, homes)
    if left := sorted(running & {v.removeprefix(f"{engine.prefix}-home-") for v in _plain(engine)}):
        say(STEP, f"left as they are, since their servers run: {', '.join(left)}. Stop the servers")
        say(STEP, f"(docker stop {engine.prefix}-user-NAME), and type again: make homes{own}")


def _make_anew(name: str, docker: str, helpers: Helpers, homes: dict[str, str]) -> None:
    engine = helpers.engine
    folder = save(name, docker, "", "", "")
    manifest = read(folder)
    parts = manifest.homes()
    for suffix in homes:
        check(folder, parts[suffix])
    for number, (suffix, volume) in enumerate(homes.items(), start=1):
        part = parts[suffix]
        engine.ask("volume", "rm", volume)
        try:
            engine.make_home(volume, part.user, mounted=True)
            helpers.send(helper.put_home(volume, part.content), content(folder, manifest, part))
        except BaseException:
            own = stack.named(name)
            say(STEP, f"the files of {part.user} are in the backup. To put them back:")
            say(STEP, f"docker volume rm {volume}")
            say(STEP, f"make restore{own} FROM={folder} USER={part.user}")
            raise
        say(STEP, f"home {number} of {len(homes)}: {part.user}")
    say(STEP, f"done. When users have found their files, remove the backup: {folder}")


def _plain(engine: Engine) -> list[str]:
    """The homes without options, which pruning deletes while nobody uses them."""
    found = engine.homes()
    if not found:
        return []
    listed = engine.ask("volume", "inspect", *found)
    return [volume["Name"] for volume in json.loads(listed) if not volume["Options"]]
