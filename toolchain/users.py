"""`make users`: who has what on a stack, and what operators do when people come and go.

The hub answers for itself (`zhub users`, in its container); the engine is asked for what belongs to
a user by its labels. Somebody may control the hub, so what it says is printed without characters
that do something to a terminal.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from toolchain import stack
from toolchain.backup import jobs
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers
from toolchain.backup.save import MB
from toolchain.console import Problem, printable, say, timed
from toolchain.people import People, Wish, refuse_others, seconds
from toolchain.user_list import described, show, table

STEP = "users"

#: Seconds that the engine gets to remove a server after the hub has stopped it.
STOP_SECONDS = 60

#: Seconds that the time of a plan may have passed: who says 18:00 may press Enter a bit later.
LATE = 60


def _whom(wish: Wish, do: str, name: str) -> str:
    if not wish.user:
        raise Problem(f"say whom: make users{stack.named(name)} DO={do} USER=NAME")
    return wish.user


def _of(user: str) -> str:
    """The user in a command to type: a shell would take a $ for a variable, and then nobody."""
    return f"USER={shlex.quote(user)}"


def stop(people: People, wish: Wish) -> None:
    """Stop one user's server."""
    user = _whom(wish, "stop", people.name)
    people.hub("stop", user)
    say(STEP, f"the server of {user} is stopped; its home stays")


def plan(people: People, wish: Wish, *, do: str) -> None:
    """Make the plan that all servers are stopped, or those of an old image restarted."""
    at = seconds(wish.at, "AT")
    if at < time.time() - LATE:
        raise Problem(f"AT={wish.at}: has passed; without AT it happens now")
    # A hub of the release before does not say.
    before = people.hub(do, f"--at={at}", f"--notice={wish.notice}")
    now = people.hub("list")["plan"] or {"action": do, "at": at, "done": True}
    print(f"Planned: {described(now)}.")
    own = stack.named(people.name)
    if before:
        say(STEP, f"it takes the place of what was planned before: {described(before)}")
    say(STEP, f"the hub's pages say so. To take it back: make users{own} DO=open")


def open_(people: People, _: Wish) -> None:
    """Remove the plan."""
    if before := people.hub("open"):
        say(STEP, f"taken back: {described(before)}")
    say(STEP, "nothing is planned any more, and servers can be started")


def message(people: People, wish: Wish) -> None:
    """Say something to one user, or to everybody; an empty text takes back what was said."""
    own = stack.named(people.name)
    until = seconds(wish.until, "UNTIL") if wish.until else None
    people.hub("message", *filter(None, [wish.user]), given={"text": wish.text, "until": until})
    whom = wish.user or "everybody"
    if not wish.text.strip(" "):
        say(STEP, f"the message to {whom} is removed")
        return
    to = f" {_of(wish.user)}" if wish.user else ""
    say(
        STEP,
        f"{whom} can read it on the hub's pages now, and in JupyterLab within a minute. To take it"
        f" back: make users{own} DO=message{to} TEXT=",
    )


def export(people: People, wish: Wish) -> None:
    """Write a user's files and what the hub keeps about the user into a folder."""
    user = _whom(wish, "export", people.name)
    if not wish.to:
        raise Problem(
            f"say where to: make users{stack.named(people.name)} DO=export {_of(user)} TO=FOLDER"
        )
    homes = people.homes(user)
    known = user in {row["name"] for row in people.hub("list")["users"] if row["known"]}
    if not homes and not known:
        raise Problem(f"there is no home of {user}, and the hub does not know the name")
    folder = Path(wish.to)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if present := sorted(path.name for path in folder.iterdir()):
        raise Problem(f"{folder} is not empty ({present[0]}): name another folder")
    try:
        if known:
            record = people.hub("record", user)
            with _private(folder / "hub.json") as file:
                file.write(json.dumps(record, indent=2).encode())
        for number, volume in enumerate(homes):
            _export_home(people, volume, folder / f"home{number or ''}.tar.gz")
    except BaseException:
        # Such as Ctrl-C. Half of it is of no use, and the same command wants an empty folder.
        for path in folder.iterdir():
            path.unlink()
        raise
    say(STEP, f"the files of {user}, and what the hub keeps: {folder}")


