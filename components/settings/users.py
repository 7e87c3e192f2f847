"""Settings of the users' servers."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from components.settings import parsing
from components.settings.config import Config, remove_command, set_command

#: Of a user's network, and how many of them the largest pool that is of use has.
SUBNET_PREFIX = 28
MOST_SERVERS = 4096


@dataclass(frozen=True, kw_only=True)
class UserServers:
    """What each user's server gets, as the hub is told it."""

    memory: int
    """MiB."""
    cpus: str
    pids: int
    internet_access: bool
    network_pool: str
    allowed_networks: tuple[str, ...]
    """Private ones that servers reach all the same."""
    blocked_networks: tuple[str, ...]
    """Public ones that servers do not reach."""
    max_servers: int
    """At the same time."""
    idle_timeout: int
    """Seconds; 0 for never."""
    start_timeout: int
    """Seconds."""


def read(config: Config) -> UserServers:
    """Read the settings of users' servers."""
    users = UserServers(
        memory=config.value("userMemory", parsing.size("128M")),
        cpus=config.value("userCpus", parsing.processors),
        pids=config.value("userPids", parsing.whole_number(64, 4194304)),
        internet_access=config.value("userInternetAccess", parsing.boolean),
        network_pool=config.value("userNetworkPool", parsing.pool),
        allowed_networks=config.value("userAllowedNetworks", parsing.list_of(parsing.network)),
        blocked_networks=config.value("userBlockedNetworks", parsing.list_of(parsing.network)),
        max_servers=config.value("maxServers", parsing.whole_number(1, MOST_SERVERS)),
        idle_timeout=config.value("idleTimeout", parsing.whole_number(60, 31536000, also=0)),
        start_timeout=config.value("startTimeout", parsing.whole_number(10, 86400)),
    )
    if not config.refused & {"userAllowedNetworks", "userNetworkPool"}:
        pool = IPv4Network(users.network_pool)
        for text in users.allowed_networks:
            if IPv4Network(text).subnet_of(pool):
                config.clash(
                    "userAllowedNetworks",
                    f"holds {text}, which is in userNetworkPool ({pool}): there are only users'"
                    " servers, and none reaches another's",
                    remove_command("userAllowedNetworks"),
                )
    if config.is_set("maxServers") and not config.refused & {"maxServers", "userNetworkPool"}:
        length = IPv4Network(users.network_pool).prefixlen
        subnets = 1 << (SUBNET_PREFIX - length)
        if users.max_servers > subnets:
            larger = SUBNET_PREFIX - (users.max_servers - 1).bit_length()
            config.clash(
                "maxServers",
                f"needs a network for each of {users.max_servers} servers, but userNetworkPool,"
                f" {users.network_pool}, has {subnets}",
                set_command("maxServers", str(subnets)),
                f"or set userNetworkPool to a /{larger}",
            )
    return users
