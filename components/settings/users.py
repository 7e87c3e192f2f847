"""Settings of the users' servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from components.settings import homes, parsing
from components.settings.config import Config
from components.settings.folders import SharedFolders
from components.settings.homes import Homes
from components.settings.setting import Setting

#: Of a user's network, and how many of them the largest pool that is of use has.
SUBNET_PREFIX = 28
MOST_SERVERS = 4096

#: MiB; what engines give a container where nothing is set.
LEAST_SHARED = 64

#: Seconds. Servers report each minute when they were in use. Those of releases before did it every
#: five, and half a minute later at most.
LEAST_IDLE = 360
YEAR = 31536000

MEMORY = Setting(
    "userMemory", "2G", "Memory of a user's server, such as 512M or 4G", parsing.size("128M")
)
SHARED_MEMORY = Setting(
    "userSharedMemory",
    "",
    (
        "Part of userMemory that programs of a user's server may share (/dev/shm), such as 1G;"
        " empty for a quarter"
    ),
    parsing.or_none(parsing.size("64M")),
    example="1G",
)
CPUS = Setting("userCpus", "2.0", "Processors of a user's server, such as 0.5", parsing.processors)
PIDS = Setting(
    "userPids",
    512,
    "Most processes and threads of a user's server",
    parsing.whole_number(64, 4194304),
)
INTERNET_ACCESS = Setting(
    "userInternetAccess",
    True,
    (
        "Whether a user's server reaches the internet; if not, it reaches the hub and"
        " userAllowedNetworks, and finds names only if a name server is in these"
    ),
    parsing.boolean,
)
ALLOWED_NETWORKS = Setting(
    "userAllowedNetworks",
    (),
    "IPv4 networks and addresses users' servers reach as well, such as a package mirror's",
    parsing.list_of(parsing.network),
    example="10.20.30.0/24",
)
BLOCKED_NETWORKS = Setting(
    "userBlockedNetworks",
    (),
    "Public IPv4 networks and addresses users' servers do not reach, such as the site's own",
    parsing.list_of(parsing.network),
    example="198.51.100.0/24",
)
NETWORK_POOL = Setting(
    "userNetworkPool",
    "10.213.0.0/16",
    "Private IPv4 network the users' networks are taken from, 16 addresses each",
    parsing.pool,
)
MAX_SERVERS = Setting(
    "maxServers",
    500,
    "How many users' servers may run at the same time; above that, the hub says that it is full",
    parsing.whole_number(1, MOST_SERVERS),
)
ALL_MEMORY = Setting(
    "usersMemory",
    "",
    (
        "How much memory all users' servers may take together, such as 200G: the sum of their"
        " userMemory; above that, the hub says that it is full; empty for no limit"
    ),
    parsing.or_none(parsing.size("128M")),
    example="200G",
)
IDLE_TIMEOUT = Setting(
    "idleTimeout",
    3600,
    (
        "Seconds until a user's server is stopped that computes nothing and that nobody uses; 0"
        " for never"
    ),
    parsing.whole_number(LEAST_IDLE, YEAR, also=0),
)
KERNEL_IDLE_TIMEOUT = Setting(
    "kernelIdleTimeout",
    0,
    (
        "Seconds until a kernel is ended that computes nothing and that nobody uses, even with an"
        " open page; its variables are lost; 0 for never"
    ),
    parsing.whole_number(300, YEAR, also=0),
)
ACTIVITY_INTERVAL = Setting(
    "activityInterval",
    60,
    (
        "Seconds between two reports of a user's server to the hub about when it was in use; a"
        " longer time is less work for a hub with many servers"
    ),
    # `REPORTED` in zhub/servers/culling.py follows from the most, and must be less than LEAST_IDLE.
    parsing.whole_number(30, 120),
)
SERVER_MAX_AGE = Setting(
    "serverMaxAge",
    0,
    "Seconds until a user's server is stopped whatever it does; 0 for never",
    parsing.whole_number(3600, YEAR, also=0),
)
START_TIMEOUT = Setting(
    "startTimeout",
    300,
    "Seconds that each step of the start of a user's server may take",
    parsing.whole_number(10, 86400),
)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One kind of server. What a stack's profile does not say is as in the stack's settings."""

    name: str
    description: str
    """What users read when they choose."""
    groups: tuple[str, ...]
    """DNs of the groups whose members may choose it; none for everybody."""
    memory: int
    """MiB."""
    shared_memory: int
    """MiB; what of it is in use counts as memory."""
    cpus: str
    pids: int
    idle_timeout: int
    """Seconds; 0 for never."""
    environment: Mapping[str, str]
    devices: tuple[str, ...]
    """Devices of the engine's machine, as below /dev."""
    packages: tuple[str, ...] = ()
    """Debian packages that its servers have besides those of all."""
    requirements: tuple[str, ...] = ()
    """Sets of packages from PyPI; the same."""

    @property
    def own_image(self) -> bool:
        """Whether its servers run from another image than the notebook image."""
        return bool(self.packages or self.requirements)


