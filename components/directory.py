"""An LDAP directory with a few users, to try the hub without a directory of the site."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.certificate import Certificate, CertificateArgs
from components.images import Source, built_image
from components.names import Names, named
from components.service import ServiceArgs, service
from components.settings.build import Build
from components.settings.ldap import Ldap
from components.settings.ldap_entries import LdapTls
from components.settings.logs import Logs

BASE = "dc=example,dc=org"

#: Groups of those who may log in, and of those who administer the hub.
MEMBERS, ADMINISTRATORS = "jupyter", "jupyter-admins"

#: Groups that have nothing to do with logging in, and who is in them.
TEAMS = {"research": ("alice", "carol"), "analysts": ("alice",)}

#: What a user can show, and the groups that are needed for it.
ROLES = {
    "may log in": (MEMBERS,),
    "administers the hub": (MEMBERS, ADMINISTRATORS),
    "is known, but may not log in": (),
}
MAY, ADMINISTERS, MAY_NOT = ROLES

USERS = {
    "alice": MAY,
    "bob": MAY,
    "carol": MAY,
    "grace": ADMINISTERS,
    "mallory": MAY_NOT,
}

#: The hub's service account.
SERVICE = "hub"

#: Seconds; short, so that nobody who tries the hub out has to wait for the effect.
RECHECK = 60

#: Role of the container, and so its host name in the network that it shares with the hub.
ROLE = "directory"

MEMORY = 128
START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class DirectoryArgs:
    names: Names
    build: Build
    logs: Logs


class Directory(pulumi.ComponentResource):
    """A directory that the hub reaches with TLS, in a network without a way out.

    Users' passwords are made from the directory's key: no other stack has them, and they stay as
    long as the key does. They are secrets to Pulumi.
    """

    ldap: Ldap
    """How the hub connects to it, and whom the hub lets in."""
    users: pulumi.Output[dict[str, str]]
    """Passwords by user name."""
    image: pulumi.Output[str]
    """Digest of its image."""

    def __init__(
        self, name: str, args: DirectoryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:directory:Directory", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names = args.names
        bases = {"BASE_IMAGE": args.build.base_image, "BUILD_IMAGE": args.build.build_image}
        image = built_image(Source("directory"), names, args.build, bases, child)
        self.image = image.repo_digest
        certificate = Certificate(name, CertificateArgs(names=(ROLE,)), child)
        secrets = certificate.key_pem.apply(passwords)
        self.users = secrets.apply(lambda found: {name: found[name] for name in USERS})
        network = docker.Network(
            name,
            name=names("directory"),
            internal=True,
            labels=names.labels("network"),
            opts=named(self),
        )
        self.ldap = Ldap(
            servers=(ROLE,),
            tls=LdapTls.STARTTLS,
            ca_pem=certificate.certificate_pem,
            network=network.name,
            bind_dn=f"uid={SERVICE},ou=services,{BASE}",
            bind_password=secrets[SERVICE],
            search_base=f"ou=people,{BASE}",
            allowed_groups=(f"cn={MEMBERS},ou=groups,{BASE}",),
            admin_groups=(f"cn={ADMINISTRATORS},ou=groups,{BASE}",),
            group_base=f"ou=groups,{BASE}",
            recheck=RECHECK,
        )
        uploads: dict[str, pulumi.Input[str]] = {
            "directory.key": certificate.key_pem,
            "directory.crt": certificate.certificate_pem,
            "users.json": secrets.apply(entries),
        }
        service(
            ROLE,
            ServiceArgs(
                names=names,
                image=image.repo_digest,
                networks=[network.name],
                logs=args.logs,
                memory=MEMORY,
                health=["/usr/local/bin/directory-health"],
                start_seconds=START_SECONDS,
                # To change from root to its own user, and nothing else.
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"],
                uploads=[
                    docker.ContainerUploadArgs(
                        file=f"/certs/{file}", content=content, permissions="0600"
                    )
                    for file, content in uploads.items()
                ],
            ),
            child,
        )
        self.register_outputs({"network": network.name, "users": self.users})


def passwords(key_pem: str) -> dict[str, str]:
    """A password for each account; the same key makes the same passwords."""
    return {
        name: base64.b32encode(
            hmac.digest(key_pem.encode(), f"password of {name}".encode(), hashlib.sha256)[:10]
        )
        .decode()
        .lower()
        for name in (*USERS, SERVICE)
    }


def entries(secrets: Mapping[str, str]) -> str:
    """The accounts, in the JSON from which the directory's image makes its entries."""
    groups = {
        name: (*ROLES[role], *(team for team, members in TEAMS.items() if name in members))
        for name, role in USERS.items()
    }
    units = dict.fromkeys(USERS, "people") | {SERVICE: "services"}
    return json.dumps(
        {
            name: {"password": secrets[name], "unit": unit, "groups": groups.get(name, ())}
            for name, unit in units.items()
        }
    )
