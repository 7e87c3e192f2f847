"""The guard: the only container with the engine's socket. It does what the hub may ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components import variables
from components.names import Names, kept, named
from components.service import ServiceArgs, service
from components.settings.address import Address
from components.settings.ldap import Ldap
from components.settings.logs import Logs
from components.settings.swarm import Swarm
from components.settings.users import UserServers

#: Where the guard finds the engine's socket, and the hub finds the guard's.
ENGINE_SOCKET = "/var/run/docker.sock"
FOLDER = "/run/guard"

#: Where the guard writes the audit log; no other container has the volume.
AUDIT = "/var/log/zhub"
SOCKET = f"{FOLDER}/engine.sock"

#: Numbers of the guard's user and of the group it shares with the hub, as in the image.
USER = 1001
GROUP = 1000

#: MiB, enough for 500 servers. The guard limits how much of a request it keeps in memory; but the
#: engine's answer about a hub that is in thousands of networks is large.
MEMORY = 192
MEMORY_SERVERS = 500

START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class GuardArgs:
    names: Names
    engine_socket: str
    """Path of the engine's socket on the engine's machine."""
    image: pulumi.Input[str]
    """Digest of the hub's image."""
    notebook_image: pulumi.Input[str]
    """Digest of the image users' servers run from, but for those of some profiles."""
    filter_image: pulumi.Input[str]
    """Digest of the image that sets packet filters."""
    address: Address
    """Where the hub is reached. Answers from its port may leave the hub's container."""
    separate_proxy: bool
    """Whether hub and proxy run in the network namespace of a third container."""
    ldap: Ldap
    """The directory, which the hub may connect to."""
    users: UserServers
    logs: Logs
    retain: bool
    """Whether Pulumi leaves the audit log on the engine when it is destroyed."""
    profile_images: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Digests of the images of profiles that have one, by the profiles' names."""
    swarm: Swarm | None = None
    """Where users' servers run; None for the engine itself."""


class Guard(pulumi.ComponentResource):
    """The guard's container, and the volume with the socket on which it answers the hub.

    The container has no network, and no other container of the stack has the engine's socket. Its
    rules reach it without passing through the hub.
    """

    volume: pulumi.Output[str]
    """Name of the volume, which the hub mounts at FOLDER."""

    def __init__(
        self, name: str, args: GuardArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:guard:Guard", name, None, opts)
        names = args.names
        # A folder on the engine's disk, whose owner comes from the image, and not a file system in
        # memory: with live-restore, a restarted engine would mount another one for a restarted
        # guard, and the hub would go on looking for its socket in the old one.
        volume = docker.Volume(
            f"{name}socket",
            name=names("guardsocket"),
            labels=names.labels("guardsocket"),
            opts=named(self),
        )
        audit = docker.Volume(
            f"{name}audit",
            name=names("audit"),
            labels=names.labels("audit"),
            opts=kept(self, retain=args.retain),
        )
        service(
            "guard",
            ServiceArgs(
                names=names,
                image=args.image,
                logs=args.logs,
                memory=MEMORY + max(0, args.users.max_servers - MEMORY_SERVERS) // 8,
                health=["/usr/local/bin/zhub-health", "guard"],
                start_seconds=START_SECONDS,
                # Without tini, so that no process of root is left once the guard has become its
                # own user.
                entrypoints=["/opt/jupyter/bin/python3", "-I", "-m", "zhub"],
                command=["guard"],
                env=environment(args),
                # To change from root to its own user, with the group of the engine's socket.
                capabilities=["CAP_SETGID", "CAP_SETUID"],
                volumes=[
                    docker.ContainerVolumeArgs(volume_name=volume.name, container_path=FOLDER),
                    docker.ContainerVolumeArgs(volume_name=audit.name, container_path=AUDIT),
                    docker.ContainerVolumeArgs(
                        host_path=args.engine_socket, container_path=ENGINE_SOCKET
                    ),
                ],
                read_only=True,
            ),
            # What a component depends on does not hold for its children.
            pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None),
        )
        self.volume = volume.name
        self.register_outputs({"volume": self.volume})


def environment(args: GuardArgs) -> dict[str, pulumi.Input[str]]:
    """The guard's rules."""
    shared = variables.shared(
        args.names,
        args.notebook_image,
        args.address.base_path,
        args.users,
        separate_proxy=args.separate_proxy,
    )
    return shared | {
        "ZHUB_USERS_MEMORY": f"{args.users.all_memory}M" if args.users.all_memory else "",
        "ZHUB_FILTER_IMAGE": args.filter_image,
        "ZHUB_PORT": str(args.address.port),
        "ZHUB_LDAP_SERVERS": ",".join(args.ldap.servers),
        "ZHUB_LDAP_PORT": str(args.ldap.port or ""),
        "ZHUB_LDAP_TLS": args.ldap.tls,
        "ZHUB_DIRECTORY_NETWORK": args.ldap.network or "",
        "ZHUB_USER_BLOCKED_NETWORKS": json.dumps(args.users.blocked_networks),
        **variables.images(args.profile_images),
        **variables.log(args.logs),
        **variables.guard_folders(args.users.folders),
        **variables.homes_paths(args.users.homes),
        **variables.swarm(args.swarm),
    }
