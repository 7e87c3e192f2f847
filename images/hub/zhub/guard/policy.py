"""Decides which parsed requests of the hub are allowed; nothing here uses the network."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from docker.utils import parse_bytes
from escapism import escape

from zhub.contract import (
    CPU_SHARES,
    NO_NETWORK,
    OOM_SCORE,
    ROLE,
    STACK,
    SUBNET_PREFIX,
    USER,
    USER_NAME,
    Role,
    addressing,
    in_users_networks,
    network_options,
)
from zhub.guard import homes
from zhub.guard.bodies import Refused, agree, mapping, number, texts
from zhub.guard.environment import HOME, PORT, Image, WrongVariable, check, profile_of
from zhub.guard.seccomp import PROFILE
from zhub.settings import GuardSettings
from zhub.settings.profiles import Profile

CPU_PERIOD = 100_000
"""Microseconds; the period that DockerSpawner uses for CPU quotas."""

LEAST_MEMORY = 6 << 20
"""Bytes; the engine itself refuses less."""

# The part of a name after the prefix: escapism's output for DockerSpawner, and the engine's limit.
_SUFFIX = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_PORT = f"{PORT}/tcp"
_CONTAINER_ID = re.compile(r"[0-9a-f]{12,64}")


def escaped(user: str) -> str:
    """Return a user's name as it is written in names of containers, networks and volumes.

    Escapes as DockerSpawner does (`DockerSpawner.escape`): no two users get the same result.

    Raises:
        Refused: when the text cannot be written in UTF-8.
    """
    try:
        # lower() changes only the hexadecimal digits of escapes: safe characters are lower case.
        return str(escape(user, set(string.ascii_lowercase + string.digits), "-")).lower()
    except UnicodeEncodeError:
        raise Refused("Labels are not valid Unicode") from None


@dataclass(frozen=True)
class Policy:
    """The stack's rules. They come from the stack, never from the hub."""

    settings: GuardSettings
    images: Mapping[str, Image]
    """What is in the images of users' servers, by the names that the settings have."""

    @property
    def hub(self) -> str:
        """Name of the only container that may be attached to users' networks.

        The hub's own, or the one in whose network namespace the hub runs.
        """
        return f"{self.settings.prefix}-{self.hub_role}"

    @property
    def hub_role(self) -> Role:
        """The role of that container."""
        return in_users_networks(separate_proxy=self.settings.separate_proxy)

    def suffix(self, name: object) -> str:
        """Return the part of a container's or network's name that stands for the user.

        Raises:
            Refused: when it is not the name of a user's container.
        """
        return self._behind(f"{self.settings.prefix}-user-", name)

    def _behind(self, prefix: str, name: object) -> str:
        if not isinstance(name, str) or not name.startswith(prefix):
            raise Refused(f"the name {name!r} does not start with {prefix}")
        suffix = name.removeprefix(prefix)
        if not _SUFFIX.fullmatch(suffix):
            raise Refused(f"the name {name!r} does not end in an escaped user name")
        return suffix

    def container(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body that creates a user's container.

        Only environment, user label and limits come from the request. It may leave the rest out, or
        give exactly the fixed values: anything else is refused and logged, not silently ignored.

        Raises:
            Refused: when the request asks for anything else.
        """
        suffix = self.suffix(name)
        given = dict(body)
        host = mapping(given.pop("HostConfig", None), "HostConfig")
        labels = self.labels(given.pop("Labels", None), Role.SERVER, suffix)
        variables = texts(given.pop("Env", None), "Env")
        try:
            # The hub says which. Who may have which is its decision: it knows users' groups.
            profile = profile_of(variables, self.settings)
            image = self.images[profile.image]
            check(variables, self.settings, profile, image, labels[USER])
        except WrongVariable as wrong:
            raise Refused(str(wrong)) from None
        fixed = {
            "Image": profile.image,
            # JupyterHub adds no arguments: it passes everything in the environment.
            "Cmd": list(image.command),
            "ExposedPorts": {_PORT: {}},
            "Volumes": {HOME: {}},
        }
        if given.get("Image") != fixed["Image"]:
            raise Refused(f"Image is {given.get('Image')!r}")
        # The client writes null where the engine's documentation has an empty object.
        if given.get("ExposedPorts") == {_PORT: None}:
            del given["ExposedPorts"]
        # Which streams are attached concerns the client, not the container.
        agree(given, fixed | {"AttachStdout": True, "AttachStderr": True}, "")
        return {
            **fixed,
            "Env": variables,
            "Labels": labels,
            "HostConfig": self._host(suffix, host, profile),
        }

    def _host(self, suffix: str, given: dict[str, Any], profile: Profile) -> dict[str, Any]:
        memory = number(given, "Memory", LEAST_MEMORY, int(parse_bytes(profile.memory)))
        limits = {
            "Memory": memory,
            "MemorySwap": number(given, "MemorySwap", memory, memory),
            "CpuPeriod": number(given, "CpuPeriod", CPU_PERIOD, CPU_PERIOD),
            "CpuQuota": number(given, "CpuQuota", 1000, int(profile.cpus * CPU_PERIOD)),
            "PidsLimit": number(given, "PidsLimit", 1, profile.pids),
        }
        fixed: dict[str, Any] = {
            "NetworkMode": NO_NETWORK,
            "Binds": [f"{self.settings.prefix}-home-{suffix}:{HOME}:rw"],
            # The hub removes it. Docker 20.10 with live-restore kills containers that remove
            # themselves, when the engine starts.
            "AutoRemove": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": self.settings.log_config,
            "OomScoreAdj": OOM_SCORE,
            "CpuShares": CPU_SHARES,
            "ShmSize": int(parse_bytes(profile.shared_memory)),
            # An engine may give every container an init process. It would then be process 1 instead
            # of the image's first process, and belong to the user, whose programs may write to it.
            "Init": False,
        }
        if profile.devices:
            fixed["Devices"] = [
                {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}
                for path in (f"/dev/{device}" for device in profile.devices)
            ]
        # Without it, the engine's own bridge would be the network, which all users would share.
        if given.get("NetworkMode") != NO_NETWORK:
            raise Refused(f"HostConfig.NetworkMode is {given.get('NetworkMode')!r}")
        agree(given, fixed | limits, "HostConfig.")
        return fixed | limits | {"SecurityOpt": [*fixed["SecurityOpt"], f"seccomp={PROFILE}"]}

    def labels(self, given: object, role: str, suffix: str) -> dict[str, str]:
        """Return the labels of the object whose name ends in the suffix.

        Raises:
            Refused: when they are not those of this stack and role, and of the user whose escaped
                name is the suffix: so that a user has one container, one network and one home. Or
                when the hub calls nobody by the user's name: operators' commands print it, and read
                lines that have it.
        """
        labels = mapping(given, "Labels")
        user = labels.get(USER)
        wanted = {STACK: self.settings.prefix, ROLE: role, USER: user}
        if not isinstance(user, str) or labels != wanted or escaped(user) != suffix:
            raise Refused(f"Labels are not those of a user's {role} whose name ends in {suffix}")
        if not USER_NAME.fullmatch(user):
            raise Refused(f"the label {USER} is {user!r}, which is no name of a user")
        return {**wanted, USER: user}

    def home(self, found: Mapping[str, Any], user: str) -> None:
        """Check a volume before it becomes a server's home.

        Raises:
            Refused: when it is not a local volume of this stack and user, or leads elsewhere.
        """
        name = found["Name"]
        if not homes.known(found, self.settings):
            device = (found.get("Options") or {}).get("device")
            driver = self.settings.homes_driver and ", not as homesDriver makes it"
            raise Refused(
                f"volume {name} is not a plain local volume{driver}, and not in homesPath: {device}"
            )
        wanted = {STACK: self.settings.prefix, ROLE: Role.HOME, USER: user}
        labels = found.get("Labels") or {}
        if not labels:
            raise Refused(
                f"volume {name} has no labels, so it could be anybody's: copy it into a volume with"
                f" the labels {STACK}={wanted[STACK]}, {ROLE}={Role.HOME} and {USER}={user};"
                " docs/operations.md says how"
            )
        if labels != wanted:
            raise Refused(f"volume {name} is not the home of {user}")

    def volume(self, body: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Return name and labels of a home volume to create.

        Raises:
            Refused: when the request asks for anything else, such as options that mount the
                engine's disk.
        """
        given = dict(body)
        name = given.pop("Name", None)
        suffix = self._behind(f"{self.settings.prefix}-home-", name)
        labels = self.labels(given.pop("Labels", None), Role.HOME, suffix)
        agree(given, {"Driver": "local"}, "")
        return str(name), labels

    def network(self, body: Mapping[str, Any]) -> tuple[str, IPv4Network, dict[str, str]]:
        """Return name, subnet and labels of a user's network to create.

        Raises:
            Refused: when the request asks for anything else.
        """
        given = dict(body)
        name = given.pop("Name", None)
        suffix = self.suffix(name)
        labels = self.labels(given.pop("Labels", None), Role.NETWORK, suffix)
        ipam = mapping(given.pop("IPAM", None), "IPAM")
        pools = ipam.pop("Config", None)
        agree(ipam, {"Driver": "default"}, "IPAM.")
        if not isinstance(pools, list) or len(pools) != 1:
            raise Refused("IPAM.Config does not have exactly one subnet")
        pool = mapping(pools[0], "IPAM.Config")
        subnet = self._subnet(pool.pop("Subnet", None))
        [wanted] = addressing(subnet)["Config"]
        agree(pool, wanted, "IPAM.Config.")
        internal = self.settings.internal
        if bool(given.pop("Internal", False)) != internal:
            raise Refused(f"Internal is not {internal}")
        options = network_options(internal=internal)
        agree(given, {"Driver": "bridge", "CheckDuplicate": True, "Options": options}, "")
        return str(name), subnet, labels

    def _subnet(self, given: object) -> IPv4Network:
        try:
            subnet = IPv4Network(str(given))
        except ValueError:
            raise Refused(f"{given!r} is not a subnet") from None
        pool = self.settings.user_network_pool
        if subnet.prefixlen != SUBNET_PREFIX or not subnet.subnet_of(pool):
            raise Refused(f"{subnet} is not one of the users' subnets in {pool}")
        return subnet

    def connection(self, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the container to attach to a network, and its endpoint configuration.

        Raises:
            Refused: when the request asks for anything else.
        """
        given = dict(body)
        container = _container(given.pop("Container", None))
        endpoint = mapping(given.pop("EndpointConfig", None), "EndpointConfig")
        agree(given, {}, "")
        return container, endpoint

    def disconnection(self, network: str, body: Mapping[str, Any]) -> str:
        """Return the container to detach from a network.

        That of a container that is gone has no ID any more: then it is the name of the network's
        own server, which is also the network's, or the hub's.

        Raises:
            Refused: when the request asks for anything else.
        """
        given = dict(body)
        container = given.pop("Container", None)
        if container not in (network, self.hub):
            container = _container(container)
        agree(given, {"Force": True}, "")
        return str(container)

    def owns(self, labels: Mapping[str, str] | None, *roles: str) -> bool:
        """Return whether an object with these labels is this stack's and has one of the roles."""
        labels = labels or {}
        return labels.get(STACK) == self.settings.prefix and labels.get(ROLE) in roles


def _container(value: object) -> str:
    if not isinstance(value, str) or not _CONTAINER_ID.fullmatch(value):
        raise Refused(f"{value!r} is not the ID of a container")
    return value
