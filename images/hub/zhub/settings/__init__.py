"""The settings in the hub's arguments and environment, read and checked in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

from zhub.settings import folders, ldap, parsing, servers, services
from zhub.settings.ldap import Ldap
from zhub.settings.servers import ServerSettings
from zhub.settings.services import Services

STATE = Path("/srv/jupyterhub")
"""Folder of the database and the cookie secret, which must outlive the hub's container."""

CERTIFICATES = Path("/certs")
"""Folder in which the operator puts the key and the certificate."""

DAY = 86400
"""Seconds."""

LEAST_IDLE = 360
"""Seconds. Servers report each minute when they were in use. Those that a release before has
started do it every five minutes, and half a minute later at most."""

T = TypeVar("T")

_SIZE_OR_NONE = re.compile(rf"({parsing.SIZE})?")

_LABEL_OR_NONE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*=[A-Za-z0-9][A-Za-z0-9._-]*)?")

_PORT = (parsing.number(1, 65535), "a port number from 1 to 65535")


class SettingsError(Exception):
    """The hub cannot start with its settings; `problems` has one sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """Add the problems of one check to a list, so that the other checks run as well."""
    try:
        yield
    except SettingsError as error:
        problems += error.problems


@dataclass(frozen=True, kw_only=True)
class GuardSettings(ServerSettings):
    """The guard's settings."""

    users_memory: str
    """ZHUB_USERS_MEMORY: the most memory that all users' servers may take together, in the form of
    ZHUB_USER_MEMORY; empty for no limit."""
    filter_image: str
    """ZHUB_FILTER_IMAGE: sets packet filters; must be built for the engine's own platform."""
    hub_port: int
    """ZHUB_PORT: the hub's published port, whose answers may leave its container."""
    directory_servers: tuple[tuple[str, int], ...]
    """ZHUB_LDAP_SERVERS, ZHUB_LDAP_PORT, ZHUB_LDAP_TLS: the only hosts and ports that the hub may
    connect to, besides its users' servers and DNS."""
    directory_network: str
    """ZHUB_DIRECTORY_NETWORK: the network in which the directory's names are resolved."""
    user_blocked_networks: tuple[IPv4Network, ...]
    """ZHUB_USER_BLOCKED_NETWORKS: JSON list; public networks that notebooks do not reach."""
    shared_root: str = ""
    """ZHUB_SHARED_ROOT: folder of the engine's machine; shared folders at a path are below it."""
    homes_path: str
    """ZHUB_HOMES_PATH: folder of the engine's machine in which homes are made; empty for the
    engine's own."""
    former_homes_paths: tuple[str, ...]
    """ZHUB_FORMER_HOMES_PATHS: JSON list; folders that were that before, so homes may be there."""
    homes_driver: str
    """ZHUB_HOMES_DRIVER: volume driver that homes are made with; empty for folders."""
    homes_options: tuple[str, ...]
    """ZHUB_HOMES_OPTIONS: JSON list; its options, NAME=VALUE, where {home} is a home's name."""
    swarm: bool
    """ZHUB_SWARM: whether users' servers run on the nodes of a swarm; the engine is a manager."""
    swarm_nodes: str
    """ZHUB_SWARM_NODES: label of the nodes that they run on, NAME=VALUE; empty for all."""
    swarm_encryption: bool
    """ZHUB_SWARM_ENCRYPTION: whether nodes encrypt what is sent in users' networks."""

    @property
    def homes_paths(self) -> tuple[str, ...]:
        """All folders of the site's choice that homes may be in."""
        return (*filter(None, [self.homes_path]), *self.former_homes_paths)


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    """The hub's settings. Names in capitals are the environment variables they come from."""

    port: int
    """`--port` or ZHUB_PORT: where the proxy serves HTTPS inside the container."""
    ldap: Ldap
    """The directory that knows the users."""
    admin_users: frozenset[str]
    """ZHUB_ADMIN_USERS: hub names, lower case."""
    admin_access: bool
    """ZHUB_ADMIN_ACCESS: whether administrators get into users' servers."""
    idle_timeout: int
    """ZHUB_IDLE_TIMEOUT: seconds without activity before a server is stopped; 0 for never."""
    server_max_age: int
    """ZHUB_SERVER_MAX_AGE: seconds before a server is stopped, used or not; 0 for never."""
    start_timeout: int
    """ZHUB_START_TIMEOUT: seconds that each step of a server's start may take."""
    token_max_age: int
    """ZHUB_TOKEN_MAX_AGE: longest life of API tokens, in seconds."""
    subdomain_host: str
    """ZHUB_SUBDOMAIN_HOST: host name of the hub, with a subdomain for each user; or empty."""
    hsts_seconds: int
    """ZHUB_HSTS_SECONDS: how long browsers insist on HTTPS for the host name; 0 for not at all."""
    confined: bool
    """ZHUB_CONFINED: whether the hub asks the guard for its packet filter before it serves."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    """ZHUB_TRUSTED_PROXIES: JSON list of networks; front proxies trusted to name the client."""
    services: Services
    """What may use the hub's API."""
    config_file: Path | None
    """ZHUB_CONFIG_FILE: the site's own configuration of JupyterHub, in Python."""

    @property
    def stops_servers(self) -> int:
        """The shortest time after which some server is stopped, in seconds; 0 for never."""
        idle = (self.idle_timeout, *(profile.idle_timeout for profile in self.profiles))
        return min(filter(None, idle), default=self.server_max_age)

    @property
    def longest_token(self) -> int:
        """Longest life of API tokens in effect, in seconds.

        At most a day when there is no service account to check whether their owner may still log
        in.
        """
        return self.token_max_age if self.ldap.bind_dn else min(self.token_max_age, DAY)

    @property
    def subdomain_url(self) -> str:
        """The hub's URL if users have subdomains; otherwise empty."""
        if not self.subdomain_host:
            return ""
        # Browsers leave the usual port out, and JupyterHub compares names as they send them.
        port = "" if self.port == 443 else f":{self.port}"
        return f"https://{self.subdomain_host}{port}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are allowed but not advised, and defaults worth a warning."""
        return self.ldap.warnings


