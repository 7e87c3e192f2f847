"""The guard: the one container with the engine's socket, which carries out what the hub may ask."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.names import Names
from components.service import service
from components.settings.engine import Engine
from components.settings.ldap import Ldap
from components.settings.users import UserServers

#: Where the guard finds the engine, and the hub finds the guard.
ENGINE_SOCKET = "/var/run/docker.sock"
FOLDER = "/run/guard"
SOCKET = f"{FOLDER}/engine.sock"

#: Numbers of the guard's own user and of the group it shares with the hub, as the image has them.
USER = 1001
GROUP = 1000

#: MiB, enough for 500 servers. The guard limits what it has in memory of requests; of a hub that
#: is in thousands of networks, the engine's answers are large.
MEMORY = 192
MEMORY_SERVERS = 500

START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class GuardArgs:
    """What a Guard is made of."""

    names: Names
    engine: Engine
    image: pulumi.Input[str]
    """Digest of the hub's image."""
    notebook_image: pulumi.Input[str]
    """Digest of the only image users' servers run from."""
    filter_image: pulumi.Input[str]
    """Digest of the image that sets packet filters."""
    hub_port: int
    """The published one, whose answers may leave the hub's container."""
    ldap: Ldap
    """The directory, which the hub may ask."""
    users: UserServers


class Guard(pulumi.ComponentResource):
    """The guard's container, without any network, and the volume its socket for the hub is in."""

    volume: pulumi.Output[str]
    """Name of the volume, which the hub mounts at FOLDER."""

    def __init__(
        self, name: str, args: GuardArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:guard:Guard", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names = args.names
        volume = docker.Volume(
            name,
            name=names("guard"),
            labels=names.labels("guard"),
            # In memory: of a guard that is gone, no socket stays behind. The health check runs as
            # root without capabilities: it must get to the heartbeat beside the socket.
            driver="local",
            driver_opts={
                "type": "tmpfs",
                "device": "tmpfs",
                "o": f"uid={USER},gid={GROUP},mode=0751,size=64k",
            },
            opts=child,
        )
        service(
            "guard",
            names,
            image=args.image,
            networks=[],
            network_mode="none",
            memory=MEMORY + max(0, args.users.max_servers - MEMORY_SERVERS) // 8,
            health=["/usr/local/bin/zhub-health", "guard"],
            start_seconds=START_SECONDS,
            # The hub waits for it, and starts meanwhile.
            wait=False,
            # Without tini, so that no process of root's is left when the guard has become its user.
            entrypoints=["/opt/jupyter/bin/python3", "-I", "-m", "zhub"],
            command=["guard"],
            envs=environment(args),
            # From root to its own user, in whichever group the engine's socket belongs to.
            capabilities=["CAP_SETGID", "CAP_SETUID"],
            volumes=[
                {"volume_name": volume.name, "container_path": FOLDER},
                {"host_path": args.engine.socket, "container_path": ENGINE_SOCKET},
            ],
            read_only=True,
            # A component's own dependencies do not hold for what is in it.
            opts=pulumi.ResourceOptions(parent=self, depends_on=opts.depends_on if opts else None),
        )
        self.volume = volume.name
        self.register_outputs({"volume": self.volume})


def environment(args: GuardArgs) -> list[pulumi.Input[str]]:
    """The rules; they reach the guard without passing through the hub."""
    told = servers(args.names, args.notebook_image, args.users) | {
        "FILTER_IMAGE": args.filter_image,
        "PORT": str(args.hub_port),
        "LDAP_SERVERS": ",".join(args.ldap.servers),
        "LDAP_PORT": str(args.ldap.port or ""),
        "LDAP_TLS": args.ldap.tls,
        "DIRECTORY_NETWORK": args.ldap.network or "",
        "USER_BLOCKED_NETWORKS": json.dumps(args.users.blocked_networks),
    }
    return [pulumi.Output.concat("ZHUB_", name, "=", value) for name, value in told.items()]


def servers(
    names: Names, notebook_image: pulumi.Input[str], users: UserServers
) -> dict[str, pulumi.Input[str]]:
    """What hub and guard must be told alike, or the guard would refuse what the hub asks."""
    return {
        "PREFIX": names.prefix,
        "NOTEBOOK_IMAGE": notebook_image,
        "USER_MEMORY": f"{users.memory}M",
        "USER_CPUS": users.cpus,
        "USER_PIDS": str(users.pids),
        "USER_INTERNET": json.dumps(users.internet_access),
        "USER_ALLOWED_NETWORKS": json.dumps(users.allowed_networks),
        "USER_NETWORK_POOL": users.network_pool,
        "MAX_SERVERS": str(users.max_servers),
    }
