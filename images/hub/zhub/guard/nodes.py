"""The guard of a swarm's node: sets the filters of servers that the swarm starts there.

It has the engine's socket, and nobody asks it for anything: what it does follows from the stack's
settings and from what starts. Servers are made by the guard beside the hub.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

import docker
from docker.errors import DockerException, NotFound

from zhub import engine, heartbeat, privileges, settings
from zhub.contract import Role
from zhub.guard import filters, homes
from zhub.guard.environment import HOME
from zhub.guard.helpers import IN_NAMESPACE, Helpers
from zhub.guard.keeping import AT_A_TIME, EngineLostError, Keeper
from zhub.guard.machine import Machine
from zhub.guard.placement import GUARD
from zhub.guard.reports import Reporter
from zhub.guard.rules import reach
from zhub.guard.sight import outside
from zhub.settings import GuardSettings, SettingsError
from zhub.subnets import subnet_of, subnets_of

PERIOD = 300
"""Seconds between two looks at the machine."""

SERVICE = "com.docker.swarm.service.name"
"""Label of a service's containers, with the service's name. The engine sets it."""

WAY_OUT = "docker_gwbridge"
"""The engine's network by which containers in a network of the swarm reach other hosts."""

log = logging.getLogger(__name__)


class Nodes(Keeper):
    """The filters of users' servers on one node."""

    def __init__(self, client: docker.APIClient, helpers: Helpers, found: GuardSettings) -> None:
        super().__init__(client, helpers, found.prefix, (Role.SERVER,))
        self._settings = found
        self._machine = Machine(frozenset(), frozenset())
        self._ways_out: tuple[IPv4Network, ...] = ()
        self._outside: list[IPv4Network] = []
        self._threads = ThreadPoolExecutor(AT_A_TIME)
        self._elsewhere: dict[str, str] = {}
        """Volumes that lead where the homes were before, by the containers that have them."""

    @property
    def machine(self) -> Machine:
        return self._machine

    def begin(self) -> None:
        """Close this container's own network, then as the other guard.

        A service without networks is in the engine's own bridge, and needs nothing there.
        """
        try:
            closed = filters.table(['oifname "lo" accept'])
            self._filter(IN_NAMESPACE + engine.own_container(), closed)
        except RuntimeError as error:
            raise RuntimeError(f"the guard cannot close its own network: {error}") from None
        super().begin()

    def look(self) -> None:
        self._machine = Machine.seen(self._helpers)
        self._ways_out = self._found_ways_out()
        self._outside = outside(self._client.networks(), self._settings)

    def _found_ways_out(self) -> tuple[IPv4Network, ...]:
        try:
            network = self._client.inspect_network(WAY_OUT)
        except NotFound:
            return ()  # no service has needed one so far
        return tuple(subnets_of([network]))

    def _started(self, container: str) -> None:
        # Many servers may start at once, and each waits for its filter.
        self._threads.submit(self._confine, container)

    def _confine(self, container: str) -> None:
        try:
            self.again(container)
        except (RuntimeError, DockerException, OSError) as error:
            # The server waits for a minute, then ends.
            log.warning("a server that has started gets no filter now: %s", error)

    def _check_home(self, found: Mapping[str, Any]) -> None:
        """Check that a server has the home that was asked for.

        An engine that has a volume of a name takes that one, whatever the service says of it. It
        may be from a hub that this machine had, or lead where the homes were before.

        Raises:
            RuntimeError: it has another one.
        """
        for mount in found["HostConfig"]["Mounts"]:
            if mount["Target"] == HOME:
                name, wanted = mount["Source"], mount["VolumeOptions"]
                there = self._client.inspect_volume(name)
                has = there["Driver"], there["Options"], there["Labels"]
                asked = wanted["DriverConfig"]
                if has != (asked["Name"], asked["Options"], wanted["Labels"]):
                    if there["Labels"] == wanted["Labels"] and (folder := homes.led(there)):
                        self._elsewhere[found["Id"]] = name
                        raise RuntimeError(
                            f"volume {name} leads to {folder}, where the homes were before. It is"
                            " removed with the server, and the next one gets the right one"
                        )
                    raise RuntimeError(
                        f"volume {name} was on this machine before, and is another one. See whether"
                        " its files are needed; without it, the next server gets the right one:"
                        f" docker volume rm {name}"
                    )

    def _end(self, found: dict[str, Any], reason: Exception) -> None:
        """Remove a server, and a volume that is only the name of a folder which it should not have.

        Of that folder, nothing is removed.
        """
        super()._end(found, reason)
        if name := self._elsewhere.pop(found["Id"], ""):
            self._client.remove_volume(name)

    def _rules(self, found: dict[str, Any], networks: set[str]) -> str:
        self._check_home(found)
        name = found["Config"]["Labels"].get(SERVICE)
        if networks != {name}:
            raise RuntimeError(f"the container is in the networks {', '.join(sorted(networks))}")
        network = self._client.inspect_network(name)
        if not network["Internal"] and not self._ways_out:
            # The engine makes it with the first service that needs it.
            self._ways_out = self._found_ways_out()
        ways_out = () if network["Internal"] else self._ways_out
        # All servers here are in the networks that lead out, too, like those of the pool.
        pools = (self._settings.user_network_pool, *self._outside, *ways_out)
        return filters.of_service(
            subnet_of(network),
            ways_out,
            # nft takes no networks that overlap, and the engine chose that of the way out.
            reach(
                self._settings,
                self._machine,
                [*collapse_addresses(pools)],
                counted=self._counted,
            ),
        )


def run(environment: Mapping[str, str]) -> None:
    """Set filters until SIGTERM.

    Raises:
        SettingsError: when a setting is wrong, the engine cannot be reached, or packet filters
            cannot be set there.
    """
    found = settings.read_guard(environment)
    if os.geteuid() == 0:
        # The folder is in memory, and root's whatever its mode is to be: runc before 1.2 gives it
        # the mode of the image's.
        heartbeat.GUARD_FILE.touch()
        heartbeat.GUARD_FILE.chmod(0o666)
        privileges.drop(engine.SOCKET, privileges.GUARD_USER)
    client = engine.connect()
    helpers = Helpers(client, found.filter_image, found.prefix, guard=GUARD)
    nodes = Nodes(client, helpers, found)
    try:
        nodes.begin()
    except (RuntimeError, DockerException) as error:
        raise SettingsError([str(error)]) from None
    heartbeat.of_engine(engine.SOCKET).start()
    log.info("the guard watches this node")
    report = Reporter(client, found.prefix).keep
    keep = partial(nodes.keep, PERIOD)
    if not until_ended({"watch": nodes.watch, "keep": keep, "report": report}):
        sys.exit(1)


def until_ended(threads: Mapping[str, Callable[[], None]]) -> bool:
    """Run the threads until SIGTERM and return True, or until one of them ends and return False."""
    ended = threading.Event()
    signalled = threading.Event()

    def beside(work: Callable[[], None]) -> None:
        try:
            work()
        except EngineLostError as error:
            log.error("the guard exits, to be restarted: %s", error)  # noqa: TRY400
        except BaseException:
            log.exception("the guard exits: its thread %s failed", threading.current_thread().name)
        finally:
            ended.set()

    def end(*_: object) -> None:
        signalled.set()
        ended.set()

    signal.signal(signal.SIGTERM, end)
    for name, work in threads.items():
        threading.Thread(target=beside, args=[work], name=name, daemon=True).start()
    ended.wait()
    return signalled.is_set()
