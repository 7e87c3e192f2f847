"""The settings of users' servers, which hub and guard must agree on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from zhub.contract import SUBNET_PREFIX
from zhub.logs import Form, Level
from zhub.settings import folders, parsing, profiles
from zhub.settings.folders import SharedFolder
from zhub.settings.parsing import Value
from zhub.settings.profiles import Profile

NETWORKS = 'a JSON list of IPv4 networks, such as ["10.20.0.0/16"]'
_DRIVER = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of users' servers: the hub asks for them, and the guard allows no more.

    Names in capitals are the environment variables the settings come from.
    """

    prefix: str
    """ZHUB_PREFIX: prefix of the names of the users' containers, networks and volumes."""
    base_url: str
    """ZHUB_BASE_PATH: path below which everything is served, with a slash at both ends, or only
    one; empty for the prefix. Cookies belong to a host and a path, not to a port, so two hubs on
    one host with the same path would overwrite each other's
    (https://github.com/jupyterhub/jupyterhub/issues/4512)."""
    notebook_image: str
    """ZHUB_NOTEBOOK_IMAGE: must be present on the engine; nothing is ever pulled."""
    user_memory: str
    """ZHUB_USER_MEMORY: bytes, with an optional K, M, G or T (powers of 1024)."""
    user_shared_memory: str
    """ZHUB_USER_SHARED_MEMORY: size of /dev/shm, in the same form; what is used of it counts as
    memory."""
    user_cpus: float
    """ZHUB_USER_CPUS: processors, with up to two decimals."""
    user_pids: int
    """ZHUB_USER_PIDS: processes and threads."""
    user_environment: Mapping[str, str]
    """ZHUB_USER_ENVIRONMENT: JSON object; the site's variables, such as proxies."""
    kernel_idle_timeout: int
    """ZHUB_KERNEL_IDLE_TIMEOUT: seconds before an unused kernel is ended; 0 for never."""
    activity_interval: int
    """ZHUB_ACTIVITY_INTERVAL: seconds between two reports of a server about its use."""
    user_internet: bool
    """ZHUB_USER_INTERNET: whether notebooks reach the internet."""
    user_allowed_networks: tuple[IPv4Network, ...]
    """ZHUB_USER_ALLOWED_NETWORKS: JSON list; more networks that notebooks reach, such as private
    ones."""
    user_network_pool: IPv4Network
    """ZHUB_USER_NETWORK_POOL: contains the subnets of all users' networks."""
    max_servers: int
    """ZHUB_MAX_SERVERS: users' servers at the same time."""
    separate_proxy: bool
    """ZHUB_SEPARATE_PROXY: whether the proxy is a container of its own, which has the key. It and
    the hub then run in the network namespace of a third container, with the port and the users'
    networks."""
    log_driver: str
    """ZHUB_LOG_DRIVER: the engine's, for users' servers."""
    log_options: Mapping[str, str]
    """ZHUB_LOG_OPTIONS: JSON object; of the driver."""
    log_level: Level
    """ZHUB_LOG_LEVEL: the least important lines of this process' own log."""
    log_format: Form
    """ZHUB_LOG_FORMAT: what a line of it is."""
    home_limit: int = 0
    """ZHUB_HOME_LIMIT: bytes, in the form of ZHUB_USER_MEMORY, that a home should not have more
    than; 0 for no limit."""
    shared_folders: tuple[SharedFolder, ...] = ()
    """ZHUB_SHARED_FOLDERS: JSON list of objects; folders that several users have."""
    profiles: tuple[Profile, ...] = ()
    """ZHUB_PROFILES: JSON list of the kinds of servers; none if all are alike. Those that are in
    ZHUB_PROFILE_IMAGES, a JSON object, have an image of their own."""

    @property
    def images(self) -> tuple[str, ...]:
        """All images that servers run from, the one of most of them first."""
        of_profiles = (profile.image for profile in self.profiles)
        return tuple(dict.fromkeys((self.notebook_image, *of_profiles)))

    def image_of(self, profile: str | None) -> str:
        """Return the image that a new server gets in place of one with that profile, or none."""
        found = profiles.named(self.profiles, profile)
        return found.image if found else self.notebook_image

    @property
    def only_profile(self) -> Profile:
        """What a server is in a stack without profiles."""
        return Profile(
            name="",
            image=self.notebook_image,
            memory=self.user_memory,
            shared_memory=self.user_shared_memory,
            cpus=self.user_cpus,
            pids=self.user_pids,
            idle_timeout=0,
            environment=self.user_environment,
        )

    @property
    def log_config(self) -> dict[str, Any]:
        """How the engine keeps the output of a user's server, as its API has it."""
        return {"Type": self.log_driver, "Config": dict(self.log_options)}

    @property
    def most_servers(self) -> int:
        """Most servers that can run: no more than there are subnets for their networks."""
        return min(self.max_servers, 1 << (SUBNET_PREFIX - self.user_network_pool.prefixlen))

    def home_of(self, server: str) -> str:
        """Return the name of the home of the server with this name."""
        return f"{self.prefix}-home-{server.removeprefix(f'{self.prefix}-user-')}"

    @property
    def internal(self) -> bool:
        """Whether users' networks are internal, since nothing outside the machine is open."""
        return not self.user_internet and not self.user_allowed_networks


