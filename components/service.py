"""A container that keeps running: what hub, guard and directory have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.holder import RESTART
from components.names import Names
from components.settings.address import Address
from components.settings.logs import Logs

#: Seconds between two health checks; how long `pulumi up` waits is a multiple of it.
HEALTH_SECONDS = 10

#: Seconds a container has to end by itself before it is killed.
GRACE_SECONDS = 30

#: The provider claims to update these properties of a container, without any effect. The last one
#: stands for a container that started but never got healthy, which would count as updated, too.
REPLACE_ON_CHANGES = ["healthcheck", "tmpfs", "init", "#initerror"]

#: The same where they get less.
LESS = ("memory", "memorySwap")


@dataclass(frozen=True, kw_only=True)
class ServiceArgs:
    names: Names
    image: pulumi.Input[str]
    """Digest, so that a new image makes a new container. It fixes the platform, too: the engine
    reports a container's platform without the processor, so that setting it would replace the
    container in every `up`."""
    logs: Logs
    networks: Sequence[pulumi.Input[str]] = ()
    """Names of those that it is in from its start on. Its host name there is its role."""
    network_of: docker.Container | None = None
    """The container whose network namespace it joins, in place of networks of its own."""
    memory: int
    """MiB; none of it is swapped."""
    less_memory: bool = False
    """Whether the container that is there may take more. It is replaced then: the engine gives a
    running one less only if it does not use more (control groups of version 1), or takes it away,
    and the kernel ends what does not fit any more (version 2)."""
    health: Sequence[str]
    """Command that succeeds while the service works."""
    start_seconds: int
    """How long it may take until it works."""
    wait: bool = True
    """Whether `up` waits until it is healthy."""
    capabilities: Sequence[str] = ()
    """All that it has."""
    labels: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Besides those that name stack and role."""
    entrypoints: Sequence[str] | None = None
    """None for the image's own, as with all that follows."""
    command: Sequence[str] | None = None
    env: Mapping[str, pulumi.Input[str]] | None = None
    """Nothing secret: everybody who may inspect containers can read it."""
    ports: Sequence[docker.ContainerPortArgs] | None = None
    volumes: Sequence[docker.ContainerVolumeArgs] | None = None
    uploads: Sequence[docker.ContainerUploadArgs] | None = None
    """Impossible in a container that is read-only."""
    user: str | None = None
    sysctls: Mapping[str, str] | None = None
    tmpfs: Mapping[str, str] | None = None
    """Mount options by folder."""
    read_only: bool | None = None
    """Whether nothing but volumes and tmpfs can be written to."""


def service(
    role: str, args: ServiceArgs, opts: pulumi.ResourceOptions, *, name: str | None = None
) -> docker.Container:
    """Declare a container that is restarted when it ends and has a health check.

    It has a limit of memory, and no network and no capability but those in its arguments.

    Args:
        role: names it, within its stack.
        args: how it differs from the others.
        opts: with the parent.
        name: Pulumi's; None for the role.
    """
    return docker.Container(
        name or role,
        name=args.names(role),
        image=args.image,
        labels=[
            *args.names.labels(role),
            *(
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in args.labels.items()
            ),
        ],
        restart=RESTART,
        destroy_grace_seconds=GRACE_SECONDS,
        # What is left out, the engine fills in, and the provider reports as a change.
        network_mode=_network_mode(args),
        networks_advanced=[
            docker.ContainerNetworksAdvancedArgs(name=network, aliases=[role])
            for network in args.networks
        ],
        memory=args.memory,
        memory_swap=args.memory,
        log_driver=args.logs.driver,
        log_opts=args.logs.options,
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"], adds=args.capabilities),
        security_opts=["no-new-privileges:true"],
        # `init` is left out: the provider then says no to the engine, so that process 1 is the
        # image's own even where the engine gives every container an init.
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", *args.health],
            interval=f"{HEALTH_SECONDS}s",
            timeout=f"{HEALTH_SECONDS}s",
            retries=3,
            start_period=_duration(args.start_seconds),
        ),
        wait=args.wait,
        wait_timeout=args.start_seconds,
        entrypoints=args.entrypoints,
        command=args.command,
        envs=_lines(args.env),
        ports=args.ports,
        volumes=args.volumes,
        uploads=args.uploads,
        user=args.user,
        sysctls=args.sysctls,
        tmpfs=args.tmpfs,
        read_only=args.read_only,
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                replace_on_changes=[*REPLACE_ON_CHANGES, *(LESS if args.less_memory else ())],
                # The provider asks for it only when it wants a replacement itself. The new
                # container needs the name of the old one.
                delete_before_replace=True,
            ),
        ),
    )


def published(address: Address) -> docker.ContainerPortArgs:
    """Return the stack's port, for the one container that is reached from outside."""
    return docker.ContainerPortArgs(
        internal=address.port, external=address.port, ip=address.bind_address
    )


def _network_mode(args: ServiceArgs) -> pulumi.Input[str]:
    if args.network_of is not None:
        # By its id: a new container has a new network, so those that joined are replaced as well.
        return pulumi.Output.concat("container:", args.network_of.id)
    return "bridge" if args.networks else "none"


def _lines(env: Mapping[str, pulumi.Input[str]] | None) -> list[pulumi.Input[str]] | None:
    if env is None:
        return None
    # Most are plain. As outputs, they would be a tenth of what the program computes.
    return [
        f"{name}={value}" if isinstance(value, str) else pulumi.Output.concat(name, "=", value)
        for name, value in env.items()
    ]


def _duration(seconds: int) -> str:
    """Seconds as Go writes them, and so the provider: otherwise it would report a change."""
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
