"""JupyterHub in a container, with the network and volumes it needs."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_command as command
import pulumi_docker as docker

from components import guard
from components.certificate import Certificate
from components.guard import Guard, GuardArgs
from components.names import Names
from components.service import service
from components.settings.engine import Engine
from components.settings.ldap import Ldap
from components.settings.users import UserServers

#: Where the hub expects its files inside the container.
CERTIFICATES = "/certs"
STATE = "/srv/jupyterhub"

#: Names of files beside key and certificate.
LDAP_CA = "ldap-ca.pem"
LDAP_PASSWORD = "ldap-password"  # noqa: S105 - not one itself

#: The image's own user and group for the hub.
USER = "1000"

#: Seconds until the hub must answer; under emulation it takes most of a minute.
START_SECONDS = 300

#: MiB, for a container that never runs.
FILES_MEMORY = 16

REMOVE_NOTEBOOKS = Path(__file__).with_name("remove_notebooks.sh")


@dataclass(frozen=True, kw_only=True)
class HubArgs:
    """What a Hub is made of."""

    names: Names
    engine: Engine
    image: pulumi.Input[str]
    """Digest of the hub's image."""
    notebook_image: pulumi.Input[str]
    """Digest of the image users' servers run from."""
    filter_image: pulumi.Input[str]
    """Digest of the image that sets packet filters."""
    certificate: Certificate
    bind_address: str
    port: int
    subdomain_host: str | None
    """What users' own names end in; None for one name for all."""
    hsts_seconds: int
    """How long browsers insist on HTTPS for the host name; 0 for not at all."""
    trusted_proxies: tuple[str, ...]
    """Networks of the front proxies that may say who is calling."""
    ldap: Ldap
    admin_users: tuple[str, ...]
    admin_access: bool
    token_max_age: int
    """Seconds."""
    users: UserServers
    memory: int
    """MiB."""
    protect: bool
    """Whether Pulumi refuses to delete the hub's state."""


