"""Confines users' servers and the hub: sets their packet filters and keeps them up to date."""

from __future__ import annotations

import logging
import threading
import time
from ipaddress import IPv4Network
from typing import Any

import docker

from zhub.contract import ROLE, Role, in_users_networks
from zhub.guard.helpers import Helpers
from zhub.guard.keeping import Keeper
from zhub.guard.machine import Directory, Machine
from zhub.guard.rules import Rules
from zhub.guard.sight import Overlap, Sight
from zhub.settings import GuardSettings

LEAST_PAUSE = 10
"""Least seconds between two looks at the machine: the hub may ask for one at any time."""

MISSING_PAUSE = 1
"""The same while the name of a directory server has no address."""

NOWHERE = "127.0.0.1"
"""Name server of users' servers that may use none: the server itself. With no name server set, the
engine's resolver would forward queries to the machine's, and DNS is a way out (CVE-2024-29018)."""

log = logging.getLogger(__name__)


class Confinement(Keeper):
    """Sets the packet filters that the stack's settings ask for, and keeps them set.

    A container whose filter cannot be set must not keep running: callers remove it.
    """

    def __init__(
        self,
        client: docker.APIClient,
        helpers: Helpers,
        settings: GuardSettings,
        *,
        servers: bool = True,
    ) -> None:
        """Prepare.

        Args:
            client: of the engine.
            helpers: on it.
            settings: of the stack.
            servers: whether users' servers are this guard's to confine; not on a swarm, where each
                node has a guard for those on it.
        """
        #: Of the container whose network the hub has.
        self._hub = in_users_networks(separate_proxy=settings.separate_proxy)
        roles = (self._hub, Role.SERVER) if servers else (self._hub,)
        super().__init__(client, helpers, settings.prefix, roles)
        self._servers = servers
        self._settings = settings
        self._directory = Directory(helpers, settings.directory_servers, settings.directory_network)
        self._looking = threading.Lock()
        self._asking = threading.Lock()
        self._looked = float("-inf")
        self._sight = Sight()
        self._texts = Rules(settings, counted=True)
        self._said: frozenset[Overlap] = frozenset()

    @property
    def machine(self) -> Machine:
        return self._sight.machine

    def begin(self) -> None:
        super().begin()
        self._texts = Rules(self._settings, counted=self._counted)

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
        if self._servers:
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

    def _rules(self, found: dict[str, Any], networks: set[str]) -> str:
        if found["Config"]["Labels"].get(ROLE) == self._hub:
            return self._texts.of_hub(self._sight)
        name = found["Name"].removeprefix("/")
        if networks != {name}:
            raise RuntimeError(f"the container is in the networks {', '.join(sorted(networks))}")
        network = found["NetworkSettings"]["Networks"][name]["NetworkID"]
        return self._texts.of_server(self._sight, self._subnet(network))

    def _end(self, found: dict[str, Any], reason: Exception) -> None:
        """Remove a server; restart the hub, which then asks for its filter."""
        if found["Config"]["Labels"].get(ROLE) != self._hub:
            super()._end(found, reason)
            return
        name = found["Name"].removeprefix("/")
        log.error("restarting %s: its packet filter could not be set: %s", name, reason)
        self._client.restart(found["Id"], timeout=1)
