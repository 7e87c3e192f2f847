"""The proxy in a container of its own, which goes on while the hub is replaced or restarted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.files import FOLDER as CERTIFICATES
from components.holder import Network, holder
from components.names import Names, named
from components.service import ServiceArgs, published, service
from components.settings.address import API_PORT, HUB_PORT, METRICS_PORT, Address
from components.settings.logs import Logs

#: Where the hub leaves files for the proxy: the token of its API, and its routes.
FOLDER = "/run/proxy"
TOKEN = f"{FOLDER}/token"
ROUTES = f"{FOLDER}/routes.json"

#: Number of its user, who is not the hub's, so that neither can signal the other or read its files;
#: and of the group that they share.
USER = "1002"
GROUP = "1000"

#: Connections from browsers at a time, as in the hub's image.
MOST_CONNECTIONS = 4096

#: MiB. Measured: 30 to start with, more under emulation, and 70 kB for each connection.
MEMORY = 512

#: Seconds; Node takes ten under emulation.
START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class ProxyArgs:
    names: Names
    image: docker.Image
    """The proxy's image."""
    front_image: pulumi.Input[str]
    """Digest of an image with `cat`, which does not change with proxy or hub."""
    networks: list[pulumi.Input[str]]
    """Names of the networks that hub and proxy are in from their start on."""
    address: Address
    certs: pulumi.Input[str]
    """Name of the volume with key and certificate."""
    key_file: str
    certificate_file: str
    sysctls: Mapping[str, str]
    """Of the network namespace."""
    logs: Logs


class Proxy(pulumi.ComponentResource):
    """The proxy's container, and the container in whose network namespace it and the hub run.

    The namespace has the port and the users' networks. It is neither the proxy's nor the hub's, so
    that each can be restarted without the other, and without attaching anything to the users'
    networks again. Only hub and proxy are in it, so only the hub reaches the proxy's API.
    """

    front: docker.Container
    """The container with the network namespace."""
    volume: pulumi.Output[str]
    """Name of the volume for what the hub gives the proxy, which the hub mounts at FOLDER."""

    def __init__(
        self,
        name: str,
        args: ProxyArgs,
        before: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Declare it, to be created after the resources in `before`."""
        super().__init__("zhub:proxy:Proxy", name, None, opts)
        names = args.names
        volume = docker.Volume(
            name,
            name=names("proxy"),
            # A folder whose owner, the hub, comes from the images. Not one in memory, for the
            # reason in guard.py.
            labels=names.labels("proxy"),
            opts=named(self),
        )
        self.front = holder(
            "front",
            names,
            args.front_image,
            pulumi.ResourceOptions(
                parent=self,
                # With the image: a stack that had no separate proxy is out of reach from here on.
                # What a component depends on does not hold for its children.
                depends_on=[*before, args.image],
                # A stack that had no separate proxy has the port in the hub's container. As its
                # successor, this one is created after the other is gone, and the port is free.
                aliases=[pulumi.Alias(name="hub", parent=opts.parent)],
            ),
            Network(
                names=args.networks,
                alias="hub",
                ports=[published(args.address)],
                sysctls=dict(args.sysctls),
            ),
        )
        service(
            "proxy",
            ServiceArgs(
                names=names,
                image=args.image.repo_digest,
                network_of=self.front,
                logs=args.logs,
                memory=MEMORY,
                health=["/usr/local/bin/proxy-health"],
                start_seconds=START_SECONDS,
                command=[json.dumps(options(args), sort_keys=True)],
                volumes=[
                    docker.ContainerVolumeArgs(
                        volume_name=args.certs, container_path=CERTIFICATES, read_only=True
                    ),
                    docker.ContainerVolumeArgs(
                        volume_name=volume.name, container_path=FOLDER, read_only=True
                    ),
                ],
                user=f"{USER}:{GROUP}",
                tmpfs={"/tmp": ""},  # noqa: S108 - inside the container
                read_only=True,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=list(before)),
        )
        self.volume = volume.name
        self.register_outputs({"volume": self.volume})


def options(args: ProxyArgs) -> dict[str, object]:
    """The proxy's only argument; nothing secret, for everybody who may inspect containers sees it.

    `images/hub/zhub/front/proxy.py` has the same for a proxy in the hub's container.
    """
    hub = f"http://127.0.0.1:{HUB_PORT}"
    return {
        "port": args.address.port,
        "apiPort": API_PORT,
        "metricsPort": METRICS_PORT,
        "tokenFile": TOKEN,
        "routesFile": ROUTES,
        "key": f"{CERTIFICATES}/{args.key_file}",
        "certificate": f"{CERTIFICATES}/{args.certificate_file}",
        "hub": hub,
        "errors": f"{hub}{args.address.base_path}hub/error",
        "awaitRoutes": True,
        "heartbeat": True,
        "mostConnections": MOST_CONNECTIONS,
        "hostRouting": bool(args.address.subdomain_host),
        "hstsSeconds": args.address.hsts_seconds,
        "trustedProxies": args.address.trusted_proxies,
        "logLevel": args.logs.level,
        "logFormat": args.logs.form,
    }
