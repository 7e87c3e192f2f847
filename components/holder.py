"""A container that only waits, so that the image it is made from is in use."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.names import Names, named

#: An engine without live-restore that was killed stops, when it starts again, what has outlived it.
#: To "unless-stopped", that counts as stopped by somebody.
RESTART = "always"

#: MiB; enough for `cat` under emulation.
MEMORY = 32


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a holder may hold besides an image: a network namespace, for others to join."""

    names: list[pulumi.Input[str]]
    """Of the networks that it is in."""
    alias: str
    """Its host name there."""
    ports: list[docker.ContainerPortArgs]
    sysctls: dict[str, str]


def holder(
    role: str,
    names: Names,
    image: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
    network: Network | None = None,
) -> docker.Container:
    """Declare a container that keeps an image from being pruned while nothing else runs from it.

    `docker system prune -a` removes all images that no running container is made from, whatever
    their names; Pulumi does not notice. The container can do nothing: it waits for input.

    Args:
        role: names it, within its stack.
        names: of the stack.
        image: digest. The image must have `cat`.
        opts: with the component that it belongs to as parent.
        network: what it has of networks; None for nothing.
    """
    assert opts.parent  # noqa: S101 - for mypy
    return docker.Container(
        role,
        name=names(role),
        image=image,
        labels=names.labels(role),
        restart=RESTART,
        entrypoints=["cat"],
        stdin_open=True,
        # As process 1, `cat` ignores the others, and the engine would wait for it.
        stop_signal="SIGKILL",
        user="65534:65534",
        read_only=True,
        # What is left out, the engine fills in, and the provider reports as a change.
        network_mode="bridge" if network else "none",
        networks_advanced=[
            docker.ContainerNetworksAdvancedArgs(name=name, aliases=[network.alias])
            for name in network.names
        ]
        if network
        else None,
        ports=network.ports if network else None,
        sysctls=network.sysctls if network else None,
        memory=MEMORY,
        memory_swap=MEMORY,
        log_driver="none",
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges:true"],
        opts=pulumi.ResourceOptions.merge(named(opts.parent), opts),
    )
