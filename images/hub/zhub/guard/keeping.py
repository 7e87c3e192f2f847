"""Keeps the packet filters of running containers set: as they start, and as the network changes."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from zhub import engine
from zhub.contract import NO_NETWORK, ROLE, STACK, labelled
from zhub.guard import filters
from zhub.guard.helpers import IN_NAMESPACE, Helpers
from zhub.guard.machine import Machine
from zhub.subnets import subnet_of

AT_A_TIME = 4
"""Filters set in parallel when all containers need one."""

TRIES = 3
"""Attempts to set a filter: one error of the engine must not cost users their running servers."""

LOST_SECONDS = 15
"""How long the engine may be unreachable before the guard exits, so that the engine restarts it."""

REFUSED_SECONDS = 2
"""The same where nobody listens at the socket any more: a new engine listens at a new one, which
only a restarted guard gets to see."""

log = logging.getLogger(__name__)


class EngineLostError(Exception):
    """The engine can no longer be reached through the guard's socket."""


class Keeper(ABC):
    """Sets the filters of a stack's containers of some roles, and keeps them set.

    A container whose filter cannot be set must not keep running.
    """

    def __init__(
        self, client: docker.APIClient, helpers: Helpers, prefix: str, roles: Sequence[str]
    ) -> None:
        self._client = client
        self._helpers = helpers
        self._prefix = prefix
        self._roles = roles
        self._made: dict[str, tuple[str, str]] = {}
        self._counted = True
        """Whether the kernel can limit how many connections a server has."""
        self._subnets: dict[str, IPv4Network] = {}

    @property
    @abstractmethod
    def machine(self) -> Machine:
        """The engine's machine as of the last look."""

    def begin(self) -> None:
        """Remove an earlier guard's helpers, set a filter as a test, and look at the machine.

        Raises:
            RuntimeError: when the engine's machine cannot filter packets, or cannot be inspected.
        """
        self._helpers.sweep()
        try:
            self._counted = self._counts()
        except RuntimeError as error:
            raise RuntimeError(
                "the engine's machine cannot filter packets, so no server can be confined; its"
                f" kernel needs nf_tables (`modprobe nf_tables`): {error}"
            ) from None
        try:
            self.look()
        except (RuntimeError, DockerException) as error:
            raise RuntimeError(
                "the engine's machine cannot be inspected, so its addresses to close are unknown;"
                f" the guard needs the engine's own networks `host` and `bridge`: {error}"
            ) from None
        machine = self.machine
        for server in sorted(filter(machine.has, machine.name_servers)):
            log.warning(
                "the engine's name server %s is its own machine, which users' servers do not reach:"
                " they cannot resolve host names. Give the engine another name server, or allow"
                " this one with userAllowedNetworks",
                server,
            )

    def _counts(self) -> bool:
        """Set a filter as a test; return whether it can count connections.

        Raises:
            RuntimeError: the kernel cannot filter packets at all.
        """
        try:
            self._filter(NO_NETWORK, filters.table([filters.TOO_MANY]))
        except RuntimeError as error:
            self._filter(NO_NETWORK, filters.table(()))
            log.warning(
                "one server can take all the connections that the engine's machine has room for"
                " (nf_conntrack_max), and then nobody reaches the hub: the kernel cannot count them"
                " (`modprobe nft_connlimit`): %s",
                error,
            )
            return False
        return True

    @abstractmethod
    def look(self) -> None:
        """Look again at what filters depend on, unless the last look was a moment ago.

        Raises:
            RuntimeError: when that fails; the last result stays valid.
        """

    @abstractmethod
    def _rules(self, found: dict[str, Any], networks: set[str]) -> str:
        """Return the filter of a container in these networks.

        Raises:
            RuntimeError: when it may not be in them.
        """

    def all(self) -> None:
        """Set the filters of all running containers that lack theirs; remove servers on failure."""
        # Read before the list of running containers: so a container that another thread confines
        # meanwhile is not forgotten.
        known = set(self._made)
        running = self._running()
        for gone in known.difference(running):
            self._made.pop(gone, None)
        used = set().union(*running.values())
        for gone in set(self._subnets) - used:
            self._subnets.pop(gone, None)
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            list(threads.map(self.again, running))

    def again(self, container: str) -> None:
        """Set the filter of a container if it lacks the right one.

        The container is the hub, or a user's server that got its network without this guard: under
        an earlier guard, or because somebody restarted it by hand. Or the network has changed since
        the filter was set.
        """
        try:
            found = self._client.inspect_container(container)
        except NotFound:
            return
        networks = set(found["NetworkSettings"]["Networks"]) - {NO_NETWORK}
        if not found["State"]["Running"] or not networks:
            return
        for left in reversed(range(TRIES)):
            try:
                self._renew(found, self._rules(found, networks))
            except (RuntimeError, DockerException, OSError) as error:
                if left:
                    time.sleep(1)
                else:
                    self._give_up(found, error)
            else:
                return

    def _renew(self, found: dict[str, Any], rules: str) -> bool:
        """Set a filter, unless this guard has set the same one since the container was started."""
        if self._made.get(found["Id"]) == (found["State"]["StartedAt"], rules):
            return False
        self._set(found, rules)
        return True

    def _set(self, found: dict[str, Any], rules: str) -> None:
        self._filter(IN_NAMESPACE + found["Id"], rules)
        self._made[found["Id"]] = (found["State"]["StartedAt"], rules)

    def _give_up(self, found: dict[str, Any], reason: Exception) -> None:
        """End a container that must not keep running.

        One whose filter was right a moment ago keeps it.
        """
        name, container = found["Name"].removeprefix("/"), found["Id"]
        started = found["State"]["StartedAt"]
        if self._made.get(container, ("", ""))[0] == started:
            # That filter was right a moment ago, so users can go on working.
            log.error("%s keeps the filter it has, for now: %s", name, reason)
            return
        try:
            state = self._client.inspect_container(container)["State"]
            if not state["Running"] or state["StartedAt"] != started:
                # It has ended meanwhile; if it is started again, the engine sends an event.
                return
            self._end(found, reason)
        except APIError as error:
            # Already gone, or the engine is removing it.
            if error.status_code not in {404, 409}:
                raise

    def _end(self, found: dict[str, Any], reason: Exception) -> None:
        log.error(
            "removing %s: its packet filter could not be set: %s",
            found["Name"].removeprefix("/"),
            reason,
        )
        self._client.remove_container(found["Id"], force=True, v=True)

    def _running(self) -> dict[str, set[str]]:
        """Return the networks of each running container, by IDs."""
        return {
            found["Id"]: {one["NetworkID"] for one in found["NetworkSettings"]["Networks"].values()}
            for role in self._roles
            for found in self._client.containers(filters=labelled(self._prefix, role))
        }

    def _subnet(self, network: str) -> IPv4Network:
        """Return the subnet of the network with an ID, which stays the same for good.

        The engine goes through all networks to find one, so asking it for each server would take
        seconds where hundreds of servers run.
        """
        if not (subnet := self._subnets.get(network)):
            found = self._client.inspect_network(network)
            subnet = self._subnets[network] = subnet_of(found)
        return subnet

    def _started(self, container: str) -> None:
        """Set the filter of a container that has just started."""
        self.again(container)

    def watch(self) -> None:
        """Confine containers as they start, for as long as the guard runs.

        Docker restarts the hub when it exits, and anyone who may use the engine can restart a
        user's server: each start makes a new network namespace, which has no filter.

        Raises:
            EngineLostError: the engine has not answered for a while. With live-restore, a restarted
                engine has another socket, and only a restarted guard gets to see it.
        """
        lost: float | None = None
        while True:
            try:
                started = self._client.events(
                    decode=True,
                    filters={
                        "type": "container",
                        "event": "start",
                        "label": f"{STACK}={self._prefix}",
                    },
                )
                # Also containers that were started before this listened.
                self.all()
                lost = None
                for event in started:
                    if event["Actor"]["Attributes"].get(ROLE) in self._roles:
                        self._started(event["Actor"]["ID"])
            except (DockerException, OSError) as error:
                lost = lost or time.monotonic()
                allowed = LOST_SECONDS if engine.listens(engine.SOCKET) else REFUSED_SECONDS
                if time.monotonic() - lost > allowed:
                    raise EngineLostError("the engine does not answer any more") from error
                log.warning("the engine sends no start events now, trying again: %s", error)
            time.sleep(1)

    def keep(self, seconds: float) -> None:
        """Look at the machine and the directory periodically, and update all filters."""
        while True:
            time.sleep(seconds)
            try:
                self.look()
                self.all()
            except (RuntimeError, DockerException, OSError) as error:
                log.warning("the engine's machine cannot be inspected now: %s", error)

    def _filter(self, network: str, ruleset: str) -> None:
        self._helpers.run(["nft", ruleset], network=network, capabilities=["NET_ADMIN"])
