"""A service of JupyterHub that carries out what is planned for all servers.

It also leaves the address and the token that JupyterHub gave it where `zhub users` finds them: a
command in the hub's container can then ask the hub's API, with the rights of this service.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError

from zhub import engine, files, settings
from zhub.api import UNANSWERED, Api
from zhub.api import Server as Running
from zhub.people.servers import Server, running
from zhub.settings import STATE, SettingsError
from zhub.state import plan
from zhub.state.plan import Action, Plan

T = TypeVar("T")

#: Seconds between two looks at the plan.
PAUSE = 10

#: Servers that are stopped, or restarted, at a time: one after the other, hundreds would take
#: minutes, and each that ignores the signal ten seconds more.
AT_ONCE = 8

#: Seconds that a server gets to stop before it is started again.
PATIENCE = 60

ENTRANCE = STATE / ".people.json"
"""Address of the hub's API and the service's token; backups leave out what begins with a dot."""

log = logging.getLogger("zhub.people")


def leave_entrance(environment: Mapping[str, str], file: Path = ENTRANCE) -> None:
    """Write the file that `entrance` reads."""
    kept = {key: environment[key] for key in ("JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN")}
    files.write(file, json.dumps(kept), 0o600)


def entrance(file: Path = ENTRANCE) -> Api:
    """Return the hub's API, for a command in the hub's container.

    Raises:
        SettingsError: no hub has left the file.
    """
    try:
        return Api(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise SettingsError(
            [f"{file} cannot be read ({error}): the hub starts, or this is not its container"]
        ) from None


class Owed:
    """Users whose server was stopped to be started again, and was not yet.

    In a file, since the hub may be restarted in between. Safe for threads.
    """

    def __init__(self, file: Path) -> None:
        """Take over those whom a hub before this one has left so."""
        self._file = file
        self._lock = threading.Lock()
        try:
            self._users = {str(user) for user in json.loads(file.read_text())}
        except FileNotFoundError:
            self._users = set()
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be read: %s", file, error)
            self._users = set()

    def add(self, user: str) -> None:
        with self._lock:
            self._keep(self._users | {user})

    def discard(self, user: str) -> None:
        with self._lock:
            self._keep(self._users - {user})

    def clear(self) -> None:
        with self._lock:
            self._keep(set())

    def users(self) -> list[str]:
        """Return their names."""
        return sorted(self._users)

    def _keep(self, users: set[str]) -> None:
        if users == self._users:
            return
        self._users = users
        try:
            files.write(self._file, json.dumps(sorted(users)), 0o600)
        except OSError as error:
            # Such as a full disk. This hub knows them all the same.
            log.warning("%s cannot be written: %s", self._file, error)


@dataclass
class Planned:
    """Carries out what is planned, look by look."""

    api: Api
    """Of the hub."""
    servers: Callable[[], dict[str, Server]]
    """Returns the users' containers."""
    file: Path = plan.FILE
    pause: float = 1
    """Seconds between two looks whether a server has stopped."""
    owed: Owed = field(init=False)

    def __post_init__(self) -> None:
        """Find whom a hub before this one has stopped for a restart."""
        # With a dot in front: backups leave it out.
        self.owed = Owed(self.file.with_name(".restarting.json"))

    def carry_out(self) -> None:
        """Do what is planned, if it is time, until the plan is taken back or replaced."""
        planned = plan.read(self.file)
        if planned and planned.action is Action.STOP:
            self.owed.clear()
        for user in self.owed.users():
            _trying(user, partial(self._start, user))
        if planned is None or planned.done or time.time() < planned.at:
            return
        if planned.action is Action.STOP:
            self._stop_all(planned)
        else:
            self._renew(planned)

    def _stop_all(self, planned: Plan) -> None:
        def stop(server: Running) -> None:
            log.warning("stopping the server of %s, as planned", server.user)
            _trying(server.user, partial(self.api.stop, server.user, server.name))

        if not self._each(planned, list(self.api.servers()), stop):
            return
        # Servers that did not stop are tried again.
        if not any(self.api.servers()):
            self._note(planned, replace(planned, done=True))

    def _renew(self, planned: Plan) -> None:
        def restart(user: str) -> None:
            log.warning("restarting the server of %s, which runs an old image", user)
            _trying(user, partial(self._restart, user))

        if not self._each(planned, self._outdated(), restart):
            return
        if not self.owed.users() and not self._outdated():
            self._note(planned, None)

    def _note(self, planned: Plan, now: Plan | None) -> None:
        """Replace what was carried out, unless an operator has planned something else by then."""
        plan.change(lambda present: now if present == planned else present, self.file)

    def _each(self, planned: Plan, things: Iterable[T], step: Callable[[T], None]) -> bool:
        """Do a step for each, some at a time, until the plan is taken back or replaced.

        Returns:
            Whether it was not.
        """

        def step_if_planned(thing: T) -> bool:
            if plan.read(self.file) != planned:
                return False
            step(thing)
            return True

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="plan") as threads:
            return all(list(threads.map(step_if_planned, things)))

    def _outdated(self) -> list[str]:
        """Return the users whose servers, which the hub knows, run an old image."""
        known = {server.user for server in self.api.servers()}
        return sorted(name for name, one in self.servers().items() if one.old and name in known)

    def _restart(self, user: str) -> None:
        self.owed.add(user)
        self.api.stop(user)
        self._start(user)

    def _start(self, user: str) -> None:
        """Start a server that was stopped for it.

        Raises:
            UNANSWERED: it has not stopped, or the hub does not answer; both may be over later.
        """
        end = time.monotonic() + PATIENCE
        while servers := self._servers(user):
            if not any(server["pending"] == "stop" for server in servers.values()):
                break  # it runs on, or its user was quicker
            if time.monotonic() > end:
                raise TimeoutError(f"it has not stopped in {PATIENCE} s")
            time.sleep(self.pause)
        else:
            try:
                self.api.start(user)
            except HTTPError as error:
                if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                log.warning("the server of %s cannot be started: %s", user, error)
        self.owed.discard(user)

    def _servers(self, user: str) -> dict[str, Any]:
        """Return a user's servers; none of somebody who was forgotten meanwhile."""
        try:
            found: dict[str, Any] = self.api.user(user)["servers"]
        except HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            return {}
        return found


def _trying(user: str, step: Callable[[], None]) -> None:
    """Do one user's step: an error with one server must not keep the others from theirs."""
    try:
        step()
    except UNANSWERED as error:
        log.warning("the server of %s: %s; trying again", user, error)


def run() -> None:
    """Look at the plan until the hub, which starts this process, ends it."""
    leave_entrance(os.environ)
    api = Api(os.environ)
    found = settings.read(os.environ)

    def servers() -> dict[str, Server]:
        with closing(engine.connect()) as client:
            return running(client, found)

    planned = Planned(api, servers)
    while True:
        time.sleep(PAUSE)
        try:
            planned.carry_out()
        except UNANSWERED as error:
            log.warning("hub or engine does not answer: %s", error)
        except SettingsError as error:
            log.warning("; ".join(error.problems))
