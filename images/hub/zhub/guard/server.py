"""The guard's side of the engine's API: each call the hub makes, and a refusal for all others."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import docker
import requests.exceptions
from docker.errors import APIError, NotFound
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_unix_socket
from tornado.web import HTTPError, RequestHandler

from zhub.guard.confinement import Confinement
from zhub.guard.counts import FULL, Counts, Full
from zhub.guard.listener import CLIENT_SECONDS, Listener, SmallRequests
from zhub.guard.policy import USER, Policy, Refused, agree, parse_body
from zhub.networks import (
    HUB_ALIAS,
    NO_NETWORK,
    addressing,
    hub_address,
    network_options,
    taken_subnets,
)

STOP_SECONDS = 60
"""The longest grace a server can be given to end."""

BACKLOG = 1024
"""Connections not yet accepted: with none left, a socket with a timeout does not even wait."""

THREADS = 16
"""Calls to the engine at the same time."""

READS = threading.BoundedSemaphore(4)
"""Of these, how many may ask for something: of a hub with many networks the answer is large."""

_NAME = "([A-Za-z0-9][A-Za-z0-9_.-]{0,254})"
_TRUE, _FALSE = {"True", "true", "1"}, {"False", "false", "0"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is left of a request once it is parsed."""

    name: str
    """Of the object in the path; empty where there is none."""
    query: dict[str, str]
    body: dict[str, Any]

    def flag(self, name: str) -> bool:
        """Take a yes or no out of the query; no when it is not there."""
        value = self.query.pop(name, "False")
        if value not in _TRUE | _FALSE:
            raise Refused(f"{name} is {value!r}")
        return value in _TRUE

    def done(self) -> None:
        """Refuse what nobody has taken out of the query."""
        if self.query:
            raise Refused(f"the query has {', '.join(self.query)}")


