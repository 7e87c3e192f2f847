"""The engine as the guard sees it where users' servers run on a swarm.

The guard makes the calls that it makes on a single engine; those about users' servers and their
networks become calls about services here, and all others go to the engine as they are. A service
has its network from the start, so it is made when the guard connects the container to its network;
until then there is only what was asked for.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import docker
from docker.errors import APIError, NotFound

from zhub.contract import ROLE, STACK, USER, Role, labelled
from zhub.guard import placement, room, services
from zhub.guard.helpers import UnusableError
from zhub.guard.leases import Leases, in_words
from zhub.guard.managers import Managers
from zhub.guard.placement import answers, node_of
from zhub.guard.refusals import Refusals
from zhub.guard.reports import Reports
from zhub.guard.services import ID, Swarm
from zhub.subnets import subnets_of

GONE_SECONDS = 30
"""How long to wait until the machine of a server says that it is gone. It has its grace period, and
the engine waits two seconds before it ends a service's container."""

PAUSE = 0.2

UNATTACHED = "attaching to network failed"
"""What the engine says where the managers do not answer, or do not let a container in."""

NO_SUCH_NETWORK = re.compile(r"code = NotFound desc = network \S+ not found")
"""What the managers say of a network that they have removed, while their own engine still has it.
Seen where the server's machine does not answer."""

IN_USE = "in use by task"
"""What the engine says of a network whose servers are not gone yet."""


@dataclass(frozen=True)
class Asked:
    """A server that was asked for, and is not in its network yet."""

    name: str
    body: dict[str, Any]


