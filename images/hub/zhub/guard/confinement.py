"""Confines users' servers and the hub: sets their packet filters and keeps them up to date."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound

from zhub import engine
from zhub.contract import (
    NO_NETWORK,
    ROLE,
    STACK,
    Role,
    in_users_networks,
    labelled,
)
from zhub.guard import filters
from zhub.guard.helpers import IN_NAMESPACE, Helpers
from zhub.guard.machine import Directory
from zhub.guard.rules import Rules
from zhub.guard.sight import Overlap, Sight
from zhub.settings import GuardSettings

AT_A_TIME = 4
"""Filters set in parallel when all containers need one."""

TRIES = 3
"""Attempts to set a filter: one error of the engine must not cost users their running servers."""

LEAST_PAUSE = 10
"""Least seconds between two looks at the machine: the hub may ask for one at any time."""

MISSING_PAUSE = 1
"""The same while the name of a directory server has no address."""

LOST_SECONDS = 15
"""How long the engine may be unreachable before the guard exits, so that the engine restarts it."""

REFUSED_SECONDS = 2
"""The same where nobody listens at the socket any more: a new engine listens at a new one, which
only a restarted guard gets to see."""

NOWHERE = "127.0.0.1"
"""Name server of users' servers that may use none: the server itself. With no name server set, the
engine's resolver would forward queries to the machine's, and DNS is a way out (CVE-2024-29018)."""

log = logging.getLogger(__name__)


class EngineLostError(Exception):
    """The engine can no longer be reached through the guard's socket."""


class Confinement:
    """Sets the packet filters that the stack's settings ask for, and keeps them set.

    A container whose filter cannot be set must not keep running: callers remove it.
    """

    def __init__(self, client: docker.APIClient, helpers: Helpers, settings: GuardSettings) -> None:
        self._client = client
        self._helpers = helpers
        self._settings = settings
        #: Of the container whose network the hub has.
        self._hub = in_users_networks(separate_proxy=settings.separate_proxy)
        self._directory = Directory(helpers, settings.directory_servers, settings.directory_network)
        self._looking = threading.Lock()
        self._asking = threading.Lock()
        self._made: dict[str, tuple[str, str]] = {}
        self._looked = float("-inf")
        self._sight = Sight()
        self._texts = Rules(settings)
        self._subnets: dict[str, IPv4Network] = {}
        self._said: frozenset[Overlap] = frozenset()

    def begin(self) -> None:
        """Remove an earlier guard's helpers, set a filter as a test, and look at the machine.

        Raises:
            RuntimeError: when the engine's machine cannot filter packets, or cannot be inspected.
        """
        self._helpers.sweep()
        try:
            self._filter(NO_NETWORK, filters.table(()))
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
        machine = self._sight.machine
        for server in sorted(filter(machine.has, machine.name_servers)):
            log.warning(
                "the engine's name server %s is its own machine, which users' servers do not reach:"
                " they cannot resolve host names. Give the engine another name server, or allow"
                " this one with userAllowedNetworks",
                server,
            )

    def look(self) -> None:
        """Look at the machine and the directory again, unless the last look was a moment ago.

        Raises:
            RuntimeError: when that fails; the last result stays valid.
        """
        with self._looking:
            pause = LEAST_PAUSE if self._directory.complete else MISSING_PAUSE
            if time.monotonic() - self._looked < pause:
                return
            self._sight = Sight.seen(self._client, self._helpers, self._directory, self._settings)
            self._looked = time.monotonic()
            self._say(frozenset(self._sight.overlaps(self._settings)))

    def _say(self, overlaps: frozenset[Overlap]) -> None:
        """Log which networks overlap, each once for as long as it does."""
        for one in sorted(overlaps - self._said, key=lambda one: one.text):
            log.warning("%s; %s", one.text, one.fix)
        self._said = overlaps

    @property
    def left_out(self) -> frozenset[IPv4Network]:
        """Parts of the pool that are the site's, by the last look."""
        return self._sight.left_out

    @property
    def name_servers(self) -> list[str]:
        """Name servers of users' servers; empty for the engine's own choice."""
        if self._settings.user_internet:
            return []
        allowed = [
            str(server)
            for server in sorted(self._sight.machine.name_servers)
            if any(server in network for network in self._settings.user_allowed_networks)
        ]
        return allowed or [NOWHERE]

    def server(self, found: dict[str, Any], subnet: IPv4Network) -> None:
        """Set the filter of a running user's server, for its present or future network.

        Args:
            found: the container, as the engine has it.
            subnet: of the network.

        Raises:
            RuntimeError: when that failed.
        """
        self._set(found, self._texts.of_server(self._sight, subnet))

    def hub_asks(self, found: dict[str, Any]) -> bool:
        """Confine the hub, which asks for it when it starts and when no directory server answers.

        Does nothing when the hub already has the right filter: it may ask as often as it likes.

        Returns:
            Whether the filter was set.

        Raises:
            RuntimeError: when that failed.
        """
        with self._asking:
            self.look()
            return self._renew(found, self._texts.of_hub(self._sight))

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

    def _rules(self, found: dict[str, Any], networks: set[str]) -> str:
        if found["Config"]["Labels"].get(ROLE) == self._hub:
            return self._texts.of_hub(self._sight)
        name = found["Name"].removeprefix("/")
        if networks != {name}:
            raise RuntimeError(f"the container is in the networks {', '.join(sorted(networks))}")
        network = found["NetworkSettings"]["Networks"][name]["NetworkID"]
        return self._texts.of_server(self._sight, self._subnet(network))

    def _subnet(self, network: str) -> IPv4Network:
        """Return the subnet of the network with an ID, which stays the same for good.

        The engine goes through all networks to find one, so asking it for each server would take
        seconds where hundreds of servers run.
        """
        if not (subnet := self._subnets.get(network)):
            found = self._client.inspect_network(network)
            subnet = self._subnets[network] = IPv4Network(found["IPAM"]["Config"][0]["Subnet"])
        return subnet

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
        """Remove a server that must not keep running; restart the hub, which asks for its filter.

        A container whose filter was right a moment ago keeps it.
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
            if found["Config"]["Labels"].get(ROLE) == self._hub:
                log.error("restarting %s: its packet filter could not be set: %s", name, reason)
                self._client.restart(container, timeout=1)
            else:
                log.error("removing %s: its packet filter could not be set: %s", name, reason)
                self._client.remove_container(container, force=True, v=True)
        except APIError as error:
            # Already gone, or the engine is removing it.
            if error.status_code not in {404, 409}:
                raise

    def _running(self) -> dict[str, set[str]]:
        """Return the networks of each running container, by IDs."""
        return {
            found["Id"]: {one["NetworkID"] for one in found["NetworkSettings"]["Networks"].values()}
            for role in (self._hub, Role.SERVER)
            for found in self._client.containers(filters=labelled(self._settings.prefix, role))
        }

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
                        "label": f"{STACK}={self._settings.prefix}",
                    },
                )
                # Also containers that were started before this listened.
                self.all()
                lost = None
                for event in started:
                    if event["Actor"]["Attributes"].get(ROLE) in {self._hub, Role.SERVER}:
                        self.again(event["Actor"]["ID"])
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
