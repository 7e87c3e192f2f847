"""A container that keeps running: what the hub's and the directory's have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_docker as docker

from components.names import Names

#: Seconds between two health checks; what `pulumi up` waits is a multiple of it.
HEALTH_SECONDS = 10

#: Seconds a container has to end by itself before it is killed.
GRACE_SECONDS = 30

#: Of a container's properties the provider updates these without any effect. The last one stands
#: for a container that came up but never got healthy, which would count as updated, too.
REPLACE_ON_CHANGES = ["healthcheck", "tmpfs", "init", "#initerror"]


def named(parent: pulumi.Resource) -> pulumi.ResourceOptions:
    """Return options of what has a name on the engine: taken until the old one of it has gone.

    The provider says so only of a replacement that it wants itself, and not where an operator asks
    for one (`--target-replace`): a container or network would not be made, and of a volume the new
    one be removed, which is the old one.
    """
    return pulumi.ResourceOptions(parent=parent, delete_before_replace=True)


def service(  # noqa: PLR0913 - so much there is to say about a container
    role: str,
    names: Names,
    *,
    image: pulumi.Input[str],
    networks: Sequence[pulumi.Input[str]],
    memory: int,
    health: Sequence[str],
    start_seconds: int,
    opts: pulumi.ResourceOptions,
    alias: str = "",
    network_mode: str = "bridge",
    capabilities: Sequence[str] = (),
    wait: bool = True,
    labels: Sequence[Any] = (),
    **more: Any,
) -> docker.Container:
    """Declare a container that is restarted when it ends, limited, and healthy before `up` ends.

    Args:
        role: names it, within its stack.
        names: of the stack.
        image: digest, so that a new image makes a new container. It fixes the platform, too: the
            engine reports a container's platform without the processor, so that setting it would
            replace the container in every `up`.
        networks: names of those it is in, from its start on.
        memory: MiB; none of it is swapped.
        health: command that tells whether it works.
        start_seconds: how long it may take until it does.
        opts: with the parent.
        alias: host name it has in its networks.
        network_mode: none for a container without any network.
        capabilities: all it has.
        wait: whether `up` waits until it is healthy.
        labels: besides those of the stack.
        more: further arguments of docker.Container.
    """
    return docker.Container(
        role,
        name=names(role),
        image=image,
        labels=[*names.labels(role), *labels],
        restart="unless-stopped",
        destroy_grace_seconds=GRACE_SECONDS,
        # All that the engine would fill in otherwise, and the provider report as a change.
        network_mode=network_mode,
        networks_advanced=[{"name": network, "aliases": [alias]} for network in networks],
        memory=memory,
        memory_swap=memory,
        log_driver="json-file",
        log_opts={"max-size": "10m", "max-file": "3"},
        capabilities={"drops": ["ALL"], "adds": list(capabilities)},
        security_opts=["no-new-privileges:true"],
        # No `init`: where nothing is said, the provider says no to the engine, so that process 1 is
        # the image's own also where the engine gives every container an init.
        healthcheck={
            "tests": ["CMD", *health],
            "interval": f"{HEALTH_SECONDS}s",
            "timeout": f"{HEALTH_SECONDS}s",
            "retries": 3,
            "start_period": _duration(start_seconds),
        },
        wait=wait,
        wait_timeout=start_seconds,
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                replace_on_changes=REPLACE_ON_CHANGES,
                # The provider says so only of replacements that it wants itself; the name is taken.
                delete_before_replace=True,
            ),
        ),
        **more,
    )


def _duration(seconds: int) -> str:
    """Seconds as Go, and so the provider, writes them: otherwise it would report a change."""
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
