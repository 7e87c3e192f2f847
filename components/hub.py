"""JupyterHub in a container, with the network, the volumes and the guard it needs."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_command as command
import pulumi_docker as docker

from components import guard
from components.guard import Guard, GuardArgs
from components.names import Names, named
from components.service import ServiceArgs, service
from components.settings.engine import UNPRIVILEGED
from components.settings.ldap import Ldap
from components.settings.users import UserServers

#: Where the hub expects its files inside the container.
CERTIFICATES = "/certs"
STATE = "/srv/jupyterhub"

#: Names of the files beside key and certificate.
SITE = "site.json"
LDAP_CA = "ldap-ca.pem"
LDAP_PASSWORD = "ldap-password"  # noqa: S105 - the name of a file

#: Number of the hub's user and group in the image.
USER = "1000"

#: Seconds within which the hub must answer; under emulation it takes most of a minute.
START_SECONDS = 300

#: MiB, for a container that never runs.
FILES_MEMORY = 16

#: A change of these replaces a volume by an empty one. A volume that was there before the stack,
#: such as one restored by hand, has other labels and options than the program declares.
NOT_WORTH_THE_DATA = ["labels", "driver", "driverOpts"]

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
    """Digest of the image users' servers run from."""
    filter_image: pulumi.Input[str]
    """Digest of the image that sets packet filters."""
    key_pem: pulumi.Input[str]
    """A secret to Pulumi."""
    certificate_pem: pulumi.Input[str]
    """The hub's own, then those of its issuers."""
    fingerprint: pulumi.Input[str]
    """The certificate's; another one restarts the hub."""
    bind_address: str
    """Address of the engine's machine on which the port is open."""
    port: int
    base_path: str
    """Before all addresses; with a slash at both ends, or only one."""
    subdomain_host: str | None
    """What users' own names end in; None for one name for all."""
    hsts_seconds: int
    """How long browsers insist on HTTPS for the host name; 0 for not at all."""
    trusted_proxies: tuple[str, ...]
    """Networks of the front proxies that may say who is calling."""
    ldap: Ldap
    admin_users: tuple[str, ...]
    admin_access: bool
    """Whether administrators get into users' servers."""
    token_max_age: int
    """Seconds."""
    texts: str
    """What the site says on the hub's pages, in JSON."""
    users: UserServers
    memory: int
    """MiB."""
    protect: bool
    """Whether Pulumi refuses to delete the hub's state, unless it retains it."""
    retain: bool
    """Whether Pulumi leaves the hub's state on the engine when it is destroyed."""


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
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    # What a destroy leaves in place needs no protection from it.
                    protect=args.protect and not args.retain,
                    retain_on_delete=args.retain,
                    ignore_changes=NOT_WORTH_THE_DATA,
                ),
            ),
        )
        files = self._files(args, certs)
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
                hub_port=args.port,
                base_path=args.base_path,
                ldap=args.ldap,
                users=args.users,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[remove_notebooks]),
        )
        hub = service(
            "hub",
            ServiceArgs(
                names=names,
                image=args.image,
                networks=[network.name, *([args.ldap.network] if args.ldap.network else [])],
                memory=args.memory,
                health=["/usr/local/bin/zhub-health", str(args.port)],
                start_seconds=START_SECONDS,
                # The files in the volume are not part of this container. By these labels it is
                # replaced when a file changes.
                labels={
                    "zhub.certificate": args.fingerprint,
                    "zhub.ldap-ca": _digest(args.ldap.ca_pem),
                    "zhub.ldap-password": _password_mark(args.key_pem, args.ldap.bind_password),
                },
                command=[f"--port={args.port}", f"--ldap={','.join(args.ldap.servers)}"],
                env=environment(args),
                ports=[
                    docker.ContainerPortArgs(
                        internal=args.port, external=args.port, ip=args.bind_address
                    )
                ],
                volumes=[
                    docker.ContainerVolumeArgs(
                        volume_name=certs.name, container_path=CERTIFICATES, read_only=True
                    ),
                    docker.ContainerVolumeArgs(volume_name=state.name, container_path=STATE),
                    docker.ContainerVolumeArgs(
                        volume_name=guard_.volume, container_path=guard.FOLDER, read_only=True
                    ),
                ],
                user=f"{USER}:{USER}",
                sysctls=_sysctls(args.port),
                tmpfs={"/run": "", "/tmp": ""},  # noqa: S108 - inside the container
                read_only=True,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[files, remove_notebooks, guard_]),
        )
        self.container = hub.name
        self.register_outputs({"container": self.container})

    def _files(self, args: HubArgs, certs: docker.Volume) -> docker.Container:
        """A container that never runs and only puts files into the volume.

        The provider cannot upload into the hub's container itself, whose file system is read-only.
        """
        contents = {
            "hub.key": args.key_pem,
            "hub.crt": args.certificate_pem,
            # The hub reads it for each page: a change of it needs no other hub.
            SITE: args.texts,
        }
        if args.ldap.ca_pem is not None:
            contents[LDAP_CA] = args.ldap.ca_pem
        if args.ldap.bind_password is not None:
            contents[LDAP_PASSWORD] = args.ldap.bind_password
        return docker.Container(
            "files",
            name=args.names("files"),
            image=args.image,
            labels=args.names.labels("files"),
            start=False,
            must_run=False,
            # Should somebody start it by hand, it ends at once, and could do nothing until then.
            entrypoints=["/bin/false"],
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            memory=FILES_MEMORY,
            memory_swap=FILES_MEMORY,
            network_mode="none",
            log_driver="none",
            volumes=[
                docker.ContainerVolumeArgs(volume_name=certs.name, container_path=CERTIFICATES)
            ],
            uploads=[
                docker.ContainerUploadArgs(
                    file=f"{CERTIFICATES}/{file}",
                    content=content,
                    permissions="0600",
                    owner=USER,
                    group=USER,
                )
                for file, content in contents.items()
            ],
            opts=named(self),
        )


