"""`zhub users`: what `make users` asks of the hub, in the hub's own container.

It prints JSON: toolchain/users.py shows it to people, with what only the engine knows.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from zhub import audit, engine, settings
from zhub.api import UNANSWERED, Api
from zhub.login.check_directory import hubs_arguments
from zhub.login.directory import Directory
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.login.recheck import owner
from zhub.people import service
from zhub.people.servers import Server, home_sizes, running
from zhub.settings import Settings, SettingsError
from zhub.state import database, logins, messages, persons, plan
from zhub.state.plan import Action, Plan

GUARD_SECONDS = 10
"""How long a command waits for the guard. One that starts takes longer, under emulation; who types
is rather told that it is away."""

_connect = partial(engine.connect, GUARD_SECONDS)


def listed(users: Iterable[dict[str, Any]], servers: dict[str, Server]) -> list[dict[str, Any]]:
    """Return a row for each user whom the hub knows, and for servers that it does not know.

    Args:
        users: JupyterHub's models.
        servers: the users' containers.
    """
    left = dict(servers)
    rows = []
    for user in users:
        server = left.pop(user["name"], None)
        rows.append(_row(user, server))
    rows += [_row({"name": name}, server) for name, server in left.items()]
    return sorted(rows, key=lambda row: str(row["name"]))


def _row(user: dict[str, Any], server: Server | None) -> dict[str, Any]:
    return {
        "name": user["name"],
        "known": "servers" in user,
        "admin": user.get("admin", False),
        "groups": sorted(user.get("groups", [])),
        "active": user.get("last_activity"),
        "server": bool(user.get("servers")),
        "container": server and server.container,
        "memory": server and server.memory,
        "old": server and server.old,
    }


def record(api: Api, name: str) -> dict[str, Any]:
    """Return all that the hub keeps about a user, but no secrets.

    Raises:
        SettingsError: the hub does not know the user.
    """
    said = messages.read().get(name)
    return {
        "user": known(api, name),
        "tokens": api.tokens(name),
        "last_login": logins.last(database.FILE, name),
        "message": said and {"text": said.text, "until": said.until},
    }


def known(api: Api, name: str) -> dict[str, Any]:
    """Return JupyterHub's model of a user.

    Raises:
        SettingsError: the hub does not know the user.
    """
    try:
        return api.user(name)
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        raise SettingsError([f"the hub does not know a user {name}"]) from None


def stop(api: Api, name: str, pause: float = 1) -> None:
    """Stop a user's server; return when it has ended.

    Raises:
        SettingsError: none runs, or it does not end.
    """

    def runs() -> list[str]:
        # Another one, if the user was quicker.
        return [server["started"] for server in known(api, name)["servers"].values()]

    running = runs()
    if not running:
        raise SettingsError([f"no server of {name} runs"])
    api.stop(name)
    end = time.monotonic() + service.PATIENCE
    while runs() == running:
        if time.monotonic() > end:
            raise SettingsError(
                [f"the server of {name} has not stopped in {service.PATIENCE} s: see the hub's log"]
            )
        time.sleep(pause)


def forget(api: Api, name: str, pause: float = 1) -> bool:
    """Delete a user with all tokens; return whether the hub knew the user."""
    end = time.monotonic() + service.PATIENCE
    while True:
        try:
            if api.user(name)["servers"]:
                # Also a start: JupyterHub fails to delete somebody whose server starts (500).
                api.stop(name)
            api.delete(name)
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return False
            # JupyterHub deletes nobody whose server still stops, as one that ignores the signal.
            if error.code != HTTPStatus.BAD_REQUEST or time.monotonic() > end:
                raise
            time.sleep(pause)
        else:
            return True


def unknown(directory: Directory, names: Iterable[str], file: Path) -> dict[str, str]:
    """Return those of the names whose owners the directory does not let in any more, and why.

    Args:
        directory: to ask.
        names: of users in the hub.
        file: the hub's database, which knows whose the names are.

    Raises:
        SettingsError: the directory does not answer, so that nothing is known.
    """
    found = {}
    for name in names:
        try:
            owner(directory, name, file)
        except LoginRefusedError as refused:
            found[name] = str(refused)
        except DirectoryError as problem:
            raise SettingsError([f"the directory does not answer: {problem}"]) from None
    return found


def _directory(found: Settings) -> Directory:
    if not found.ldap.bind_dn:
        problem = "without a service account the directory cannot be asked: set ldapBindDn"
        raise SettingsError([problem])
    return Directory(found.ldap)


def run(arguments: Sequence[str]) -> None:
    """Run one command and print its answer as JSON.

    Raises:
        SettingsError: it cannot be done.
    """
    parser = argparse.ArgumentParser(prog="users", description="List users, and what to do.")
    parser.add_argument("do", choices=sorted(COMMANDS), nargs="?", default="list")
    parser.add_argument(
        "user", nargs="?", default="", help="for stop, record, forget, accept, message, restored"
    )
    parser.add_argument("--at", type=float, default=0, help="seconds since 1970; default: now")
    parser.add_argument("--notice", default="", help="shown on the hub's pages until then")
    options = parser.parse_args(arguments)
    if options.do in ONE_USER and not options.user:
        parser.error(f"{options.do} whom?")
    environment = dict(os.environ)
    settings.add_arguments(environment, hubs_arguments())
    try:
        answer = COMMANDS[options.do](settings.read(environment), options)
    except HTTPError as error:
        said = f"the hub refuses it, as for some seconds after its start: {error}"
        raise SettingsError([said]) from None
    except UNANSWERED as error:
        if isinstance(error, OSError) and error.filename:
            # Such as with a full disk.
            raise SettingsError([f"{error.filename}: {error.strerror}"]) from None
        raise SettingsError([f"hub or engine does not answer: {error}"]) from None
    except sqlite3.Error as error:
        raise SettingsError([f"{database.FILE} cannot be read: {error}"]) from None
    if options.do not in QUESTIONS and engine.guarded(os.environ):
        # What was done is done. What the hub knows of somebody is not told without a line of it.
        means = {"otherwise": UNTOLD} if options.do == "record" else {}
        audit.report_command(_connect, options.do, options.user, **means)
    print(json.dumps(answer))


def _list(found: Settings, _: argparse.Namespace) -> Any:
    with closing(_connect()) as client:
        servers = running(client, found)
        counted = found.home_limit and engine.guarded(os.environ)
        homes = home_sizes(client) if counted else {}
    planned = plan.read()
    return {
        "users": listed(service.entrance().users(), servers),
        "most_servers": found.most_servers,
        "home_limit": found.home_limit,
        "homes": homes,
        "plan": _told(planned),
        "messages": [
            {"user": user, "text": message.text, "until": message.until}
            for user, message in messages.read().items()
        ],
        "recorded": persons.recorded(database.FILE),
    }


def _told(planned: Plan | None) -> dict[str, Any] | None:
    if planned is None:
        return None
    return {"action": planned.action, "at": planned.at, "done": planned.done}


def _stop(_: Settings, options: argparse.Namespace) -> Any:
    stop(service.entrance(), options.user)


def _planned(action: Action) -> Callable[[Settings, argparse.Namespace], Any]:
    def make(_: Settings, options: argparse.Namespace) -> Any:
        wanted = Plan(action, options.at or time.time(), options.notice)

        def decide(present: Plan | None) -> Plan:
            if action is Action.RENEW and present and present.action is Action.STOP:
                # It would let all servers start again, in the middle of the site's maintenance.
                problem = (
                    f"all servers are stopped at {present.when()}, as planned, and none starts"
                    " until that is taken back: make users DO=open. A server that starts then has"
                    " the present image"
                )
                raise SettingsError([problem])
            return wanted

        return _told(plan.change(decide))

    return make


def _open(_: Settings, __: argparse.Namespace) -> Any:
    return _told(plan.change(lambda _: None))


def message(api: Api, user: str, text: str, until: float | None) -> None:
    """Say something to a user, or to everybody, instead of what was said before.

    Args:
        api: the hub's.
        user: the name; empty for everybody.
        text: the message; empty to remove the present one.
        until: its end, in seconds since 1970; None for none.

    Raises:
        SettingsError: that cannot be said, or there is nobody to read it, or nothing to remove.
    """
    if not text.strip(" "):
        if not messages.remove(user):
            raise SettingsError(
                [f"TEXT is empty, which removes a message: there is none for {user or 'everybody'}"]
            )
        return
    if until is not None and until <= time.time():
        raise SettingsError(["UNTIL has passed: nobody would see the message"])
    if user:
        known(api, user)
    try:
        messages.set_to(user, text, until)
    except ValueError as error:
        raise SettingsError([f"TEXT cannot be shown: {error}"]) from None


def _message(_: Settings, options: argparse.Namespace) -> None:
    # Other users of the engine's machine see the arguments of commands.
    given = json.load(sys.stdin)
    message(service.entrance(), options.user, given["text"], given["until"])


def _record(_: Settings, options: argparse.Namespace) -> Any:
    return record(service.entrance(), options.user)


def _forget(_: Settings, options: argparse.Namespace) -> Any:
    # Whose name it is stays recorded until the home is gone: `make users` ends with `accept`.
    known = forget(service.entrance(), options.user)
    # The next person with the name is not who it was said to.
    messages.remove(options.user)
    return known


def _accept(_: Settings, options: argparse.Namespace) -> Any:
    if not persons.forget(database.FILE, options.user):
        raise SettingsError([f"it is not recorded whose name {options.user} is"])


def _restored(_: Settings, __: argparse.Namespace) -> None:
    """Do nothing: `make restore` has done it, and only the audit log has to have it."""


def _unknown(found: Settings, _: argparse.Namespace) -> Any:
    return unknown(_directory(found), json.load(sys.stdin), database.FILE)


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], Any]] = {
    "list": _list,
    "stop": _stop,
    "drain": _planned(Action.STOP),
    "renew": _planned(Action.RENEW),
    "open": _open,
    "record": _record,
    "forget": _forget,
    "message": _message,
    "accept": _accept,
    "restored": _restored,
    "unknown": _unknown,
}

QUESTIONS = {"list", "unknown"}
"""These change nothing, and tell nothing about one user."""

UNTOLD = "nothing is told that the audit log does not have"

ONE_USER = {"accept", "stop", "record", "forget"}