class Services:
    """A client of a manager's engine, in which users' servers are services."""

    def __init__(self, client: docker.APIClient, prefix: str, swarm: Swarm) -> None:
        self._client: Any = client
        self._prefix = prefix
        self._managers = Managers(client, prefix)
        self._swarm = swarm
        self._asked: dict[str, Asked] = {}
        self._lock = threading.Lock()
        self._leases = Leases()
        self._refusals = Refusals()
        self._reports = Reports(client, self._managers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    # What the guard asks of containers.

    def create_container_from_config(self, body: dict[str, Any], name: str) -> dict[str, Any]:
        """Note what a server is to be; nothing runs yet."""
        made = secrets.token_hex(32)
        with self._lock:
            self._forget(name)
            self._asked[made] = Asked(name, body)
        return {"Id": made, "Warnings": []}

    def start(self, container: str) -> None:
        """Do nothing: a service runs when it is made."""
        if not self._found(container):
            self._client.start(container)

    def inspect_container(self, container: str) -> dict[str, Any]:
        """Return a server in the form of a container, or any other container as it is."""
        with self._lock:
            asked = self._asked_for(container)
        if asked:
            made, server = asked
            return services.not_yet(made, server.name, server.body)
        service = self._managers.service(container)
        if service:
            return self._managers.shown(service)
        found: dict[str, Any] = self._client.inspect_container(container)
        if (found["Config"]["Labels"] or {}).get(ROLE) == Role.SERVER:
            # One of a service's own containers, on this machine: not what the hub knows it by.
            raise NotFound("no such container: a task of a service")
        return found

    def containers(self, **options: Any) -> list[dict[str, Any]]:
        """List users' servers, if those are asked for, as containers are listed."""
        if options.get("filters") != labelled(self._prefix, Role.SERVER):
            found: list[dict[str, Any]] = self._client.containers(**options)
            return found
        listed = self._managers.listed(all_=bool(options.get("all")))
        return self._reports.sized(listed) if options.get("size") else listed

    def stats(self, container: str, **_: Any) -> dict[str, Any]:
        """Return what a server uses; raises NotFound if its machine has not said it."""
        return self._reports.stats(container)

    def machines(self) -> dict[str, int]:
        """Return the bytes of memory of the machines that servers may run on, by their names."""
        return self._managers.memory(self._swarm.label)

    def stop(self, container: str, timeout: int) -> None:
        """Remove a server's service; its grace period is part of it.

        Raises:
            docker.errors.NotFound: there is no such server.
        """
        if not self._removed(container):
            self._client.stop(container, timeout=timeout)

    def remove_container(self, container: str, **options: Any) -> None:
        """Remove a server's service, or what was asked for."""
        if not self._removed(container):
            self._client.remove_container(container, **options)

    def logs(self, container: str, **options: Any) -> Any:
        """Return the last lines of a server, or what any other container said; raises as both."""
        if service := self._managers.service(container):
            return self._managers.lines(service, options["tail"])
        return self._client.logs(container, **options)

    # What it asks of networks.

    def create_network(self, name: str, **options: Any) -> dict[str, Any]:
        """Make a user's network, which all nodes have that need it.

        Raises:
            docker.errors.APIError: its subnet is taken, as an engine says of its own networks. The
                swarm's managers take any, and such a network then gets no addresses.
        """
        others = [one for one in self._client.networks() if one["Name"] != name]
        wanted = subnets_of([{"IPAM": options["ipam"]}])
        for taken in subnets_of(others):
            if any(map(taken.overlaps, wanted)):
                raise APIError("overlap", explanation=f"Pool overlaps with another one: {taken}")
        # The driver's options are of a bridge. Others may attach to it: the hub does.
        own = {services.ENCRYPTED: ""} if self._swarm.encrypted else None
        # When the hub restarts, the managers do not attach it again outside of such a range.
        pools = [pool | {"IPRange": None} for pool in options["ipam"]["Config"]]
        ipam = options["ipam"] | {"Config": pools}
        options |= {"driver": "overlay", "attachable": True, "options": own, "ipam": ipam}
        made: dict[str, Any] = self._client.create_network(name, **options)
        return made

    def inspect_network(self, name: str) -> dict[str, Any]:
        """Return a network, with those in it that the hub knows.

        An engine knows only its own containers, and calls addresses of the swarm's own by names.
        """
        found: dict[str, Any] = self._client.inspect_network(name)
        inside = {k: v for k, v in (found["Containers"] or {}).items() if not k.startswith("lb-")}
        if service := self._managers.service(found["Name"]):
            inside[_id(service)] = {"Name": found["Name"]}
        return found | {"Containers": inside}

    def connect_container_to_network(self, container: str, network: str, **options: Any) -> None:
        """Make the service of a server that was asked for, in this network."""
        with self._lock:
            asked = self._asked_for(container)
        if not asked:
            self._attach(container, network, **options)
            return
        made, server = asked
        self._await_gone(server.body["Labels"])
        self._make(made, server, self._client.inspect_network(network))
        with self._lock:
            self._asked.pop(made, None)

    def _attach(self, hub: str, network: str, aliases: list[str], ipv4_address: str) -> None:
        """Connect the hub to a user's network, at the address that no server gets.

        The managers have to allow it, and they do not where the node takes no tasks.
        """
        own = services.hub_address(ipv4_address)
        try:
            self._client.connect_container_to_network(
                hub, network, aliases=aliases, ipv4_address=own
            )
        except APIError as error:
            if NO_SUCH_NETWORK.search(str(error.explanation)):
                raise UnusableError(
                    "The network of your last server is not gone yet. Please try again in a minute."
                ) from None
            if UNATTACHED not in str(error.explanation):
                raise
            raise UnusableError(
                "The swarm does not let the hub into your server's network. Please tell your"
                " administrator: the hub's machine must be a node that is active (docker node ls),"
                " neither paused nor drained"
            ) from None

    def disconnect_container_from_network(
        self, container: str, network: str, **options: Any
    ) -> None:
        """Do nothing for servers: they are in no network, or in theirs until they end."""
        if not self._found(container):
            self._client.disconnect_container_from_network(container, network, **options)

    def remove_network(self, network: str) -> None:
        """Remove a network, once its servers are gone; return when the engine has forgotten it.

        The managers forget it at once, and their own engine a moment later. Whoever makes it anew
        in between is told that it is there, and cannot join it.
        """
        end = time.monotonic() + GONE_SECONDS
        while True:
            try:
                self._client.remove_network(network)
            except APIError as error:
                if IN_USE not in str(error.explanation) or time.monotonic() > end:
                    raise
                time.sleep(PAUSE)
            else:
                break
        while self._has_network(network) and time.monotonic() < end:
            time.sleep(PAUSE)

    def _has_network(self, network: str) -> bool:
        try:
            self._client.inspect_network(network)
        except NotFound:
            return False
        return True

    # The services.

    def _make(self, made: str, server: Asked, network: Mapping[str, Any]) -> None:
        volume = server.body["HostConfig"]["Binds"][0].partition(":")[0]
        home = self._client.inspect_volume(volume)
        nodes, label = self._managers.nodes(), self._swarm.label
        placement.check(home, nodes.values(), label)
        if services.encrypted(network) != self._swarm.encrypted:
            # It is removed with the server, and the next one is made by the present setting.
            raise UnusableError(
                "Your server's network was left from before the setting swarmEncryption changed."
                " Please try again."
            )
        image, refused = server.body["Image"], self._refusals.lately()
        kept = self._managers.kept()
        unready = placement.unready(nodes.values(), kept, label, image, refused)
        swarm = replace(self._swarm, unready=tuple(unready))
        body = services.body(server.name, server.body, home, network["Id"], swarm)
        service = self._client.create_service(
            body["TaskTemplate"],
            name=server.name,
            labels=body["Labels"] | {ID: made},
            mode=body["Mode"],
            endpoint_spec=body["EndpointSpec"],
        )
        task = room.wait(self._client, service["ID"])
        if self._refusals.note(task, nodes):
            self._client.remove_service(service["ID"])
            raise UnusableError(
                "The machine that your server was to run on does not start it. Please try again:"
                " you get another machine, if there is one. If it lasts, tell your administrator:"
                f" {task['Status'].get('Err')}"
            )

    def _await_gone(self, labels: Mapping[str, str]) -> None:
        """Wait until no other server of this user can run.

        Raises:
            UnusableError: one may still run, on a machine that does not answer, or does not end.
        """
        if seconds := self._leases.held(labels[USER]):
            raise UnusableError(
                "Your last server was on a machine that takes no servers any more, and may still"
                " write to your files. It ends by itself: please try again in"
                f" {in_words(seconds)}."
            )
        own = {"label": [f"{name}={labels[name]}" for name in (STACK, ROLE, USER)]}
        end = time.monotonic() + GONE_SECONDS
        while left := [task for task in self._client.tasks(filters=own) if services.may_run(task)]:
            nodes = self._managers.nodes()
            # Of those on machines that somebody has removed from the swarm, nothing is left.
            there = [task for task in left if node_of(task) in nodes or not node_of(task)]
            away = [task for task in there if not answers(task, nodes)]
            if seconds := max((self._leases.left(task["ID"]) for task in away), default=0):
                raise UnusableError(
                    "Your last server was on a machine that does not answer, and may still write to"
                    f" your files. It ends by itself: please try again in {in_words(seconds)}."
                )
            if len(away) == len(there):
                return
            if time.monotonic() > end:
                raise UnusableError("Your last server does not end. Please try again.")
            time.sleep(PAUSE)

    def _removed(self, container: str) -> bool:
        """Remove a server, if it is one, and say whether it was."""
        with self._lock:
            asked = self._asked_for(container)
            if asked:
                self._asked.pop(asked[0])
        service = self._managers.service(container)
        if service:
            tasks = self._client.tasks(filters={"service": service["ID"]})
            self._client.remove_service(service["ID"])
            for task in tasks:
                self._leases.end(task["ID"])
                self._refusals.note(task, self._managers.nodes())
                if services.cut_short(task):
                    self._leases.hold(service["Spec"]["Labels"][USER])
        return bool(asked or service)

    def _found(self, container: str) -> bool:
        with self._lock:
            asked = self._asked_for(container)
        return bool(asked or self._managers.service(container))

    def _asked_for(self, container: str) -> tuple[str, Asked] | None:
        """Return what was asked for, by ID or name; with the lock."""
        for made, server in self._asked.items():
            if container in {made, server.name}:
                return made, server
        return None

    def _forget(self, name: str) -> None:
        for made in [made for made, server in self._asked.items() if server.name == name]:
            del self._asked[made]


def _id(service: Mapping[str, Any]) -> str:
    return str(service["Spec"]["Labels"][ID])
