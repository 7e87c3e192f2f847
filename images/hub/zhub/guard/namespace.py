"""Keeps alive the container that is in the users' networks, and those that join it there.

The engine does not start a container again that it could not start once, as when one of its
networks is gone, or where a swarm's managers were slow to let it into dozens of networks. That
container is the hub's, or a third one whose network hub and proxy share.

A container joins the network of another when it starts. When the other one is restarted, it gets
a new network, and those that had joined stay in the old one, which nothing reaches. An engine that
starts all of them at once, as after a reboot, may start some before the one they join: that fails
with "cannot join network of a non running container", and the engine does not try again.

A proxy that hangs is restarted too. Hub and guard are ended by what watches them (watchdog.py); for
the proxy, that is its health check, and this. An engine that does not check it any more is not
needed for it: the guard then does (checks.py).
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from zhub.contract import Role, in_users_networks
from zhub.guard.checks import SAID_NO, Checks
from zhub.guard.helpers import IN_NAMESPACE

PERIOD = 5
"""Seconds between two looks."""

SILENT = 6
"""Health checks in a row, ten seconds apart, after which a proxy counts as hung. The first one
fails 30 seconds after the last sign of life (images/proxy/rootfs/usr/local/bin/proxy-health)."""

SILENT_LOOKS = 12
"""Checks that the guard makes itself, one at each look, after which a proxy counts as hung."""

STOP_SECONDS = 2
"""Grace period of a container that nothing reaches any more."""

log = logging.getLogger(__name__)


class Namespace:
    """Starts the container in the users' networks again, and those that are not in its network."""

    def __init__(
        self,
        client: docker.APIClient,
        prefix: str,
        *,
        separate_proxy: bool,
        checks: Checks | None = None,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._front = in_users_networks(separate_proxy=separate_proxy)
        self._joined = (Role.PROXY, Role.HUB) if separate_proxy else ()
        self._checks = checks or Checks(client)
        self._rejoined: dict[str, str] = {}
        self._said = ""

    def keep(self) -> None:
        """Look periodically."""
        while True:
            try:
                self.look()
            except (DockerException, OSError) as error:
                log.debug("hub and proxy cannot be inspected now: %s", error)
            time.sleep(PERIOD)

    def look(self) -> None:
        """Look at the containers once; do nothing while somebody has stopped the front one."""
        front = self._inspect(self._front)
        if front and front["State"]["Running"]:
            self._said = ""
            for role in self._joined:
                self._rejoin(role, front)
        elif front and front["State"]["Error"]:
            self._start_front(front)

    def _inspect(self, role: Role) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.inspect_container(f"{self._prefix}-{role}")
        except NotFound:
            return None
        return found

    def _start_front(self, front: dict[str, Any]) -> None:
        """Start the container in the users' networks, which the engine could not.

        If a user's network was removed while it was stopped, or something else has its address
        there, it still has that network, and the engine does not start it without.
        """
        name = front["Name"].removeprefix("/")
        if self._said != front["State"]["Error"]:
            self._said = front["State"]["Error"]
            log.warning("starting %s, which the engine could not: %s", name, self._said)
        users = f"{self._prefix}-user-"
        try:
            for network, there in front["NetworkSettings"]["Networks"].items():
                if network.startswith(users) and (why := self._unusable(network, there)):
                    log.warning("%s leaves %s, %s", name, network, why)
                    self._client.disconnect_container_from_network(name, network, force=True)
            self._client.start(front["Id"])
        except APIError as error:
            log.debug("%s cannot be started now: %s", name, error)

    def _unusable(self, name: str, there: dict[str, Any]) -> str:
        """Return why a stopped container cannot start in a network; empty if it can."""
        try:
            # A network of the name may be another one. One that it never was in has no ID there.
            network = self._client.inspect_network(there["NetworkID"] or name)
        except NotFound:
            return "which is gone"
        address = (there["IPAMConfig"] or {}).get("IPv4Address")
        for other in (network["Containers"] or {}).values():
            if other["IPv4Address"].partition("/")[0] == address:
                return f"where {other['Name']} has its address"
        return ""

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
            elif role == Role.PROXY and (
                _hangs(state) or self._checks.said_no(found) >= SILENT_LOOKS
            ):
                log.warning("restarting %s, which hangs: it does not answer itself", name)
                self._client.restart(found["Id"], timeout=STOP_SECONDS)
        except APIError as error:
            log.warning("%s cannot be started now: %s", name, error)


def _hangs(state: dict[str, Any]) -> bool:
    """Return whether a container runs whose health check has said no again and again.

    A check that the engine gave up or could not begin, as on a machine with too much to do, says
    nothing: its exit code is another one. Health begins anew with each start, and the engine does
    not look at the health of one that is paused.
    """
    health = state.get("Health") or {}
    said = [look["ExitCode"] for look in health.get("Log") or ()]
    return (
        state["Running"]
        and not state["Paused"]
        and health.get("Status") == "unhealthy"
        and health["FailingStreak"] >= SILENT
        and set(said) == {SAID_NO}
    )


def _time(text: str) -> datetime:
    """Parse the engine's time, which has nanoseconds without zeros at the end."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")
