"""Where a user's server may send packets: not to the engine's machine, its site or its cloud.

The way out is closed in the server's own network namespace, by routes that only the capability
NET_ADMIN could change, which the server never has. Firewall rules could do it on the engine's
machine, but that is not this project's to change.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import docker

from zhub.guard.policy import ROLE, STACK
from zhub.settings import GuardSettings

PRIVATE = (
    "10.0.0.0/8",  # RFC 1918
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # RFC 6598, carriers and clouds
    "169.254.0.0/16",  # RFC 3927, clouds' metadata
    "192.0.0.0/24",  # RFC 6890
    "198.18.0.0/15",  # RFC 2544
    "240.0.0.0/4",  # RFC 1112
)
"""What is no internet, and so closed unless a site opens part of it."""

METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192")
"""Where clouds tell a machine its credentials; Azure's is not in a private network."""

HELPER = "guard-helper"
"""Value of the label zhub.role of the short-lived containers."""

HELPER_SECONDS = 60
HELPER_MEMORY = 64 << 20

log = logging.getLogger(__name__)


def routes(
    gateway: str, *, blocked: Iterable[IPv4Network], allowed: Iterable[IPv4Network]
) -> list[str]:
    """Return the routes that close the way to what is blocked, as `ip route replace` takes them.

    The narrower network decides, as with any route; of two equal ones, the allowed.
    """
    opened = set(allowed)
    closed = set(blocked) - opened
    needed = {
        network
        for network in closed
        # Each route takes its time: none for what a wider one closes anyway.
        if not any(network != other and network.subnet_of(other) for other in closed)
        or any(network.overlaps(other) for other in opened)
    }
    return [
        *(f"{network} via {gateway} dev eth0" for network in sorted(opened)),
        *(f"prohibit {network}" for network in sorted(needed)),
        # The engine's machine itself, which would be reached through the server's own network.
        f"prohibit {gateway}/32",
    ]


def name_servers(resolv_conf: str) -> set[IPv4Address]:
    """Return the IPv4 name servers of a resolv.conf."""
    found = set()
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "nameserver" and ":" not in words[1]:
            found.add(IPv4Address(words[1]))
    return found


def addresses(fib_trie: str) -> set[IPv4Address]:
    """Return the machine's own addresses, from /proc/net/fib_trie, but for loopback.

    There, `|-- ADDRESS` is followed by the routes to it; `/32 host LOCAL` is what an own one has.
    """
    found = re.findall(r"\|-- ([0-9.]+)\n +/32 host LOCAL", fib_trie)
    return {address for address in map(IPv4Address, found) if not address.is_loopback}


@dataclass(frozen=True)
class Egress:
    """Closes the way out of users' servers, with short-lived containers of the hub's image."""

    client: docker.APIClient
    image: str
    """The hub's, which has busybox; its `ip` works under emulation, too."""
    prefix: str
    blocked: tuple[IPv4Network, ...]
    allowed: tuple[IPv4Network, ...]

    @classmethod
    def of_engine(cls, client: docker.APIClient, image: str, settings: GuardSettings) -> Egress:
        """Look at the engine's machine: its addresses are closed, its name servers are not."""
        look = cls(client, image, settings.prefix, (), ())
        own = addresses(look.run(["cat", "/proc/net/fib_trie"], network="host"))
        # As the engine passes it on to containers, with what its own configuration changes.
        servers = name_servers(look.run(["cat", "/etc/resolv.conf"], network="bridge"))
        for server in sorted(servers & own):
            log.warning(
                "the engine's name server %s is its own machine, which users' servers do not reach:"
                " they will find no host names. Give the engine another one, or let them reach it"
                " with userAllowedNetworks",
                server,
            )
        hosts = [IPv4Network(address) for address in sorted(own)]
        return cls(
            client,
            image,
            settings.prefix,
            blocked=(
                *map(IPv4Network, (*PRIVATE, *METADATA)),
                settings.user_network_pool,
                *settings.user_blocked_networks,
                *hosts,
            ),
            allowed=(
                *(IPv4Network(server) for server in sorted(servers - own)),
                *settings.user_allowed_networks,
            ),
        )

    def confine(self, container: str) -> None:
        """Close the way out of a container that runs.

        Raises:
            RuntimeError: when that failed; the container must then not go on running.
        """
        networks = self.client.inspect_container(container)["NetworkSettings"]["Networks"]
        [network] = networks.values()
        gateway = network["Gateway"]
        if not gateway:
            # An internal network: there is no way out to close.
            return
        found = routes(gateway, blocked=self.blocked, allowed=self.allowed)
        self.run(
            ["sh", "-ec", "for route; do busybox ip route replace $route; done", "sh", *found],
            network=f"container:{container}",
            capabilities=["NET_ADMIN"],
        )

    def run(self, command: list[str], *, network: str, capabilities: Iterable[str] = ()) -> str:
        """Run a command in a container of its own and return what it printed.

        Raises:
            RuntimeError: when it fails.
        """
        with self._container(command, network, list(capabilities)) as container:
            self.client.start(container)
            status = self.client.wait(container, timeout=HELPER_SECONDS)["StatusCode"]
            output: str = self.client.logs(container, stdout=True, stderr=status != 0).decode()
        if status:
            raise RuntimeError(f"{command[0]} in network {network} failed: {output.strip()[:500]}")
        return output

    @contextmanager
    def _container(
        self, command: list[str], network: str, capabilities: list[str]
    ) -> Iterator[str]:
        made = self.client.create_container(
            self.image,
            command,
            entrypoint=[],
            user="0:0",
            labels={STACK: self.prefix, ROLE: HELPER},
            host_config=self.client.create_host_config(
                network_mode=network,
                cap_drop=["ALL"],
                cap_add=capabilities,
                security_opt=["no-new-privileges"],
                read_only=True,
                mem_limit=HELPER_MEMORY,
                memswap_limit=HELPER_MEMORY,
                pids_limit=16,
            ),
        )
        try:
            yield made["Id"]
        finally:
            self.client.remove_container(made["Id"], force=True, v=True)
