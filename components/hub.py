"""JupyterHub in a container, with the network, the volumes and the guard it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pulumi
import pulumi_command as command
import pulumi_docker as docker

from components import guard, proxy, variables
from components.files import FOLDER as CERTIFICATES
from components.files import UNUSED, Contents, File, carrier
from components.guard import Guard, GuardArgs
from components.marks import digest, secret_mark
from components.names import Names, kept, named
from components.proxy import Proxy, ProxyArgs
from components.service import ServiceArgs, published, service
from components.settings.address import Address
from components.settings.engine import UNPRIVILEGED
from components.settings.ldap import Ldap
from components.settings.login import Login
from components.settings.logs import Logs
from components.settings.own_config import OwnConfig
from components.settings.services import Services
from components.settings.swarm import Swarm
from components.settings.users import UserServers

#: Where the hub keeps its database, inside the container.
STATE = "/srv/jupyterhub"

KEY = "hub.key"
CERTIFICATE = "hub.crt"

#: What the site says on the hub's pages, beside key and certificate.
SITE = "site.json"

#: Labels of the container with the files, for what is no secret in them.
CERTIFICATE_LABEL = "zhub.certificate"
SITE_LABEL = "zhub.site"

#: Number of the hub's user and group in the image.
USER = "1000"

#: Seconds within which the hub must answer; under emulation it takes most of a minute.
START_SECONDS = 300

#: The clean-up that `pulumi destroy` runs.
REMOVE_NOTEBOOKS = Path(__file__).with_name("remove_notebooks.sh")


@dataclass(frozen=True, kw_only=True)
class HubArgs:
    names: Names
    engine_socket: str
    """Path of the engine's socket on the engine's machine."""
    engine_environment: Mapping[str, str]
    """Variables with which the `docker` command on this machine reaches the engine."""
    image: pulumi.Input[str]
    """Digest of the hub's image."""
    notebook_image: pulumi.Input[str]
    """Digest of the image users' servers run from, but for those of some profiles."""
    filter_image: pulumi.Input[str]
    """Digest of the image that sets packet filters."""
    proxy_image: docker.Image | None
    """The proxy's own image; None to have the proxy in the hub's container."""
    key_pem: pulumi.Input[str]
    """A secret to Pulumi."""
    certificate_pem: pulumi.Input[str]
    """The hub's own, then those of its issuers."""
    fingerprints: pulumi.Input[str]
    """Theirs, for whoever reads in the audit log that they were exchanged."""
    mark_key: pulumi.Input[str]
    """A secret that stays the same when the certificate is exchanged, even with its key."""
    address: Address
    ldap: Ldap
    login: Login
    texts: str
    """What the site says on the hub's pages, in JSON."""
    users: UserServers
    services: Services
    own_config: OwnConfig | None
    """The site's own configuration of JupyterHub; None for none."""
    logs: Logs
    memory: int
    """MiB."""
    less_memory: bool = False
    """Whether the container that is there may take more."""
    protect: bool
    """Whether Pulumi refuses to delete the hub's state, unless it retains it."""
    retain: bool
    """Whether Pulumi leaves the hub's state on the engine when it is destroyed."""
    profile_images: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Digests of the images of profiles that have one, by the profiles' names."""
    swarm: Swarm | None = None
    """Where users' servers run; None for the engine itself."""


