"""What runs on every node of a swarm: a guard, and the images that users' servers need there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_docker as docker

from components.guard import ENGINE_SOCKET, FOLDER
from components.images import of_profile
from components.names import Names, named
from components.settings.build import Platform, Registry
from components.settings.logs import Logs
from components.settings.swarm import Swarm
from components.settings.users import UserServers

#: What a service's processes begin with: neither Pulumi's provider nor a node's engine before 25
#: gives a service no-new-privileges, and setpriv(1) sets the same for all that it starts.
WALLED = ("/usr/bin/setpriv", "--no-new-privs", "--")

#: MiB.
MEMORY = 128
HOLDER_MEMORY = 16

#: How long a guard has to end by itself; as the provider stores it.
GRACE = "30s"


@dataclass(frozen=True, kw_only=True)
class NodesArgs:
    names: Names
    swarm: Swarm
    platform: Platform
    """Of the images."""
    engine_socket: str
    """Path of each engine's socket on its own machine."""
    image: pulumi.Input[str]
    """Digest of the hub's image, at a registry; as with the next two."""
    notebook_image: pulumi.Input[str]
    filter_image: pulumi.Input[str]
    profile_images: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Of profiles that have one, by the profiles' names."""
    registry: Registry | None
    """Where nodes get them; None for images that they have already."""
    users: UserServers
    logs: Logs


class Nodes(pulumi.ComponentResource):
    """Services with a task on each node that users' servers may run on.

    The guard there sets the packet filter of each server that the swarm starts on its node. It has
    the node's own engine's socket, listens to nobody, and makes no servers: for these the hub asks
    the guard beside it. The others keep images on the node: a server then starts without a
    pull, for which the engine would need the registry's password, and the guard's helpers start. So
    only these services have the password, and neither the guard nor users' servers.
    """

    def __init__(
        self, name: str, args: NodesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:nodes:Nodes", name, None, opts)
        self._args = args
        self._service(
            "nodeguard",
            docker.ServiceTaskSpecContainerSpecArgs(
                image=args.image,
                labels=_labels(args.names, "nodeguard"),
                # Without tini, so that no process of root is left: as the guard beside the hub.
                commands=[*WALLED, "/opt/jupyter/bin/python3", "-I", "-m", "zhub"],
                args=["nodeguard"],
                env=environment(args),
                mounts=[
                    docker.ServiceTaskSpecContainerSpecMountArgs(
                        type="bind", source=args.engine_socket, target=ENGINE_SOCKET
                    ),
                    # For the time of the engine's last answer, which the health check reads: root
                    # makes a file there for the guard's user.
                    docker.ServiceTaskSpecContainerSpecMountArgs(
                        type="tmpfs",
                        target=FOLDER,
                        tmpfs_options=docker.ServiceTaskSpecContainerSpecMountTmpfsOptionsArgs(
                            size_bytes=1 << 20, mode=0o755
                        ),
                    ),
                ],
                # To change from root to its own user, with the group of the engine's socket.
                cap_adds=["CAP_SETGID", "CAP_SETUID"],
                cap_drops=["ALL"],
                read_only=True,
                init=False,
                healthcheck=docker.ServiceTaskSpecContainerSpecHealthcheckArgs(
                    # What is run beside a container's processes does not come from them.
                    tests=["CMD", *WALLED, "/usr/local/bin/zhub-health", "guard"],
                    interval="10s",
                    timeout="10s",
                    start_period="2m",
                    retries=3,
                ),
                stop_grace_period=GRACE,
            ),
            MEMORY,
        )
        self._holder("nodefilter", args.filter_image)
        self._holder("nodenotebook", args.notebook_image)
        for profile, image in args.profile_images.items():
            self._holder(of_profile("nodeprofile", profile), image)
        self.register_outputs({})

    def _holder(self, role: str, image: pulumi.Input[str]) -> None:
        self._service(
            role,
            docker.ServiceTaskSpecContainerSpecArgs(
                image=image,
                labels=_labels(self._args.names, role),
                commands=["sleep", "infinity"],
                user="65534:65534",
                cap_drops=["ALL"],
                read_only=True,
                init=False,
                # As process 1, `sleep` ignores the others.
                stop_signal="SIGKILL",
                stop_grace_period="1s",
            ),
            HOLDER_MEMORY,
        )

    def _service(
        self, role: str, container: docker.ServiceTaskSpecContainerSpecArgs, memory: int
    ) -> None:
        args = self._args
        system, _, processor = args.platform.partition("/")
        docker.Service(
            role,
            name=args.names(role),
            labels=args.names.labels(role),
            mode=docker.ServiceModeArgs(global_=True),
            auth=account(args.registry),
            task_spec=docker.ServiceTaskSpecArgs(
                container_spec=container,
                resources=docker.ServiceTaskSpecResourcesArgs(
                    limits=docker.ServiceTaskSpecResourcesLimitsArgs(memory_bytes=memory << 20)
                ),
                # What is left out of a part, the engine fills in, and the provider reports.
                restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(
                    condition="any", delay="5s", max_attempts=0, window="0s"
                ),
                placement=docker.ServiceTaskSpecPlacementArgs(
                    constraints=constraints(args.swarm),
                    # Otherwise the engine fills in what the registry says of the image.
                    platforms=[
                        docker.ServiceTaskSpecPlacementPlatformArgs(
                            architecture=processor, os=system
                        )
                    ],
                ),
                log_driver=docker.ServiceTaskSpecLogDriverArgs(
                    name=args.logs.driver, options=args.logs.options
                ),
            ),
            opts=named(self),
        )


def _labels(names: Names, role: str) -> list[docker.ServiceTaskSpecContainerSpecLabelArgs]:
    """The labels of a service's containers: they do not have those of the service."""
    return [docker.ServiceTaskSpecContainerSpecLabelArgs(**label) for label in names.labels(role)]


def account(registry: Registry | None) -> docker.ServiceAuthArgs | None:
    """With what nodes log in to the registry; None where they need not."""
    # The settings have either both or none of name and password.
    if registry is None or registry.username is None:
        return None
    return docker.ServiceAuthArgs(
        server_address=registry.server, username=registry.username, password=registry.password
    )


def constraints(swarm: Swarm) -> Sequence[str]:
    """Which nodes users' servers run on, as the engine takes it."""
    if swarm.label is None:
        return []
    name, _, value = swarm.label.partition("=")
    return [f"node.labels.{name}=={value}"]


def environment(args: NodesArgs) -> Mapping[str, pulumi.Input[str]]:
    """What the filters of users' servers depend on."""
    users = args.users
    return {
        "ZHUB_PREFIX": args.names.prefix,
        "ZHUB_FILTER_IMAGE": args.filter_image,
        "ZHUB_USER_INTERNET": json.dumps(users.internet_access),
        "ZHUB_USER_ALLOWED_NETWORKS": json.dumps(users.allowed_networks),
        "ZHUB_USER_BLOCKED_NETWORKS": json.dumps(users.blocked_networks),
        "ZHUB_USER_NETWORK_POOL": users.network_pool,
        "ZHUB_LOG_LEVEL": args.logs.level,
        "ZHUB_LOG_FORMAT": args.logs.form,
    }
