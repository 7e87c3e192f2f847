"""All calls of the engine's API that the guard carries out for the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils import parse_bytes

from zhub.contract import (
    HUB_ALIAS,
    NO_NETWORK,
    USER,
    Role,
    hub_address,
    labelled,
)
from zhub.guard import devices, folders, last_lines, updates
from zhub.guard.audit import Audit
from zhub.guard.bodies import Refused, Request, agree, parse_body
from zhub.guard.confinement import Confinement
from zhub.guard.counts import Counts
from zhub.guard.disk import HomesDisk
from zhub.guard.folders import Folders
from zhub.guard.homes import Homes
from zhub.guard.measures import Measures, Usage
from zhub.guard.networks import Network, Networks
from zhub.guard.policy import Policy
from zhub.guard.sizes import Sizes
from zhub.guard.turns import Turns
from zhub.subnets import taken_subnets

STOP_SECONDS = 60
"""The longest grace period for stopping a server."""

_NAME = "([A-Za-z0-9][A-Za-z0-9_.-]{0,254})"
_IMAGE = "([A-Za-z0-9](?:[A-Za-z0-9_./:@-]|%40){0,254})"
"""With a digest, as images of a registry have it: docker's client writes its @ as %40."""


class Guard:
    """Makes the calls that the policy allows, and refuses all others."""

    def __init__(
        self,
        client: docker.APIClient,
        policy: Policy,
        confinement: Confinement,
        shared: Folders,
        audit: Audit,
    ) -> None:
        self._client = client
        self._policy = policy
        self._confinement = confinement
        self._folders = shared
        self.audit = audit
        self._counts = Counts(client, policy.settings)
        self._homes = Homes(client, policy.settings)
        self.sizes: Sizes | None = None
        self._networks = Networks(client, policy, self._counts.networks)
        self._hub: tuple[str, str] | None = None
        self._turns = Turns()
        together = int(parse_bytes(policy.settings.users_memory or "0"))
        usage = Usage(client, policy.settings.prefix, together, swarm=policy.settings.swarm)
        self.measures = Measures(usage)
        self.measures.expect(*(call.__name__ for _, _, call in CALLS))
        if policy.settings.home_limit:
            self.sizes = Sizes(client, policy.settings, enforced=self._homes.limited)
            self.measures.registry.register(self.sizes)
        if policy.settings.homes_path:
            self.measures.registry.register(HomesDisk(self._homes))
        self.api_version: str = client.api_version

    def updating(self) -> bool:
        """Return whether the hub is of another version of the stack, which an `up` replaces.

        An engine that does not say leaves that open: then it is the hub that is there for good.
        """
        try:
            return updates.under_way(self._client, self._policy.settings)
        except (DockerException, OSError):
            return False

    def version(self, request: Request) -> Any:
        request.done()
        # Heartbeats make this call: its answer must mean that the engine answers as well.
        self._client.ping()
        return {"ApiVersion": self.api_version, "MinAPIVersion": self.api_version}

    def inspect_image(self, request: Request) -> Any:
        request.done()
        name = unquote(request.name)
        if name not in self._policy.settings.images:
            raise Refused("the image is none of the users' servers")
        return self._client.inspect_image(name)  # type: ignore[no-untyped-call]

    def inspect_container(self, request: Request) -> Any:
        request.done()
        found = self._client.inspect_container(request.name)
        if not (self._is_hub(found) or self._is_notebook(found)):
            raise Refused("the container is neither the hub's nor a user's")
        return found

    def list_containers(self, request: Request) -> Any:
        """List the users' servers, with no more than the hub needs to find them."""
        all_ = request.flag("all")
        filters = parse_body(request.query.pop("filters", "{}").encode())
        # What docker's client adds of its own.
        agree(request.query, {"limit": "-1", "size": "0", "trunc_cmd": "0"}, "")
        if filters != labelled(self._policy.settings.prefix, Role.SERVER):
            raise Refused("the filter does not select the users' servers")
        return [
            {
                "Id": found["Id"],
                "Names": found["Names"],
                "Labels": found["Labels"],
                "NetworkSettings": {
                    "Networks": dict.fromkeys(found["NetworkSettings"]["Networks"])
                },
            }
            for found in self._client.containers(all=all_, filters=filters)
        ]

    def create_container(self, request: Request) -> Any:
        name = request.query.pop("name", "")
        request.done()
        settings = self._policy.settings
        shared, rest = folders.asked(request.body, settings.shared_folders, settings.prefix)
        body = self._policy.container(name, rest)
        volume = body["HostConfig"]["Binds"][0].partition(":")[0]
        try:
            found = self._client.inspect_volume(volume)
        except NotFound:
            raise Refused(f"there is no volume {volume}") from None
        self._policy.home(found, body["Labels"][USER])
        if shared:
            body["HostConfig"]["Mounts"] = self._folders.mounts(one.name for one in shared)
        if servers := self._confinement.name_servers:
            body["HostConfig"]["Dns"] = servers
        self.audit.start(body["Labels"][USER])
        memory = body["HostConfig"]["Memory"]
        with self._homes.mounting(volume), self._counts.server(name, memory):
            made = self._client.create_container_from_config(body, name)  # type: ignore[no-untyped-call]
        self.audit.seen("container.make", user=body["Labels"][USER])
        return made

    def start_container(self, request: Request) -> None:
        request.done()
        with self._turn_of(self._notebook(request.name)["Id"]) as found:
            # With a network from before, it would run without a filter, if only for a moment.
            if not set(found["NetworkSettings"]["Networks"]) <= {NO_NETWORK}:
                raise Refused("the container has a network already")
            self.audit.start(found["Config"]["Labels"][USER])
            volume = self._policy.settings.home_of(found["Name"].removeprefix("/"))
            with self._homes.mounting(volume), devices.given(found):
                self._client.start(found["Id"])
        self.audit.seen("container.start", user=found["Config"]["Labels"][USER])

    def stop_container(self, request: Request) -> None:
        seconds = request.query.pop("t", "10")
        request.done()
        if not re.fullmatch("[0-9]{1,2}", seconds) or int(seconds) > STOP_SECONDS:
            raise Refused(f"t is {seconds!r}, not a number of seconds up to {STOP_SECONDS}")
        found = self._notebook(request.name)
        self._client.stop(found["Id"], timeout=int(seconds))
        run = found["Id"], found["State"]["StartedAt"]
        self.audit.stopped(*run, user=found["Config"]["Labels"][USER])

    def remove_container(self, request: Request) -> None:
        options = {name: request.flag(name) for name in ("v", "force")}
        if request.flag("link"):
            raise Refused("links are not the hub's business")
        request.done()
        found = self._notebook(request.name)
        last_lines.keep(self._client, found)
        self._client.remove_container(found["Id"], **options)
        if self.sizes:
            self.sizes.soon(self._policy.settings.home_of(found["Name"].removeprefix("/")))
        self.audit.seen("container.remove", user=found["Config"]["Labels"][USER])

    def create_volume(self, request: Request) -> Any:
        request.done()
        name, labels = self._policy.volume(request.body)
        with self._counts.homes.one_more(name):
            return self._homes.make(name, labels)

    def list_networks(self, request: Request) -> Any:
        """List the users' networks in full; of all others, also the site's, only their subnets."""
        filters = parse_body(request.query.pop("filters", "{}").encode())
        request.done()
        if filters:
            if filters != labelled(self._policy.settings.prefix, Role.NETWORK):
                raise Refused("the filter does not select the users' networks")
            listed = self._client.networks(filters=filters)
            for found in listed:
                self._networks.seen(found)
            return listed
        taken = (*taken_subnets(self._client), *map(str, self._confinement.left_out))
        subnets = [{"Subnet": subnet} for subnet in taken]
        return [{"IPAM": {"Config": subnets}}]

    def inspect_network(self, request: Request) -> Any:
        request.done()
        self._policy.suffix(request.name)
        found: dict[str, Any] = self._client.inspect_network(request.name)
        self._networks.seen(found)
        return found

    def create_network(self, request: Request) -> Any:
        request.done()
        name, subnet, labels = self._policy.network(request.body)
        if any(subnet.overlaps(one) for one in self._confinement.left_out):
            # As the engine itself answers for its own networks; the hub then asks for another one.
            raise APIError(
                "overlap", explanation=f"Pool overlaps with a network of the site: {subnet}"
            )
        return self._networks.make(name, subnet, labels)

    def connect(self, request: Request) -> None:
        request.done()
        container, endpoint = self._policy.connection(request.body)
        with self._networks.used(request.name) as network:
            hub, found = self._one_of_ours(container)
            if hub:
                address = hub_address(network.subnet)
                wanted = {"Aliases": [HUB_ALIAS], "IPAMConfig": {"IPv4Address": address}}
                agree(endpoint, wanted, "EndpointConfig.")
                self._client.connect_container_to_network(
                    hub, network.id, aliases=[HUB_ALIAS], ipv4_address=address
                )
            elif self._is_notebook(found) and found["Name"] == f"/{network.name}":
                agree(endpoint, {}, "EndpointConfig.")
                with self._turn_of(found["Id"]) as own:
                    self._connect_notebook(own, network)
            else:
                raise Refused(
                    "the container is neither the hub nor the network's own user's server"
                )

    def _one_of_ours(self, container: str) -> tuple[str, dict[str, Any]]:
        """Return the ID of the hub's container if a call names that one; else what it names.

        Which one it was is remembered, as an ID stands for the same container forever: what the
        engine says of the hub has all its networks.
        """
        if self._hub and self._hub[0] == container:
            return self._hub[1], {}
        found = self._client.inspect_container(container)
        if not self._is_hub(found):
            return "", found
        self._hub = container, found["Id"]
        return found["Id"], found

    def _connect_notebook(self, found: dict[str, Any], network: Network) -> None:
        container = found["Id"]
        # A stopped container has no network namespace to set a filter in.
        if not found["State"]["Running"]:
            raise Refused("the container does not run")
        try:
            # First the filter, then the interface: there is never a moment in which a process in
            # the container, such as a command that a captured hub chose, has a network without a
            # filter.
            self._confinement.server(found, network.subnet)
            self._client.connect_container_to_network(container, network.id)
            # The machine's addresses, which the filter follows, may have changed meanwhile, and
            # the update skips containers that have no network yet.
            self._confinement.again(container)
        except BaseException:
            self._client.remove_container(container, force=True, v=True)
            raise

    def disconnect(self, request: Request) -> None:
        request.done()
        container = self._policy.disconnection(request.name, request.body)
        if request.name == NO_NETWORK:
            own = self._notebook(container)["Id"]
            self._client.disconnect_container_from_network(own, NO_NETWORK, force=True)
            return
        with self._networks.used(request.name) as network:
            self._client.disconnect_container_from_network(container, network.id, force=True)

    def remove_network(self, request: Request) -> None:
        request.done()
        self._networks.remove(request.name)

    def confine_hub(self, request: Request) -> Any:
        """Set the hub's own packet filter; the hub asks for it before it serves anyone."""
        request.done()
        found = self._client.inspect_container(self._policy.hub)
        if not self._is_hub(found) or not found["State"]["Running"]:
            raise Refused("no hub is running")
        return {"Changed": self._confinement.hub_asks(found)}

    def metrics(self, request: Request) -> Any:
        """Return the guard's metrics; the hub, which has a port, hands them on."""
        request.done()
        return {"Text": self.measures.text()}

    def home_size(self, request: Request) -> Any:
        """Return the bytes of a home, as they were last counted; null if they are not known."""
        request.done()
        return {"Bytes": self.sizes.of(request.name) if self.sizes else None}

    def home_sizes(self, request: Request) -> Any:
        """Return the bytes of all homes that were counted, by users."""
        request.done()
        return {"Bytes": self.sizes.of_users() if self.sizes else {}}

    def reported(self, request: Request) -> None:
        """Write what the hub reports into the audit log."""
        request.done()
        body = dict(request.body)
        events = body.pop("Events", None)
        agree(body, {}, "")
        self.audit.reported(events)

    def _is_hub(self, found: dict[str, Any]) -> bool:
        labels = found["Config"]["Labels"]
        role, name = self._policy.hub_role, self._policy.hub
        return self._policy.owns(labels, role) and found["Name"] == f"/{name}"

    def _is_notebook(self, found: dict[str, Any]) -> bool:
        return self._policy.owns(found["Config"]["Labels"], Role.SERVER)

    def _notebook(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.inspect_container(name)
        if not self._is_notebook(found):
            raise Refused("the container is not a user's")
        return found

    @contextmanager
    def _turn_of(self, container: str) -> Iterator[dict[str, Any]]:
        """Yield the user's server with this ID; no other call starts or connects it meanwhile.

        Each start makes a network namespace without a filter. It would be one with a network if it
        came between filter and interface, or the interface between the look at a server's networks
        and its start. Calls that stop or remove a server neither need a turn nor wait for one: a
        stop may last a minute.
        """
        with self._turns.of(container):
            yield self._notebook(container)


CALLS: list[tuple[str, str, Callable[[Guard, Request], Any]]] = [
    ("GET", f"/images/{_IMAGE}/json", Guard.inspect_image),
    ("GET", "/containers/json", Guard.list_containers),
    ("GET", f"/containers/{_NAME}/json", Guard.inspect_container),
    ("POST", "/containers/create", Guard.create_container),
    ("POST", f"/containers/{_NAME}/start", Guard.start_container),
    ("POST", f"/containers/{_NAME}/stop", Guard.stop_container),
    ("DELETE", f"/containers/{_NAME}", Guard.remove_container),
    ("POST", "/volumes/create", Guard.create_volume),
    ("GET", "/networks", Guard.list_networks),
    ("POST", "/networks/create", Guard.create_network),
    ("GET", f"/networks/{_NAME}", Guard.inspect_network),
    ("POST", f"/networks/{_NAME}/connect", Guard.connect),
    ("POST", f"/networks/{_NAME}/disconnect", Guard.disconnect),
    ("DELETE", f"/networks/{_NAME}", Guard.remove_network),
    ("POST", "/zhub/confine", Guard.confine_hub),
    ("GET", "/zhub/metrics", Guard.metrics),
    ("GET", f"/zhub/homes/{_NAME}", Guard.home_size),
    ("GET", "/zhub/homes", Guard.home_sizes),
    ("POST", "/zhub/audit", Guard.reported),
]
"""All calls: method, path after the version, function. The last five are the guard's own."""
