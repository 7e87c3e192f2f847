"""Gives each user's server a network of its own, and attaches the hub to all of them."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from ipaddress import IPv4Network
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import docker
from docker.errors import APIError, NotFound

from zhub.contract import (
    HUB_ALIAS,
    NO_NETWORK,
    Role,
    addressing,
    hub_address,
    labelled,
    network_options,
)
from zhub.subnets import Pool, subnet_of, taken_subnets

_CREATING = threading.Lock()
"""Two starts at the same time would try the same subnet."""

_KNOWN: WeakKeyDictionary[docker.APIClient, Pool] = WeakKeyDictionary()
"""What is taken of the pool, as far as this process has seen: the engine's list of all its networks
is long where many servers run. The engine refuses a subnet that something else has taken."""

TRIES = 3
"""How often a network is made that is there already, or with other settings, but goes meanwhile."""

GONE = "ep-"
"""How the engine's keys of a network's members begin where the container is gone."""

JOINED = "has active endpoints"
"""What the engine says of a network that it does not remove because something is in it."""

TAKEN = "Address already in use"
"""What the engine says where something else in a network has the hub's address there; and of a
subnet that another network has all of, whose addresses are not divided like a user's network's."""

log = logging.getLogger(__name__)


class _ExistsError(Exception):
    """The engine has a network of the name."""


class UserNetworks:
    """Creates, joins and removes the users' networks of one hub.

    Subnets come from the hub's own pool, because Docker's default pools hold only about thirty
    networks. The hub's address in a network stays the same when its container is replaced: a
    notebook that outlives the container may keep using the address it resolved.
    """

    def __init__(
        self,
        client: docker.APIClient,
        *,
        prefix: str,
        hub: str,
        pool: IPv4Network,
        internal: bool,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._hub = hub
        self._pool = pool
        self._internal = internal

    def open(self, name: str, labels: dict[str, str]) -> None:
        """Make sure that the network exists with the present settings, and the hub is in it."""
        # Each call to the engine takes time: a new network need not be inspected, before or after.
        for _ in range(TRIES):
            try:
                subnet = self._create(name, labels)
            except _ExistsError:
                if self._take(name):
                    return
            else:
                self._connect(name, subnet)
                return
        raise RuntimeError(f"the network {name} can neither be made nor be used")

    def _take(self, name: str) -> bool:
        """Attach the hub to a network that is there, or remove it; return whether it is used."""
        network = self._inspect(name)
        if not network:
            return False
        hub = self._client.inspect_container(self._hub)
        if network["Internal"] != self._internal and not _others(network, hub):
            self.close(name)
            return False
        if name not in hub["NetworkSettings"]["Networks"]:
            self._connect(name, subnet_of(network))
        return True

    def start(self, name: str, labels: dict[str, str], container: str) -> Future[None]:
        """Start a container while its network is opened; return what came of the network.

        The engine takes about as long for the one as for the other.
        """
        with ThreadPoolExecutor(1) as beside:
            opening = beside.submit(self.open, name, labels)
            self._client.start(container)
        return opening

    def join(
        self,
        name: str,
        labels: dict[str, str],
        container: str,
        opening: Future[None] | None = None,
    ) -> None:
        """Open the network, and move a container from the network "none" into it.

        The hub is in it first. Otherwise the container could ask a name server of the site for the
        hub's name, and take another machine for the hub.

        Args:
            name: of the network.
            labels: of the network.
            container: that runs.
            opening: of the network, if that was begun; where it has failed, it is tried again.
        """
        if opening is None or opening.exception():
            self.open(name, labels)
        self._client.disconnect_container_from_network(container, NO_NETWORK)
        self._client.connect_container_to_network(container, name)

    def close(self, name: str) -> None:
        """Remove the network, detaching all containers; do nothing when it does not exist.

        If the hub's container joins it again and again, as one that is being restarted, it is left
        to the user's next start, or to the next hub.
        """
        for _ in range(TRIES):
            network = self._inspect(name)
            if not network:
                return
            if self._removed(network):
                with _CREATING:
                    if known := self._known:
                        known.give(subnet_of(network))
                return
        log.warning("network %s is not removed now: something joins it", name)

    def _removed(self, network: dict[str, Any]) -> bool:
        """Remove a network and return True; False if something has joined it meanwhile."""
        name = network["Name"]
        for container in _attached(network):
            # One whose container is gone may be gone as well by now.
            with suppress(NotFound):
                self._client.disconnect_container_from_network(container, name, force=True)
        try:
            self._client.remove_network(name)
        except APIError as error:
            if JOINED not in str(error.explanation):
                raise
            return False
        return True

    def restore(self) -> None:
        """Attach the hub to the networks of running servers, and remove the others.

        Must be called before JupyterHub starts, which stops servers that it cannot reach. It takes
        a call for each network, and three for all of them.
        """
        hub = self._client.inspect_container(self._hub)
        servers = self._client.containers(filters=labelled(self._prefix, Role.SERVER))
        used = {name for server in servers for name in server["NetworkSettings"]["Networks"]}
        for network in self._client.networks(filters=labelled(self._prefix, Role.NETWORK)):
            name = network["Name"]
            if name in used or _others(self._inspect(name), hub):
                if name not in hub["NetworkSettings"]["Networks"]:
                    self._reattach(name, subnet_of(network))
            else:
                log.info("removing network %s, which nothing uses", name)
                self.close(name)

    def _reattach(self, name: str, subnet: IPv4Network) -> None:
        """Attach a new hub to a network; leave out one that it cannot be in, and say so."""
        log.info("attaching the hub to network %s", name)
        try:
            self._connect(name, subnet)
        except APIError as error:
            if TAKEN not in str(error.explanation):
                raise
            log.error(  # noqa: TRY400
                "the hub cannot be attached to network %s, where something else has its address:"
                " stop the server there: %s",
                name,
                error.explanation,
            )

    @property
    def _known(self) -> Pool | None:
        known = _KNOWN.get(self._client)
        return known if known and known.network == self._pool else None

    def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            network: dict[str, Any] = self._client.inspect_network(name)
        except NotFound:
            return None
        return network

    def _create(self, name: str, labels: dict[str, str]) -> IPv4Network:
        """Create a network in the first subnet that is free; return the subnet.

        Raises:
            _ExistsError: there is a network of this name.
        """
        with _CREATING:
            known = self._known
            if known and (made := self._created(name, labels, known, tries=1)):
                return made
            # Something else has taken a subnet, or given one back.
            known = _KNOWN[self._client] = Pool(self._pool, taken_subnets(self._client))
            if made := self._created(name, labels, known):
                return made
        raise RuntimeError(
            f"no free subnet is left in {self._pool}: `make doctor` says what else has it, if not"
            " users' servers; set another userNetworkPool, or a larger one"
        )

    def _created(
        self, name: str, labels: dict[str, str], known: Pool, tries: int | None = None
    ) -> IPv4Network | None:
        """Create it in a subnet that is not known to be taken; None if the engine refuses these.

        Args:
            name: of the network.
            labels: of the network.
            known: what is taken.
            tries: so many subnets; None for all.
        """
        for subnet in islice(known.free(), tries):
            try:
                self._client.create_network(
                    name,
                    driver="bridge",
                    # Docker 20.10 makes another one of the name otherwise.
                    check_duplicate=True,
                    internal=self._internal,
                    options=network_options(internal=self._internal),
                    ipam=addressing(subnet),
                    labels=labels,
                )
            except APIError as error:
                if error.status_code == HTTPStatus.CONFLICT:
                    raise _ExistsError from None
                # Another hub on the same engine has just taken it, or the guard has just seen that
                # it is the site's.
                if not any(text in str(error.explanation) for text in ("overlap", TAKEN)):
                    raise
                continue
            known.take(subnet)
            return subnet
        return None

    def _connect(self, name: str, subnet: IPv4Network) -> None:
        self._client.connect_container_to_network(
            self._hub, name, aliases=[HUB_ALIAS], ipv4_address=hub_address(subnet)
        )


def _others(network: dict[str, Any] | None, hub: dict[str, Any]) -> bool:
    """Return whether a container other than the hub runs in the network."""
    return any(
        container != hub["Id"] and not container.startswith(GONE)
        for container in (network or {}).get("Containers", ())
    )


def _attached(network: dict[str, Any]) -> list[str]:
    """Return what the engine takes for a network's members, to detach them: IDs of containers.

    Of a container that is being removed, or that the engine has lost, it knows only the name.
    """
    members = network["Containers"].items()
    return [found["Name"] if key.startswith(GONE) else key for key, found in members]
