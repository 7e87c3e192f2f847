"""Settings of stacks whose users' servers run on several machines, the nodes of a Docker Swarm."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.settings import build, folders, homes, parsing, profiles
from components.settings.build import Build
from components.settings.config import Config
from components.settings.deployed import Deployed
from components.settings.homes import Homes
from components.settings.parsing import RefusedError
from components.settings.setting import Setting
from components.settings.users import UserServers

#: The engine's own limit is larger; a node's label is also a constraint, `node.labels.NAME==VALUE`.
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}=[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise RefusedError("not a label of nodes, NAME=VALUE, such as zhub=servers")
    return text


SWARM = Setting(
    "swarm",
    False,
    "Experimental: run users' servers on the nodes of a Docker Swarm, of which docker:host is a"
    " manager",
    parsing.boolean,
    example="true",
)
SWARM_NODES = Setting(
    "swarmNodes",
    "",
    "Label of the nodes that users' servers run on, such as zhub=servers; empty for all nodes",
    parsing.or_none(_label),
    example="zhub=servers",
)
SWARM_ENCRYPTION = Setting(
    "swarmEncryption",
    False,
    "Encrypt what the hub and users' servers send each other between nodes, whose kernels need"
    " IPsec's ESP",
    parsing.boolean,
    example="true",
)


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """The nodes that users' servers run on."""

    label: str | None = None
    """NAME=VALUE that a node must have; None for all nodes."""
    encrypted: bool = False
    """Whether nodes encrypt what is sent in users' networks."""


def read(config: Config, images: Build, servers: UserServers) -> Swarm | None:
    """Read whether users' servers run on a swarm; None for the engine alone.

    Args:
        config: of the stack.
        images: where they are kept.
        servers: what each of them gets.
    """
    on_swarm = config.value(SWARM)
    label = config.value(SWARM_NODES)
    encrypted = config.value(SWARM_ENCRYPTION)
    if not on_swarm:
        for setting in (SWARM_NODES, SWARM_ENCRYPTION):
            if config.is_set(setting) and not config.refused & {SWARM, setting}:
                config.clash(setting, f"has no use without {SWARM}", setting.remove_command())
        return None
    _refuse_of_one_machine(config, images, servers)
    return Swarm(label=label, encrypted=encrypted)


def refuse_change(config: Config, swarm: Swarm | None, found: Homes, before: Deployed) -> None:
    """Note what cannot change while the stack is up.

    Servers of the other kind would run on, unknown to the guard, with homes that users' next
    servers have as well. And an engine that has a home's volume goes on using it: of an earlier
    `homesPath`, on each node where that user ever had a server.

    Args:
        config: of the stack.
        swarm: where users' servers are to run.
        found: where homes are to be.
        before: the stack's state.
    """
    guard = before.guard
    if guard is None:
        return
    down = "pulumi destroy (make down), which leaves homes, then pulumi up"
    was = guard.get("ZHUB_SWARM") == "true"
    if was != (swarm is not None):
        config.clash(
            SWARM,
            f"changes, but the stack is up {'on a swarm' if was else 'without a swarm'}. Servers"
            " that run now would go on using their users' homes, and nothing would end them. Take"
            f" the stack down first: {down}. To leave it as it is",
            SWARM.set_command("true") if was else SWARM.remove_command(),
        )
        return
    path, former = found.path or found.driver, guard.get("ZHUB_HOMES_PATH", "")
    if swarm and path and former not in {path, ""}:
        config.clash(
            homes.HOMES_PATH,
            f"changes from {former} to {path}, but each node of the swarm still has the volumes of"
            " users who had a server there, and would use their old homes. Keep it. To move homes:"
            " pulumi destroy, move them, remove these volumes on all nodes (docker volume rm), then"
            " pulumi up. To leave it as it is",
            homes.HOMES_PATH.set_command(former),
        )


def _refuse_of_one_machine(config: Config, images: Build, servers: UserServers) -> None:
    """Note what only the engine itself has, and no other node of its swarm."""
    if images.registry is None and build.REGISTRY not in config.refused:
        config.clash(
            build.REGISTRY,
            f"is not set, but with {SWARM} every node gets the images from a registry",
            build.REGISTRY.set_command(),
        )
    nowhere = servers.homes.path is None and servers.homes.driver is None
    if nowhere and not config.refused & {homes.HOMES_PATH, homes.HOMES_DRIVER}:
        config.clash(
            homes.HOMES_PATH,
            f"is not set, but with {SWARM} a user's server runs on any node, and a volume is on one"
            " engine only. Name a folder on a file system that all nodes have mounted at that path,"
            f" or a volume driver that has the same files on all nodes ({homes.HOMES_DRIVER})",
            homes.HOMES_PATH.set_command(),
        )
    for number, folder in enumerate(servers.folders.folders):
        if not folder.path:
            config.clash(
                folders.SHARED_FOLDERS,
                f"has {folder.name} without a path, so in a volume of one engine: with {SWARM},"
                " servers on other nodes would get an empty folder. Name one below"
                f" {folders.SHARED_ROOT}, on a file system that all nodes have mounted there",
                folders.SHARED_FOLDERS.set_command(folder.name, item=number, member="path"),
                f"or {folders.SHARED_FOLDERS.remove_command(item=number)}",
            )
    for number, profile in enumerate(servers.profiles):
        if profile.devices:
            config.clash(
                profiles.PROFILES,
                f"has devices in {profile.name}: with {SWARM}, servers are services, which get no"
                " devices",
                profiles.PROFILES.remove_command(item=number, member="devices"),
            )
