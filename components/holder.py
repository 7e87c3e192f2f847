"""A container that only waits, so that the image it is made from is in use."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from components.names import Names, named

#: MiB; enough for `cat` under emulation.
MEMORY = 32


def holder(
    role: str,
    names: Names,
    image: pulumi.Input[str],
    lost: int,
    parent: pulumi.Resource,
) -> docker.Container:
    """Declare a container that keeps an image from being pruned while nothing else runs from it.

    `docker system prune -a` removes all images that no running container is made from, whatever
    their names; Pulumi does not notice. The container can do nothing: it waits for input.

    Args:
        role: names it, within its stack.
        names: of the stack.
        image: digest. The image must have `cat`.
        lost: how often the engine has lost the image. It cannot lose one that a container runs
            from, so this one was lost before it, and is made again as well.
        parent: the component that it belongs to.
    """
    return docker.Container(
        role,
        name=names(role),
        image=image,
        labels=names.labels(role),
        restart="unless-stopped",
        entrypoints=["cat"],
        stdin_open=True,
        # As process 1, `cat` ignores the others, and the engine would wait for it.
        stop_signal="SIGKILL",
        user="65534:65534",
        read_only=True,
        network_mode="none",
        memory=MEMORY,
        memory_swap=MEMORY,
        log_driver="none",
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges:true"],
        opts=pulumi.ResourceOptions.merge(
            named(parent), pulumi.ResourceOptions(replacement_trigger=lost)
        ),
    )