class Hub(pulumi.ComponentResource):
    """The hub's container, its guard, and the volumes with its database and its files.

    Only the configured port is open. The key and the directory's password are files in a volume
    that is mounted read-only, and not in the container's environment. `pulumi destroy` removes
    users' servers and networks before the hub's own network, and leaves users' homes alone.
    """

    container: pulumi.Output[str]
    """Name of the hub's container."""

    def __init__(
        self, name: str, args: HubArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:hub:Hub", name, None, opts)
        child = named(self)
        names = args.names
        network = docker.Network(
            name, name=names("hub"), labels=names.labels("network"), opts=child
        )
        certs = docker.Volume(
            "certs", name=names("certs"), labels=names.labels("certs"), opts=child
        )
        state = docker.Volume(
            "state",
            name=names("state"),
            labels=names.labels("state"),
            opts=kept(self, retain=args.retain, protect=args.protect),
        )
        # Where the proxy's image cannot be built, hub and proxy stay as they are. A guard that
        # expects others would refuse them, and they could not read a key that is only the others'.
        images = [args.proxy_image] if args.proxy_image else []
        after_images = pulumi.ResourceOptions.merge(
            child, pulumi.ResourceOptions(depends_on=images)
        )
        files = carrier(names, args.image, certs, _contents(args), after_images)
        # `pulumi destroy` goes through the dependencies in the opposite order: first the hub, then
        # the guard, which starts servers for it, then the servers, then the networks.
        remove_notebooks = command.local.Command(
            "remove-notebooks",
            # A `docker` command that is missing or does not reach the engine fails the first `up`,
            # and not `pulumi destroy`.
            create="docker version --format '{{.Server.Version}}'",
            delete=REMOVE_NOTEBOOKS.read_text(),
            environment={"ZHUB_PREFIX": names.prefix, **args.engine_environment},
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[network]),
        )
        guard_ = Guard(
            "guard",
            GuardArgs(
                names=names,
                engine_socket=args.engine_socket,
                image=args.image,
                notebook_image=args.notebook_image,
                filter_image=args.filter_image,
                address=args.address,
                separate_proxy=args.proxy_image is not None,
                ldap=args.ldap,
                users=args.users,
                logs=args.logs,
                retain=args.retain,
                profile_images=args.profile_images,
                swarm=args.swarm,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[remove_notebooks, *images]),
        )
        networks = [network.name, *([args.ldap.network] if args.ldap.network else [])]
        before = [files, remove_notebooks, guard_]
        opts = pulumi.ResourceOptions(parent=self, depends_on=before)
        if args.proxy_image is None:
            hub = self._with_proxy(args, networks, (certs, state), guard_.volume, opts)
        else:
            apart = Proxy(
                "proxy",
                ProxyArgs(
                    names=names,
                    image=args.proxy_image,
                    front_image=args.filter_image,
                    networks=networks,
                    certs=certs.name,
                    key_file=KEY,
                    certificate_file=CERTIFICATE,
                    address=args.address,
                    sysctls=_sysctls(args.address.port),
                    logs=args.logs,
                ),
                before,
                pulumi.ResourceOptions(parent=self),
            )
            hub = self._beside(apart, args, (certs, state), guard_.volume, opts)
        self.container = hub.name
        self.register_outputs({"container": self.container})

    def _with_proxy(
        self,
        args: HubArgs,
        networks: list[pulumi.Input[str]],
        volumes: tuple[docker.Volume, docker.Volume],
        guard_volume: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> docker.Container:
        """The hub with the proxy in its own container, which has port and networks."""
        front = pulumi.create_urn("proxy", "zhub:proxy:Proxy", parent=self.urn)
        return service(
            "hub",
            replace(
                _common(args, volumes, guard_volume),
                networks=networks,
                ports=[published(args.address)],
                sysctls=_sysctls(args.address.port),
            ),
            # The way back from a separate proxy: this container is created once the one with the
            # port, and those in its network, are gone.
            pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(aliases=[pulumi.Alias(name="front", parent=front)])
            ),
        )

    def _beside(
        self,
        apart: Proxy,
        args: HubArgs,
        volumes: tuple[docker.Volume, docker.Volume],
        guard_volume: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> docker.Container:
        """The hub in the network namespace that it shares with a proxy of its own container."""
        common = _common(args, volumes, guard_volume)
        token = docker.ContainerVolumeArgs(volume_name=apart.volume, container_path=proxy.FOLDER)
        return service(
            "hub",
            replace(common, network_of=apart.front, volumes=[*(common.volumes or ()), token]),
            opts,
            # Under the name "hub", Pulumi knows the container with the port, as of a stack without.
            name="hub-beside-proxy",
        )


def _contents(args: HubArgs) -> Contents:
    """The files in the volume that hub and proxy read."""
    # Each is its reader's only: neither of the two needs the other's.
    reader = USER if args.proxy_image is None else proxy.USER
    contents = {
        KEY: File(args.key_pem, reader),
        CERTIFICATE: File(args.certificate_pem, reader),
        # The hub reads it for each page: a change of it needs no other hub.
        SITE: File(args.texts, USER),
    }
    optional = {
        variables.LDAP_CA: args.ldap.ca_pem,
        variables.LDAP_PASSWORD: args.ldap.bind_password,
        variables.SERVICE_TOKENS: args.services.tokens,
        # A preview shows the digest of it, in the hub's label.
        variables.OWN_CONFIG: pulumi.Output.secret(args.own_config.text)
        if args.own_config
        else None,
    }
    for name, content in optional.items():
        contents[name] = File(UNUSED if content is None else content, USER)
    # By these, the guard says in the audit log what an `up` has changed.
    return Contents(contents, {CERTIFICATE_LABEL: args.fingerprints, SITE_LABEL: args.texts})


def _common(
    args: HubArgs,
    volumes: tuple[docker.Volume, docker.Volume],
    guard_volume: pulumi.Input[str],
) -> ServiceArgs:
    """What the hub's container has, wherever the proxy is."""
    certs, state = volumes
    return ServiceArgs(
        names=args.names,
        image=args.image,
        logs=args.logs,
        memory=args.memory,
        less_memory=args.less_memory,
        # A request through the proxy, wherever that is.
        health=["/usr/local/bin/zhub-health", str(args.address.port)],
        start_seconds=START_SECONDS,
        # The files in the volume are not part of this container. By these labels it is replaced
        # when one of its own files changes; the proxy notices by itself when its own do.
        labels={
            "zhub.ldap-ca": digest(args.ldap.ca_pem),
            "zhub.ldap-password": secret_mark(args.mark_key, args.ldap.bind_password),
            "zhub.service-tokens": secret_mark(args.mark_key, args.services.tokens),
            "zhub.config-file": args.own_config.digest if args.own_config else "",
        },
        command=[f"--port={args.address.port}", f"--ldap={','.join(args.ldap.servers)}"],
        env=environment(args),
        volumes=[
            docker.ContainerVolumeArgs(
                volume_name=certs.name, container_path=CERTIFICATES, read_only=True
            ),
            docker.ContainerVolumeArgs(volume_name=state.name, container_path=STATE),
            docker.ContainerVolumeArgs(
                volume_name=guard_volume, container_path=guard.FOLDER, read_only=True
            ),
        ],
        user=f"{USER}:{USER}",
        tmpfs={"/run": "", "/tmp": ""},  # noqa: S108 - inside the container
        read_only=True,
    )


def environment(args: HubArgs) -> dict[str, pulumi.Input[str]]:
    """The hub's settings; nothing secret, for everybody who may inspect containers can read it."""
    # Settings of the proxy alone. One of its own gets them by itself, and the hub goes on.
    proxys = {
        "ZHUB_HSTS_SECONDS": str(args.address.hsts_seconds),
        "ZHUB_TRUSTED_PROXIES": json.dumps(args.address.trusted_proxies),
    }
    return {
        "DOCKER_HOST": f"unix://{guard.SOCKET}",
        "ZHUB_ADMIN_USERS": json.dumps(args.login.admin_users),
        "ZHUB_ADMIN_ACCESS": json.dumps(args.login.admin_access),
        "ZHUB_TOKEN_MAX_AGE": str(args.login.token_max_age),
        "ZHUB_IDLE_TIMEOUT": str(args.users.idle_timeout),
        "ZHUB_SERVER_MAX_AGE": str(args.users.server_max_age),
        "ZHUB_START_TIMEOUT": str(args.users.start_timeout),
        "ZHUB_SUBDOMAIN_HOST": args.address.subdomain_host or "",
        "ZHUB_CONFINED": "true",
        **(proxys if args.proxy_image is None else {}),
        **variables.directory(args.ldap),
        **variables.shared(
            args.names,
            args.notebook_image,
            args.address.base_path,
            args.users,
            separate_proxy=args.proxy_image is not None,
        ),
        **variables.images(args.profile_images),
        **variables.log(args.logs),
        **variables.hub_folders(args.users.folders),
        **variables.services(args.services),
        **variables.own_config(args.own_config),
        **variables.hub_profiles(args.users.profiles),
    }


def _sysctls(port: int) -> dict[str, str]:
    # The hub is in every user's network. It must not pass packets from one to another, not even
    # forged ones.
    sysctls = {"net.ipv4.ip_forward": "0"}
    if port < UNPRIVILEGED:
        # Engines allow it by default since 20.10, and some are configured otherwise. The hub's
        # container has a network namespace of its own, so this opens no port of the machine.
        sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
    return sysctls
