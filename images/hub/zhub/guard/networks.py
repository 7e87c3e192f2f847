"""The users' networks, as far as the guard's calls need to know them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import docker
from docker.errors import NotFound

from zhub.contract import Role, addressing, network_options
from zhub.guard.bodies import Refused
from zhub.guard.counts import Count
from zhub.guard.policy import Policy
from zhub.subnets import subnet_of


@dataclass(frozen=True)
class Network:
    """What never changes of a network while the engine has it."""

    id: str
    name: str
    subnet: IPv4Network


class Networks:
    """Makes, knows and removes networks.

    The engine goes through all networks to find one, so each question costs more with each user.
    What was seen once is remembered, and the engine gets the ID, which it never gives again.
    """

    def __init__(self, client: docker.APIClient, policy: Policy, count: Count) -> None:
        self._client = client
        self._policy = policy
        self._count = count
        self._making = threading.Lock()
        self._known: dict[str, Network] = {}

    def seen(self, found: Mapping[str, Any]) -> Network:
        """Remember a network as the engine has it.

        Raises:
            Refused: when it is not a user's.
        """
        if not self._policy.owns(found["Labels"], Role.NETWORK):
            raise Refused("the network is not a user's")
        network = self._known[found["Name"]] = Network(found["Id"], found["Name"], subnet_of(found))
        return network

    @contextmanager
    def used(self, name: str) -> Iterator[Network]:
        """Yield a network for calls of the engine; forget it when the engine does not know it.

        Raises:
            Refused: when it is not a user's.
        """
        self._policy.suffix(name)
        network = self._known.get(name) or self.seen(self._client.inspect_network(name))
        try:
            yield network
        except NotFound:
            self._known.pop(name, None)
            raise

    def make(self, name: str, subnet: IPv4Network, labels: dict[str, str]) -> dict[str, Any]:
        """Make a network; return the engine's answer."""
        internal = self._policy.settings.internal
        # Docker 20.10 makes a second network of the same name unless it is told to check, and even
        # then when two requests come at the same moment. Neither could be addressed by its name,
        # or removed, any more.
        with self._making, self._count.one_more(name):
            made: dict[str, Any] = self._client.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                internal=internal,
                options=network_options(internal=internal),
                ipam=addressing(subnet),
                labels=labels,
            )
            self._known[name] = Network(made["Id"], name, subnet)
        return made

    def remove(self, name: str) -> None:
        """Remove a network."""
        with self.used(name) as network:
            self._client.remove_network(network.id)
        self._known.pop(name, None)
