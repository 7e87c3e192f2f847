"""A service of JupyterHub that carries out what is planned for all servers.

It also leaves the address and the token that JupyterHub gave it where `zhub users` finds them: a
command in the hub's container can then ask the hub's API, with the rights of this service.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from zhub import engine, files, settings
from zhub.api import UNANSWERED, Api
from zhub.people.servers import Server, running
from zhub.settings import STATE, SettingsError
from zhub.state import plan
from zhub.state.plan import Action

#: Seconds between two looks at the plan.
PAUSE = 10

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


def carry_out(
    api: Api, servers: Callable[[], dict[str, Server]], file: Path = plan.FILE, pause: float = 1
) -> None:
    """Do what is planned, if it is time.

    Args:
        api: the hub's.
        servers: returns the users' containers.
        file: the plan.
        pause: seconds between two looks whether a server has stopped.
    """
    planned = plan.read(file)
    if planned is None or planned.done or time.time() < planned.at:
        return
    if planned.action is Action.STOP:
        for server in list(api.servers()):
            log.warning("stopping the server of %s, as planned", server.user)
            _trying(server.user, lambda server=server: api.stop(server.user, server.name))  # type: ignore[misc]
        done = replace(planned, done=True)
    else:
        known = {server.user for server in api.servers()}
        for user in sorted(name for name, one in servers().items() if one.old and name in known):
            log.warning("restarting the server of %s, which runs an old image", user)
            _trying(user, lambda user=user: _restart(api, user, pause))  # type: ignore[misc]
        done = None
    # Another plan may have been made meanwhile; servers that did not stop are tried again.
    if plan.read(file) == planned and not _left(api, planned.action, servers):
        plan.write(done, file)


def _left(api: Api, action: Action, servers: Callable[[], dict[str, Server]]) -> bool:
    if action is Action.STOP:
        return any(api.servers())
    known = {server.user for server in api.servers()}
    return any(one.old and name in known for name, one in servers().items())


def _trying(user: str, step: Callable[[], None]) -> None:
    """Do one user's step: an error with one server must not keep the others from theirs."""
    try:
        step()
    except UNANSWERED as error:
        log.warning("the server of %s: %s; trying again", user, error)


def _restart(api: Api, user: str, pause: float) -> None:
    api.stop(user)
    end = time.monotonic() + PATIENCE
    # The model of a user with a server that still stops has it, as one that is not ready.
    while api.user(user)["servers"]:
        if time.monotonic() > end:
            raise TimeoutError(f"it has not stopped in {PATIENCE} s")
        time.sleep(pause)
    api.start(user)


def run() -> None:
    """Look at the plan until the hub, which starts this process, ends it."""
    leave_entrance(os.environ)
    api = Api(os.environ)
    found = settings.read(os.environ)

    def servers() -> dict[str, Server]:
        with closing(engine.connect()) as client:
            return running(client, found)

    while True:
        time.sleep(PAUSE)
        try:
            carry_out(api, servers)
        except UNANSWERED as error:
            log.warning("hub or engine does not answer: %s", error)
        except SettingsError as error:
            log.warning("; ".join(error.problems))