def environment(args: HubArgs) -> dict[str, pulumi.Input[str]]:
    """The hub's settings; nothing secret, for everybody who may inspect containers can read it."""
    return {
        "DOCKER_HOST": f"unix://{guard.SOCKET}",
        "ZHUB_ADMIN_USERS": json.dumps(args.admin_users),
        "ZHUB_ADMIN_ACCESS": json.dumps(args.admin_access),
        "ZHUB_TOKEN_MAX_AGE": str(args.token_max_age),
        "ZHUB_IDLE_TIMEOUT": str(args.users.idle_timeout),
        "ZHUB_SERVER_MAX_AGE": str(args.users.server_max_age),
        "ZHUB_START_TIMEOUT": str(args.users.start_timeout),
        "ZHUB_SUBDOMAIN_HOST": args.subdomain_host or "",
        "ZHUB_HSTS_SECONDS": str(args.hsts_seconds),
        "ZHUB_CONFINED": "true",
        "ZHUB_TRUSTED_PROXIES": json.dumps(args.trusted_proxies),
        **ldap_environment(args.ldap),
        **guard.shared_environment(args.names, args.notebook_image, args.base_path, args.users),
    }


def ldap_environment(ldap: Ldap) -> dict[str, str]:
    """The hub's settings of the directory, but for its servers; empty is the hub's own default."""
    return {
        "ZHUB_LDAP_PORT": str(ldap.port or ""),
        "ZHUB_LDAP_TLS": ldap.tls,
        "ZHUB_LDAP_CA_FILE": f"{CERTIFICATES}/{LDAP_CA}" if ldap.ca_pem is not None else "",
        "ZHUB_LDAP_BIND_DN": ldap.bind_dn,
        "ZHUB_LDAP_BIND_PASSWORD_FILE": f"{CERTIFICATES}/{LDAP_PASSWORD}" if ldap.bind_dn else "",
        "ZHUB_LDAP_SEARCH_BASE": ldap.search_base,
        "ZHUB_LDAP_NAME_ATTRIBUTES": json.dumps(ldap.name_attributes),
        "ZHUB_LDAP_USER_FILTER": ldap.user_filter,
        "ZHUB_LDAP_DN_TEMPLATES": json.dumps(ldap.dn_templates) if ldap.dn_templates else "",
        "ZHUB_LDAP_ALLOWED_GROUPS": json.dumps(ldap.allowed_groups),
        "ZHUB_LDAP_ALLOW_EVERYONE": json.dumps(ldap.allow_everyone),
        "ZHUB_LDAP_ADMIN_GROUPS": json.dumps(ldap.admin_groups),
        "ZHUB_LDAP_GROUP_BASE": ldap.group_base,
        "ZHUB_LDAP_NESTED_GROUPS": json.dumps(ldap.nested_groups),
        "ZHUB_LDAP_RECHECK": str(ldap.recheck),
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


def _digest(pem: pulumi.Input[str] | None) -> pulumi.Input[str]:
    if pem is None:
        return ""
    return pulumi.Output.from_input(pem).apply(lambda pem: hashlib.sha256(pem.encode()).hexdigest())


def _password_mark(
    key_pem: pulumi.Input[str], password: pulumi.Input[str] | None
) -> pulumi.Input[str]:
    """A value that changes with the directory's password and does not help to guess it.

    Everybody who may inspect containers can read labels, and could try passwords against a plain
    digest. This one takes the hub's key as well, which only those have who can read the password,
    too: they are in the same folder.
    """
    if password is None:
        return ""
    mark = pulumi.Output.all(key_pem, password).apply(lambda both: _hmac(*both))
    # Otherwise previews would hide all labels.
    return pulumi.Output.unsecret(mark)


def _hmac(key: str, message: str) -> str:
    return hmac.digest(key.encode(), message.encode(), hashlib.sha256).hex()