def _export_home(people: People, volume: str, to: Path) -> None:
    """Write the files in a home into a file.

    Raises:
        Problem: it cannot be read, or not all of it has arrived.
    """
    helpers = Helpers(people.engine, people.engine.image())
    part = to.with_name(f"{to.name}.part")
    with timed(STEP, f"volume {volume}"), _private(part) as file:
        report = helpers.receive(jobs.save_home(volume), file.write)
    if part.stat().st_size != report["bytes"]:
        raise Problem(f"of volume {volume}, not all has arrived: try again")
    part.rename(to)
    say(STEP, f"{to.name}: {to.stat().st_size / MB:.1f} MB")
    for warning in report.get("warnings", ()):
        say(STEP, f"    WARNING: {printable(warning)}")


def _private(path: Path) -> Any:
    """A new file that nobody else may read, open for writing."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def forget(people: People, wish: Wish) -> None:
    """Remove a user for good, after a question: server, home, tokens and the hub's record.

    Whose name it is, is forgotten last: until then a new person with the name is refused, who would
    get what is left where something fails in between. A second run then finishes.
    """
    user = _whom(wish, "forget", people.name)
    homes = people.homes(user)
    found = people.hub("list")
    known = user in {row["name"] for row in found["users"] if row["known"]}
    servers = people.engine.servers(user)
    if not (homes or known or servers or _recorded(found, user)):
        raise Problem(f"there is no home of {user}, and the hub does not know the name")
    lost = [f"the home: volume {volume}, with all files" for volume in homes]
    paths = people.engine.homes_paths()
    # Somebody may have removed the volume alone, which leaves the folder.
    folders = homes or [people.engine.home_of(user)]
    lost += [f"what is in {path}/{folder}" for path in paths for folder in folders]
    if known:
        record = people.hub("record", user)
        lost.append(f"{len(record['tokens'])} tokens, and the hub's record of {user}")
    if servers:
        lost.append("the server that runs, with what its kernels hold in memory")
    if _recorded(found, user):
        lost.append(f"what the hub recognizes the directory's entry of {user} by")
    print(f"This removes for good, of stack {people.name}:")
    print("\n".join(f"  - {what}" for what in lost), flush=True)
    own = stack.named(people.name)
    _confirm(
        f"Type the name {user} to go on: ",
        user,
        f"nothing was removed. To keep a copy first: make users{own} DO=export {_of(user)}"
        f" TO=FOLDER. Without a terminal: make users{own} DO=forget {_of(user)} YES=1",
    )
    try:
        people.hub("forget", user)
        _remove_servers(people.engine, user)
        for volume in homes:
            people.engine.ask("volume", "rm", volume)
        for folder in folders:
            _remove_folders(people.engine, paths, folder)
            _remove_by_driver(people.engine, folder)
        if _recorded(people.hub("list"), user):
            people.hub("accept", user)
    except Problem as error:
        raise Problem(
            f"{user} is not forgotten completely: {error}. Before anybody else gets the name:"
            f" make users{own} DO=forget {_of(user)}"
        ) from None
    say(STEP, f"{user} is forgotten. Who logs in with this name begins with an empty home")


def _recorded(found: dict[str, Any], user: str) -> bool:
    """Whether it is recorded whose name this is, by the hub's list; an older hub does not say."""
    return user in found.get("recorded", [])


def _remove_servers(engine: Engine, user: str) -> None:
    """Wait until the hub has stopped a user's servers, and remove those that it has not."""
    end = time.monotonic() + STOP_SECONDS
    while left := engine.servers(user):
        if time.monotonic() > end:
            # The hub does not know it, or cannot stop it.
            engine.remove_servers(left)
        time.sleep(0.5)