class Hub(pulumi.ComponentResource):
    """The hub; before it is gone for good, so are the servers it started."""

    container: pulumi.Output[str]
    """Name of the hub's container."""

    def __init__(
        self, name: str, args: HubArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:hub:Hub", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
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
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        files = self._files(args, certs)
        # In `pulumi destroy`, things go in the opposite order: the hub, the guard that
        # starts servers for it, the servers, networks.
        remove_notebooks = command.local.Command(
            "remove-notebooks",
            # While it can still be mended: that the command is there and reaches the engine.
            create="docker version --format '{{.Server.Version}}'",
            delete=REMOVE_NOTEBOOKS.read_text(),
            environment={"ZHUB_PREFIX": names.prefix, **args.engine.environment},
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[network]),
        )
        its_guard = Guard(
            "guard",
            GuardArgs(
                names=names,
                engine=args.engine,
                image=args.image,
                notebook_image=args.notebook_image,
                filter_image=args.filter_image,
                hub_port=args.port,
                ldap=args.ldap,
                users=args.users,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[remove_notebooks]),
        )
        hub = service(
            "hub",
            names,
            image=args.image,
            # What was uploaded is not part of this container; without these it would not notice.
            labels=[
                {"label": "zhub.certificate", "value": args.certificate.fingerprint},
                {"label": "zhub.ldap-ca", "value": _digest(args.ldap.ca_pem)},
                {"label": "zhub.ldap-password", "value": _password_mark(args)},
            ],
            networks=[network.name, *([args.ldap.network] if args.ldap.network else [])],
            alias="hub",
            memory=args.memory,
            health=["/usr/local/bin/zhub-health", str(args.port)],
            start_seconds=START_SECONDS,
            command=[f"--port={args.port}", f"--ldap={','.join(args.ldap.servers)}"],
            envs=environment(args),
            ports=[{"internal": args.port, "external": args.port, "ip": args.bind_address}],
            volumes=[
                {"volume_name": certs.name, "container_path": CERTIFICATES, "read_only": True},
                {"volume_name": state.name, "container_path": STATE},
                {
                    "volume_name": its_guard.volume,
                    "container_path": guard.FOLDER,
                    "read_only": True,
                },
            ],
            user=f"{USER}:{USER}",
            # A way between users' networks there is none, not even for forged packets.
            sysctls={"net.ipv4.ip_forward": "0"},
            read_only=True,
            tmpfs={"/run": "", "/tmp": ""},  # noqa: S108 - inside the container
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[files, remove_notebooks, its_guard]
            ),
        )
        self.container = hub.name
        self.register_outputs({"container": self.container})

    def _files(self, args: HubArgs, certs: docker.Volume) -> docker.Container:
        """A container that never runs and only puts files into the volume.

        The provider cannot upload into the hub's container itself, whose file system is read-only.
        """
        contents = {
            "hub.key": args.certificate.key_pem,
            "hub.crt": args.certificate.certificate_pem,
        }
        if args.ldap.ca_pem is not None:
            contents[LDAP_CA] = pulumi.Output.from_input(args.ldap.ca_pem)
        if args.ldap.bind_password is not None:
            contents[LDAP_PASSWORD] = pulumi.Output.from_input(args.ldap.bind_password)
        return docker.Container(
            "files",
            name=args.names("files"),
            image=args.image,
            labels=args.names.labels("files"),
            start=False,
            must_run=False,
            # Somebody may start it by hand: it ends at once, and could do nothing meanwhile.
            entrypoints=["/bin/false"],
            capabilities={"drops": ["ALL"]},
            security_opts=["no-new-privileges:true"],
            memory=FILES_MEMORY,
            memory_swap=FILES_MEMORY,
            network_mode="none",
            log_driver="none",
            volumes=[{"volume_name": certs.name, "container_path": CERTIFICATES}],
            uploads=[
                {
                    "file": f"{CERTIFICATES}/{file}",
                    "content": content,
                    "permissions": "0600",
                    "owner": USER,
                    "group": USER,
                }
                for file, content in contents.items()
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )


def environment(args: HubArgs) -> list[pulumi.Input[str]]:
    """What the hub is told; nothing secret, for anybody who may inspect containers reads it."""
    users = args.users
    told: dict[str, pulumi.Input[str]] = {
        "ADMIN_USERS": json.dumps(args.admin_users),
        "ADMIN_ACCESS": json.dumps(args.admin_access),
        "TOKEN_MAX_AGE": str(args.token_max_age),
        "IDLE_TIMEOUT": str(users.idle_timeout),
        "START_TIMEOUT": str(users.start_timeout),
        "SUBDOMAIN_HOST": args.subdomain_host or "",
        "HSTS_SECONDS": str(args.hsts_seconds),
        "CONFINED": "true",
        "TRUSTED_PROXIES": json.dumps(args.trusted_proxies),
    }
    told |= directory(args.ldap)
    told |= guard.servers(args.names, args.notebook_image, users)
    return [
        f"DOCKER_HOST=unix://{guard.SOCKET}",
        *(pulumi.Output.concat("ZHUB_", name, "=", value) for name, value in told.items()),
    ]


def directory(ldap: Ldap) -> dict[str, str]:
    """What the hub is told of the directory, but for its servers; empty is as if not told."""
    return {
        "LDAP_PORT": str(ldap.port or ""),
        "LDAP_TLS": ldap.tls,
        "LDAP_CA_FILE": f"{CERTIFICATES}/{LDAP_CA}" if ldap.ca_pem is not None else "",
        "LDAP_BIND_DN": ldap.bind_dn,
        "LDAP_BIND_PASSWORD_FILE": f"{CERTIFICATES}/{LDAP_PASSWORD}" if ldap.bind_dn else "",
        "LDAP_SEARCH_BASE": ldap.search_base,
        "LDAP_NAME_ATTRIBUTES": json.dumps(ldap.name_attributes),
        "LDAP_USER_FILTER": ldap.user_filter,
        "LDAP_DN_TEMPLATES": json.dumps(ldap.dn_templates) if ldap.dn_templates else "",
        "LDAP_ALLOWED_GROUPS": json.dumps(ldap.allowed_groups),
        "LDAP_ALLOW_EVERYONE": json.dumps(ldap.allow_everyone),
        "LDAP_ADMIN_GROUPS": json.dumps(ldap.admin_groups),
        "LDAP_GROUP_BASE": ldap.group_base,
        "LDAP_NESTED_GROUPS": json.dumps(ldap.nested_groups),
        "LDAP_RECHECK": str(ldap.recheck),
    }


def _digest(pem: pulumi.Input[str] | None) -> pulumi.Input[str]:
    if pem is None:
        return ""
    return pulumi.Output.from_input(pem).apply(lambda pem: hashlib.sha256(pem.encode()).hexdigest())


def _password_mark(args: HubArgs) -> pulumi.Input[str]:
    """What changes with the service account's password and tells nothing of it.

    Everybody who may inspect containers reads labels, and a plain digest would let them try
    passwords out. With the hub's own key in it, only who has that can: and it lies beside the
    password.
    """
    if args.ldap.bind_password is None:
        return ""
    mark = pulumi.Output.all(args.certificate.key_pem, args.ldap.bind_password).apply(
        lambda both: hmac.digest(both[0].encode(), both[1].encode(), hashlib.sha256).hex()
    )
    # Otherwise previews would hide all labels.
    return pulumi.Output.unsecret(mark)