@dataclass(frozen=True, kw_only=True)
class UserServers:
    """What each user's server gets."""

    memory: int
    """MiB."""
    shared_memory: int
    """MiB; what of it is in use counts as memory."""
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
    all_memory: int | None
    """MiB; the most that servers at the same time may take together. None for no limit."""
    idle_timeout: int
    """Seconds; 0 for never, as with the next two."""
    kernel_idle_timeout: int
    server_max_age: int
    activity_interval: int
    """Seconds, as the next."""
    start_timeout: int
    environment: Mapping[str, str]
    """The site's variables; nothing secret."""
    folders: SharedFolders
    homes: Homes
    profiles: tuple[Profile, ...] = ()
    """The kinds of servers there are; none if all are alike."""

    @property
    def variables(self) -> tuple[tuple[str, str], ...]:
        """Names and values of the variables that some server has, each pair once."""
        each = (self.environment, *(profile.environment for profile in self.profiles))
        return tuple(dict.fromkeys(pair for one in each for pair in one.items()))


def read(config: Config, environment: Mapping[str, str], folders: SharedFolders) -> UserServers:
    """Read the settings of users' servers; surroundings.py and folders.py have read the others."""
    memory = config.value(MEMORY)
    users = UserServers(
        memory=memory,
        shared_memory=config.value(SHARED_MEMORY) or max(memory // 4, LEAST_SHARED),
        cpus=config.value(CPUS),
        pids=config.value(PIDS),
        internet_access=config.value(INTERNET_ACCESS),
        network_pool=config.value(NETWORK_POOL),
        allowed_networks=config.value(ALLOWED_NETWORKS),
        blocked_networks=config.value(BLOCKED_NETWORKS),
        max_servers=config.value(MAX_SERVERS),
        all_memory=config.value(ALL_MEMORY),
        idle_timeout=config.value(IDLE_TIMEOUT),
        kernel_idle_timeout=config.value(KERNEL_IDLE_TIMEOUT),
        server_max_age=config.value(SERVER_MAX_AGE),
        activity_interval=config.value(ACTIVITY_INTERVAL),
        start_timeout=config.value(START_TIMEOUT),
        homes=homes.read(config),
        environment=environment,
        folders=folders,
    )
    if not config.refused & {MEMORY, SHARED_MEMORY} and users.shared_memory > memory:
        config.clash(
            SHARED_MEMORY,
            f"is more than {MEMORY} ({memory}M), which it is a part of: a server would be ended"
            " before its programs share that much",
            SHARED_MEMORY.remove_command(),
            f"or {MEMORY.set_command(f'{2 * users.shared_memory}M')}",
        )
    if users.all_memory and not config.refused & {MEMORY} and users.all_memory < memory:
        config.clash(
            ALL_MEMORY,
            f"is less than {MEMORY} ({memory}M), so that no server could start",
            ALL_MEMORY.set_command(f"{memory}M"),
            f"or {ALL_MEMORY.remove_command()}",
        )
    if config.is_set(MAX_SERVERS) and not config.refused & {MAX_SERVERS, NETWORK_POOL}:
        length = IPv4Network(users.network_pool).prefixlen
        subnets = 1 << (SUBNET_PREFIX - length)
        if users.max_servers > subnets:
            larger = SUBNET_PREFIX - (users.max_servers - 1).bit_length()
            config.clash(
                MAX_SERVERS,
                f"needs a network for each of {users.max_servers} servers, but {NETWORK_POOL},"
                f" {users.network_pool}, has {subnets}",
                MAX_SERVERS.set_command(str(subnets)),
                f"or set {NETWORK_POOL} to a /{larger}",
            )
    return users