def _remove_folders(engine: Engine, paths: list[str], volume: str) -> None:
    """Remove a home's folders where the site has homes, which stay when its volume is removed.

    Raises:
        Problem: one is still there, and the next person with the name would get it.
    """
    helpers = Helpers(engine, engine.image())
    for path in paths:
        try:
            helpers.ask(jobs.remove_folder(path, volume))
        except Problem as error:
            raise Problem(
                f"{path}/{volume} may still be there ({error}). Remove it on the engine's machine:"
                f" rm -r {path}/{volume}"
            ) from None


def _remove_by_driver(engine: Engine, volume: str) -> None:
    """Remove a home's folder of the driver `local`; others remove files with the volume.

    Raises:
        Problem: it is still there, and the next person with the name would get it.
    """
    with engine.homes_around() as around:
        if around:
            Helpers(engine, engine.image()).ask(jobs.remove_folder("", volume, around))


def _confirm(question: str, answer: str, otherwise: str) -> None:
    """Ask, unless YES=1 says that the answer is yes.

    Raises:
        Problem: the answer is another one, or nobody can be asked.
    """
    if os.environ.get(stack.YES):
        return
    given = input(question).strip() if sys.stdin.isatty() else ""
    if given != answer:
        raise Problem(otherwise)


def accept(people: People, wish: Wish) -> None:
    """Let the next person who logs in with a name have what belongs to it."""
    user = _whom(wish, "accept", people.name)
    people.hub("accept", user)
    say(STEP, f"who logs in next as {user} is taken for its owner, and gets the home")


def orphans(people: People, _: Wish) -> None:
    """Print the homes whose owners the directory does not let in any more."""
    owners = people.owners()
    refused: dict[str, str] = people.hub("unknown", given=owners) if owners else {}
    if not refused:
        print("The directory knows the owners of all homes.")
        return
    rows = [["USER", "HOME", "WHY"]]
    for user, why in refused.items():
        rows += [[user, volume, why] for volume in people.homes(user)]
    print(table(rows))
    own = stack.named(people.name)
    if 2 * len(refused) > len(owners):
        print(
            "\nThese are most of all homes. Perhaps ldapSearchBase, ldapUserFilter or"
            f" ldapAllowedGroups is wrong: make doctor{own} LDAP={shlex.quote(min(refused))}"
        )
    print(f"\nTo keep a copy: make users{own} DO=export USER=NAME TO=FOLDER")
    print(f"To remove one for good: make users{own} DO=forget USER=NAME")


#: These ask the hub for something, and what is asked in a container goes on without who asks.
GOES_ON = ("stop", "drain", "renew", "open", "message", "accept")

DO: dict[str, Callable[[People, Wish], None]] = {
    "list": show,
    "stop": stop,
    "drain": partial(plan, do="drain"),
    "renew": partial(plan, do="renew"),
    "open": open_,
    "message": message,
    "export": export,
    "forget": forget,
    "accept": accept,
    "orphans": orphans,
}


def run(name: str, docker: str, do: str, wish: Wish) -> None:
    """Do one thing about the users of a stack.

    Args:
        name: of the stack.
        docker: the client.
        do: a key of DO; empty for `list`.
        wish: the rest of the command line.

    Raises:
        Problem: it cannot be done.
    """
    do = do or "list"
    if do not in DO:
        raise Problem(f"DO={do}: must be one of {', '.join(DO)}")
    refuse_others(do, wish)
    engine = Engine((docker, *stack.docker_options(name)), stack.prefix(name))
    try:
        DO[do](People(name, engine), wish)
    except KeyboardInterrupt:
        if do in GOES_ON:
            own = stack.named(name)
            back = f". To take the plan back: make users{own} DO=open"
            say(
                STEP,
                f"what the hub was asked for, it does all the same: make users{own} shows it"
                + (back if do in {"drain", "renew"} else ""),
            )
        raise
