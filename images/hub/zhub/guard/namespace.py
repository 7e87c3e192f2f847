"""Keeps hub and proxy in the network that they share, which is that of a third container.

A container joins the network of another when it starts. When the other one is restarted, it gets
a new network, and those that had joined stay in the old one, which nothing reaches. An engine that
starts all of them at once, as after a reboot, may start some before the one they join: that fails
with "cannot join network of a non running container", and the engine does not try again.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from zhub.contract import Role
from zhub.guard.helpers import IN_NAMESPACE

PERIOD = 5
"""Seconds between two looks."""

STOP_SECONDS = 2
"""Grace period of a container that nothing reaches any more."""

log = logging.getLogger(__name__)


class Namespace:
    """Starts hub and proxy again when they are not in the network of the front container."""

    def __init__(self, client: docker.APIClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._rejoined: dict[str, str] = {}

    def keep(self) -> None:
        """Look periodically."""
        while True:
            try:
                self.look()
            except (DockerException, OSError) as error:
                log.debug("hub and proxy cannot be inspected now: %s", error)
            time.sleep(PERIOD)

    def look(self) -> None:
        """Look at the containers once; do nothing while the front container does not run."""
        front = self._inspect(Role.FRONT)
        if front and front["State"]["Running"]:
            for role in (Role.PROXY, Role.HUB):
                self._rejoin(role, front)

    def _inspect(self, role: Role) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.inspect_container(f"{self._prefix}-{role}")
        except NotFound:
            return None
        return found

    def _rejoin(self, role: Role, front: dict[str, Any]) -> None:
        found = self._inspect(role)
        if not found or found["HostConfig"]["NetworkMode"] != IN_NAMESPACE + front["Id"]:
            # An `up` is replacing them.
            return
        name, state, since = found["Name"].removeprefix("/"), found["State"], front["State"]
        try:
            if not state["Running"] and state["Error"]:
                # Of the last attempt to start it. Somebody who stops it leaves no error.
                log.warning("starting %s, which the engine could not: %s", name, state["Error"])
                self._client.start(found["Id"])
            elif (
                state["Running"]
                and _time(state["StartedAt"]) < _time(since["StartedAt"])
                # Once for each network, should somebody set the clock back.
                and self._rejoined.get(role) != since["StartedAt"]
            ):
                log.warning("restarting %s, which is in a network that is gone", name)
                self._rejoined[role] = since["StartedAt"]
                self._client.restart(found["Id"], timeout=STOP_SECONDS)
        except APIError as error:
            log.warning("%s cannot be started now: %s", name, error)


def _time(text: str) -> datetime:
    """Parse the engine's time, which has nanoseconds without zeros at the end."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")