class _Reader:
    """Reads variables one by one and collects their errors, so that all are reported at once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def value(self, name: str, default: str, parse: Callable[[str], T], expected: str) -> T:
        """Parse the variable ZHUB_`name`; an empty one counts as unset."""
        text = self._environment.get(f"ZHUB_{name}") or default
        try:
            return parse(text)
        except ValueError:
            option = {"PORT": "--port", "LDAP_SERVERS": "--ldap"}.get(name, f"ZHUB_{name}")
            self.problems.append(f"{option} is {text!r}, but must be {expected}")
            return parse(default)


def add_arguments(environment: dict[str, str], arguments: Sequence[str]) -> None:
    """Put `--port` and `--ldap` into the environment, where the other settings are.

    Raises:
        SettingsError: when there are other arguments.
    """
    names = {"--port": "ZHUB_PORT", "--ldap": "ZHUB_LDAP_SERVERS"}
    problems = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in names and equals:
            # An empty value would fall back to the default; a space is refused as a wrong value.
            environment[names[option]] = value or " "
        else:
            problems.append(
                f"{argument!r} is not an option; use --port=NUMBER and --ldap=HOST[,HOST...]"
            )
    if problems:
        raise SettingsError(problems)


def read_servers(environment: Mapping[str, str]) -> ServerSettings:
    """Read what hub and guard must agree on from the environment of one of the two.

    Raises:
        SettingsError: with every value that cannot be used.
    """
    reader = _Reader(environment)
    found = ServerSettings(**servers.read(reader.value))
    if reader.problems:
        raise SettingsError(reader.problems)
    return found


def read_guard(environment: Mapping[str, str]) -> GuardSettings:
    """Read the guard's settings from environment variables.

    Raises:
        SettingsError: with every value that cannot be used.
    """
    reader = _Reader(environment)
    directory = ldap.read(reader.value)
    settings = GuardSettings(
        **servers.read(reader.value),
        users_memory=reader.value(
            "USERS_MEMORY", "", parsing.matching(_SIZE_OR_NONE), "a number of bytes such as 200G"
        ),
        filter_image=reader.value("FILTER_IMAGE", "zhub_filter:latest", str, "an image"),
        hub_port=reader.value("PORT", "11119", *_PORT),
        directory_servers=tuple(map(directory.endpoint, directory.servers)),
        directory_network=reader.value("DIRECTORY_NETWORK", "bridge", str, "a network"),
        user_blocked_networks=reader.value(
            "USER_BLOCKED_NETWORKS", "[]", parsing.networks, servers.NETWORKS
        ),
        shared_root=reader.value("SHARED_ROOT", "", folders.root, "a path such as /srv/shared"),
        homes_path=reader.value("HOMES_PATH", "", parsing.folder, "a path such as /srv/homes"),
        former_homes_paths=reader.value(
            "FORMER_HOMES_PATHS",
            "[]",
            parsing.folders,
            'a JSON list of paths, such as ["/srv/homes"]',
        ),
        homes_driver=reader.value("HOMES_DRIVER", "", str, "a volume driver"),
        homes_options=reader.value(
            "HOMES_OPTIONS", "[]", parsing.texts, 'a JSON list of texts, such as ["type=nfs"]'
        ),
        swarm=reader.value("SWARM", "false", parsing.boolean, "true or false"),
        swarm_nodes=reader.value(
            "SWARM_NODES", "", parsing.matching(_LABEL_OR_NONE), "a label such as zhub=servers"
        ),
        swarm_encryption=reader.value(
            "SWARM_ENCRYPTION", "false", parsing.boolean, "true or false"
        ),
    )
    reader.problems += folders.outside(settings.shared_folders, settings.shared_root)
    if reader.problems:
        raise SettingsError(reader.problems)
    return settings


def read(environment: Mapping[str, str]) -> Settings:
    """Read the hub's settings from environment variables.

    Raises:
        SettingsError: with every value that cannot be used.
    """
    reader = _Reader(environment)
    value = reader.value
    texts = 'a JSON list of texts, such as ["one", "two"]'
    settings = Settings(
        **servers.read(reader.value),
        port=value("PORT", "11119", *_PORT),
        ldap=ldap.read(value),
        admin_users=frozenset(
            name.lower() for name in value("ADMIN_USERS", "[]", parsing.texts, texts)
        ),
        admin_access=value("ADMIN_ACCESS", "false", parsing.boolean, "true or false"),
        idle_timeout=value(
            "IDLE_TIMEOUT",
            "3600",
            parsing.number_or_0(LEAST_IDLE),
            f"seconds, {LEAST_IDLE} or more; 0 for never",
        ),
        server_max_age=value(
            "SERVER_MAX_AGE", "0", parsing.number_or_0(3600), "seconds, 3600 or more; 0 for never"
        ),
        start_timeout=value(
            "START_TIMEOUT", "300", parsing.number(10, 86400), "seconds, 10 or more"
        ),
        token_max_age=value(
            "TOKEN_MAX_AGE", str(30 * DAY), parsing.number(300, 366 * DAY), "seconds, 300 or more"
        ),
        subdomain_host=value(
            "SUBDOMAIN_HOST", "", parsing.domain, "a name such as hub.example.com"
        ),
        hsts_seconds=value(
            "HSTS_SECONDS", "0", parsing.number(0, 1 << 31), "seconds, 0 for not at all"
        ),
        confined=value("CONFINED", "false", parsing.boolean, "true or false"),
        trusted_proxies=value(
            "TRUSTED_PROXIES",
            "[]",
            parsing.any_networks,
            'a JSON list of networks, such as ["192.0.2.7/32", "2001:db8::/64"]',
        ),
        services=services.read(value),
        config_file=value("CONFIG_FILE", "", parsing.file, "the path of a file"),
    )
    problems = [*reader.problems, *services.problems(settings.services)]
    if not environment.get("ZHUB_LDAP_SERVERS"):
        problems.append("no directory to check passwords with: set it with --ldap=HOST[,HOST...]")
    problems += ldap.problems(settings.ldap)
    if settings.services.by_groups and not settings.ldap.group_base:
        problems.append(
            "ZHUB_SERVICES or ZHUB_ROLES names a group, which needs ZHUB_LDAP_GROUP_BASE: without"
            " it, the directory does not say who is in a group of the hub"
        )
    if settings.shared_folders and not settings.confined:
        problems.append(
            "ZHUB_SHARED_FOLDERS needs the guard, which a hub run by hand does not have"
        )
    if any(profile.groups for profile in settings.profiles) and not settings.ldap.bind_dn:
        problems.append(
            "ZHUB_PROFILES has groups, which needs a service account (ZHUB_LDAP_BIND_DN): without"
            " one nobody would notice that somebody has left a group"
        )
    if problems:
        raise SettingsError(problems)
    of_folders = (group for folder in settings.shared_folders for group in folder.groups)
    of_profiles = (group for profile in settings.profiles for group in profile.groups)
    groups = dict.fromkeys((*of_folders, *of_profiles))
    return replace(settings, ldap=replace(settings.ldap, further_groups=tuple(groups)))