class Guard:
    """Carries out, with the engine's socket, what the policy allows."""

    def __init__(self, client: docker.APIClient, policy: Policy, confinement: Confinement) -> None:
        self._client = client
        self._policy = policy
        self._confinement = confinement
        self._counts = Counts(client, policy.settings)
        self._making_networks = threading.Lock()
        self.api_version: str = client.api_version

    def version(self, request: Request) -> Any:
        request.done()
        # Heartbeats ask for this: the answer says that the engine answers, too.
        self._client.ping()
        return {"ApiVersion": self.api_version, "MinAPIVersion": self.api_version}

    def inspect_image(self, request: Request) -> Any:
        request.done()
        if request.name != self._policy.settings.notebook_image:
            raise Refused("it is not the users' image")
        return self._client.inspect_image(request.name)  # type: ignore[no-untyped-call]

    def inspect_container(self, request: Request) -> Any:
        request.done()
        found = self._client.inspect_container(request.name)
        if not (self._is_hub(found) or self._is_notebook(found)):
            raise Refused("the container is neither the hub's nor a user's")
        return found

    def create_container(self, request: Request) -> Any:
        name = request.query.pop("name", "")
        request.done()
        body = self._policy.container(name, request.body)
        volume = body["HostConfig"]["Binds"][0].partition(":")[0]
        try:
            found = self._client.inspect_volume(volume)
        except NotFound:
            raise Refused(f"there is no volume {volume}") from None
        self._policy.home(found, body["Labels"][USER])
        if servers := self._confinement.name_servers:
            body["HostConfig"]["Dns"] = servers
        with self._counts.servers.one_more(name):
            return self._client.create_container_from_config(body, name)  # type: ignore[no-untyped-call]

    def start_container(self, request: Request) -> None:
        request.done()
        found = self._notebook(request.name)
        # With a network that it got before, it would run unconfined, however briefly.
        if not set(found["NetworkSettings"]["Networks"]) <= {NO_NETWORK}:
            raise Refused("the container has a network already")
        self._client.start(found["Id"])

    def stop_container(self, request: Request) -> None:
        seconds = request.query.pop("t", "10")
        request.done()
        if not re.fullmatch("[0-9]{1,2}", seconds) or int(seconds) > STOP_SECONDS:
            raise Refused(f"t is {seconds!r}, not a number of seconds up to {STOP_SECONDS}")
        self._client.stop(self._notebook(request.name)["Id"], timeout=int(seconds))

    def remove_container(self, request: Request) -> None:
        options = {name: request.flag(name) for name in ("v", "force")}
        if request.flag("link"):
            raise Refused("links are not the hub's business")
        request.done()
        self._client.remove_container(self._notebook(request.name)["Id"], **options)

    def create_volume(self, request: Request) -> Any:
        request.done()
        name, labels = self._policy.volume(request.body)
        with self._counts.homes.one_more(name):
            return self._client.create_volume(name, driver="local", labels=labels)

    def list_networks(self, request: Request) -> Any:
        """The users' networks as they are; of others no more than which subnets are taken."""
        filters = parse_body(request.query.pop("filters", "{}").encode())
        request.done()
        labels = [f"zhub.stack={self._policy.settings.prefix}", "zhub.role=user-network"]
        if filters:
            if filters != {"label": labels}:
                raise Refused("the filter is not for the users' networks")
            return self._client.networks(filters=filters)
        subnets = [{"Subnet": subnet} for subnet in taken_subnets(self._client)]
        return [{"IPAM": {"Config": subnets}}]

    def inspect_network(self, request: Request) -> Any:
        request.done()
        return self._own_network(request.name)

    def create_network(self, request: Request) -> Any:
        request.done()
        name, subnet, labels = self._policy.network(request.body)
        # Docker 20.10 makes a second one of a name unless it is told to check, and even then when
        # it is asked at the same moment. None of them could be named, or removed, any more.
        with self._making_networks, self._counts.networks.one_more(name):
            return self._client.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                internal=self._policy.settings.internal,
                options=network_options(internal=self._policy.settings.internal),
                ipam=addressing(subnet),
                labels=labels,
            )

    def connect(self, request: Request) -> None:
        request.done()
        network = self._own_network(request.name)
        container, endpoint = self._policy.connection(request.body)
        found = self._client.inspect_container(container)
        if self._is_hub(found):
            address = hub_address(IPv4Network(network["IPAM"]["Config"][0]["Subnet"]))
            wanted = {"Aliases": [HUB_ALIAS], "IPAMConfig": {"IPv4Address": address}}
            agree(endpoint, wanted, "EndpointConfig.")
            self._client.connect_container_to_network(
                found["Id"], network["Id"], aliases=[HUB_ALIAS], ipv4_address=address
            )
        elif self._is_notebook(found) and found["Name"] == f"/{network['Name']}":
            agree(endpoint, {}, "EndpointConfig.")
            # One that does not run has no network namespace that a filter could be set in.
            if not found["State"]["Running"]:
                raise Refused("the container does not run")
            self._connect_notebook(found, network)
        else:
            raise Refused("it is neither the hub nor the network's own container")

    def _connect_notebook(self, found: dict[str, Any], network: dict[str, Any]) -> None:
        container = found["Id"]
        try:
            # First the filter, then an interface: there is no moment in which anything, such as a
            # command of a captured hub's choice, could use the one without the other.
            self._confinement.server(found, IPv4Network(network["IPAM"]["Config"][0]["Subnet"]))
            self._client.connect_container_to_network(container, network["Id"])
            # What the filter follows may have changed just now, when it was not in a network yet.
            self._confinement.again(container)
        except BaseException:
            self._client.remove_container(container, force=True, v=True)
            raise

    def disconnect(self, request: Request) -> None:
        request.done()
        container = self._policy.disconnection(request.body)
        if request.name == NO_NETWORK:
            network, container = NO_NETWORK, self._notebook(container)["Id"]
        else:
            network = self._own_network(request.name)["Id"]
        self._client.disconnect_container_from_network(container, network, force=True)

    def remove_network(self, request: Request) -> None:
        request.done()
        self._client.remove_network(self._own_network(request.name)["Id"])

    def confine_hub(self, request: Request) -> Any:
        """Close the hub's own way out: it asks before it serves anybody."""
        request.done()
        found = self._client.inspect_container(self._policy.hub)
        if not self._is_hub(found) or not found["State"]["Running"]:
            raise Refused("there is no hub that runs")
        return {"Changed": self._confinement.hub_asks(found)}

    def _is_hub(self, found: dict[str, Any]) -> bool:
        labels = found["Config"]["Labels"]
        return self._policy.owns(labels, "hub") and found["Name"] == f"/{self._policy.hub}"

    def _is_notebook(self, found: dict[str, Any]) -> bool:
        return self._policy.owns(found["Config"]["Labels"], "notebook")

    def _notebook(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.inspect_container(name)
        if not self._is_notebook(found):
            raise Refused("the container is not a user's")
        return found

    def _own_network(self, name: str) -> dict[str, Any]:
        self._policy.suffix(name)
        found: dict[str, Any] = self._client.inspect_network(name)
        if not self._policy.owns(found["Labels"], "user-network"):
            raise Refused("the network is not a user's")
        return found


CALLS: list[tuple[str, str, Callable[[Guard, Request], Any]]] = [
    ("GET", "/images/([A-Za-z0-9][A-Za-z0-9_./:@-]{0,254})/json", Guard.inspect_image),
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
]
"""All there is: method, path behind the version, what is done. The last is not the engine's."""


class Handler(RequestHandler):
    """Parses a request, has it carried out in a thread, and answers as the engine would."""

    def initialize(self, guard: Guard, threads: ThreadPoolExecutor, rooms: list[Listener]) -> None:
        self._guard = guard
        self._threads = threads
        [self._room] = rooms

    async def prepare(self) -> None:
        try:
            with self._room.call():
                call, request = self._parsed()
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._threads, self._answer, call, request)
        except Refused as refusal:
            # Escaped: what a hub in foreign hands writes must not look like lines of this log.
            told = f"{self.request.method} {self.request.uri}"[:300], str(refusal)[:500]
            log.warning("refused %s: %s", *(t.encode("unicode_escape").decode() for t in told))
            raise HTTPError(HTTPStatus.FORBIDDEN, reason="Forbidden") from refusal
        self.set_status(HTTPStatus.NO_CONTENT if answer is None else HTTPStatus.OK)
        if answer is not None:
            self.set_header("Content-Type", "application/json")
            self.write(answer)
        try:
            await asyncio.wait_for(self.finish(), CLIENT_SECONDS)
        except StreamClosedError:
            # The client went away, which is its own affair.
            return
        except TimeoutError:
            log.warning("nobody has read the answer to %s", self.request.method)
            self.request.connection.stream.close()  # type: ignore[union-attr] # HTTP/1 has one

    def _answer(self, call: Callable[[Guard, Request], Any], request: Request) -> bytes | None:
        """Carry out a call in a thread; of what the engine says, nothing but the text is kept."""
        with READS if self.request.method == "GET" else nullcontext():
            result = call(self._guard, request)
            return None if result is None else json.dumps(result).encode()

    def _parsed(self) -> tuple[Callable[[Guard, Request], Any], Request]:
        received = self.request
        for header in ("Transfer-Encoding", "Upgrade", "Expect", "X-Registry-Auth"):
            if header in received.headers:
                raise Refused(f"it has the header {header}")
        try:
            pairs = parse_qsl(received.query, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            raise Refused("the query cannot be understood") from None
        query = dict(pairs)
        if len(query) != len(pairs):
            raise Refused("the query has something twice")
        if received.body and received.method != "POST":
            raise Refused("it has a body")
        body = parse_body(received.body)
        if (received.method, received.path) == ("GET", "/version"):
            return Guard.version, Request("", query, body)
        prefix = f"/v{self._guard.api_version}"
        for method, path, call in CALLS:
            match = re.fullmatch(re.escape(prefix) + path, received.path)
            if match and method == received.method:
                return call, Request("".join(match.groups()), query, body)
        raise Refused("the hub has no use for it")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        message = "the guard refuses this; its log says why"
        if isinstance(error, APIError):
            status_code, message = error.status_code or 500, str(error.explanation)
        elif isinstance(error, requests.exceptions.RequestException):
            status_code, message = HTTPStatus.BAD_GATEWAY, "the engine does not answer the guard"
        elif isinstance(error, Full):
            status_code, message = FULL, str(error)
        elif not isinstance(error, HTTPError):
            message = "the guard failed; its log says why"
        self.set_status(status_code)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"message": message}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, Full):
            log.warning("%s", value)
        elif not isinstance(value, (APIError, HTTPError)):
            log.error("%s failed", self.request.method, exc_info=(typ, value, tb))


def listen(path: Path, guard: Guard) -> HTTPServer:
    """Serve the guard at a Unix socket that the group may use; needs a running event loop."""
    rooms: list[Listener] = []
    needs = {"guard": guard, "threads": ThreadPoolExecutor(THREADS), "rooms": rooms}
    # What was refused or failed is logged where that is known.
    application = SmallRequests([(r".*", Handler, needs)], log_function=lambda _: None)
    server = Listener(application)
    rooms.append(server)
    server.accept(bind_unix_socket(str(path), mode=0o660, backlog=BACKLOG))
    return server