def read(value: Value) -> dict[str, Any]:
    """Read the fields of ServerSettings."""
    prefix = value(
        "PREFIX",
        "jupyterhub",
        parsing.prefix,
        "lower-case letters, digits, '.' and '-', without 'user' or 'home' after a '-', since"
        " names of users' containers, networks and volumes contain these",
    )
    image = value("NOTEBOOK_IMAGE", "jupyter_notebook_s390x:latest", str, "an image")
    images = value(
        "PROFILE_IMAGES",
        "{}",
        parsing.by_name,
        'a JSON object of images by names of profiles, such as {"large": "sha256:..."}',
    )
    return {
        "prefix": prefix,
        "base_url": value(
            "BASE_PATH",
            f"/{prefix}/",
            parsing.base_path,
            "a path such as /jupyter, or /",
        ),
        "notebook_image": image,
        "profiles": value("PROFILES", "[]", profiles.parser(image, images), profiles.EXPECTED),
        "user_memory": value(
            "USER_MEMORY", "2G", parsing.size, "a number of bytes such as 512M or 2G"
        ),
        "user_shared_memory": value(
            "USER_SHARED_MEMORY",
            "512M",
            parsing.size,
            "a number of bytes such as 512M or 2G",
        ),
        "user_cpus": value(
            "USER_CPUS", "2.0", parsing.processors, "a number of processors such as 0.5"
        ),
        "user_pids": value("USER_PIDS", "512", parsing.number(64, 1 << 22), "a number from 64 up"),
        "user_environment": value(
            "USER_ENVIRONMENT",
            "{}",
            parsing.variables,
            'a JSON object of texts, such as {"TZ": "Europe/Berlin"}, without JUPYTERHUB_, JPY_ and'
            " ZHUB_ variables",
        ),
        "kernel_idle_timeout": value(
            "KERNEL_IDLE_TIMEOUT",
            "0",
            parsing.number_or_0(300),
            "seconds, 300 or more; 0 for never",
        ),
        "activity_interval": value(
            "ACTIVITY_INTERVAL", "60", parsing.number(30, 120), "seconds from 30 to 120"
        ),
        "user_internet": value("USER_INTERNET", "true", parsing.boolean, "true or false"),
        "user_network_pool": value(
            "USER_NETWORK_POOL",
            "10.213.0.0/16",
            parsing.pool,
            "a private IPv4 network of /24 or larger, such as 10.213.0.0/16",
        ),
        "user_allowed_networks": value("USER_ALLOWED_NETWORKS", "[]", parsing.networks, NETWORKS),
        "max_servers": value(
            "MAX_SERVERS", "500", parsing.number(1, 4096), "a number from 1 to 4096"
        ),
        "separate_proxy": value("SEPARATE_PROXY", "false", parsing.boolean, "true or false"),
        **_logs(value),
        "home_limit": value(
            "HOME_LIMIT", "", parsing.bytes_or_0, "a number of bytes such as 20G; empty for none"
        ),
        "shared_folders": value(
            "SHARED_FOLDERS",
            "[]",
            folders.parse,
            'a JSON list of folders, such as [{"name": "data", "mode": "ro"}]',
        ),
    }


def _logs(value: Value) -> dict[str, Any]:
    return {
        "log_driver": value(
            "LOG_DRIVER", "json-file", parsing.matching(_DRIVER), "a log driver such as journald"
        ),
        "log_options": value(
            "LOG_OPTIONS",
            '{"max-size": "10m", "max-file": "3"}',
            parsing.options,
            'a JSON object of texts, such as {"max-size": "10m"}, without env and env-regex',
        ),
        "log_level": value("LOG_LEVEL", Level.INFO, Level, f"one of {', '.join(Level)}"),
        "log_format": value("LOG_FORMAT", Form.TEXT, Form, f"one of {', '.join(Form)}"),
    }
