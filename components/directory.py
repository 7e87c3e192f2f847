"""An LDAP directory with a few users, for stacks that want to try the hub without their own."""

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
from components.images import built_image
from components.names import Names
from components.service import service
from components.settings.build import Build
from components.settings.ldap import Ldap, LdapTls

BASE = "dc=example,dc=org"

#: Groups of those who may log in, and of those who administer the hub.
MEMBERS, ADMINISTRATORS = "jupyter", "jupyter-admins"

#: What there is to show, and the groups that make it so.
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

#: Seconds; short, for who tries it out waits for it.
RECHECK = 60

#: Name by which the hub reaches the directory, in the network they share.
ALIAS = "directory"

MEMORY = 128
START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class DirectoryArgs:
    """What a Directory is made of."""

    names: Names
    build: Build


class Directory(pulumi.ComponentResource):
    """A directory that answers with TLS, in a network without a way out."""

    ldap: Ldap
    """How the hub asks it."""
    users: pulumi.Output[dict[str, str]]
    """Passwords by user name."""

    def __init__(
        self, name: str, args: DirectoryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:directory:Directory", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        names = args.names
        bases = {"BASE_IMAGE": args.build.base_image, "BUILD_IMAGE": args.build.build_image}
        image = built_image("directory", args.build, bases, child)
        certificate = Certificate(name, CertificateArgs(names=(ALIAS,)), child)
        secrets = certificate.key_pem.apply(passwords)
        self.users = secrets.apply(lambda found: {name: found[name] for name in USERS})
        network = docker.Network(
            name,
            name=names("directory"),
            internal=True,
            labels=names.labels("network"),
            opts=child,
        )
        self.ldap = Ldap(
            servers=(ALIAS,),
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
        service(
            "directory",
            names,
            image=image.repo_digest,
            networks=[network.name],
            alias=ALIAS,
            memory=MEMORY,
            health=["/usr/local/bin/directory-health"],
            start_seconds=START_SECONDS,
            # From root to a user of its own, and nothing else.
            capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"],
            uploads=[
                {"file": f"/certs/{file}", "content": content, "permissions": "0600"}
                for file, content in (
                    ("directory.key", certificate.key_pem),
                    ("directory.crt", certificate.certificate_pem),
                    ("users.json", secrets.apply(entries)),
                )
            ],
            opts=child,
        )
        self.register_outputs({"network": network.name, "users": self.users})


def passwords(key_pem: str) -> dict[str, str]:
    """A password for each account, the same as long as the directory's key is the same."""
    return {
        name: base64.b32encode(
            hmac.digest(key_pem.encode(), f"password of {name}".encode(), hashlib.sha256)[:10]
        )
        .decode()
        .lower()
        for name in (*USERS, SERVICE)
    }


def entries(secrets: Mapping[str, str]) -> str:
    """What the directory's image makes entries from."""
    groups = {name: ROLES[role] for name, role in USERS.items()}
    units = dict.fromkeys(USERS, "people") | {SERVICE: "services"}
    return json.dumps(
        {
            name: {"password": secrets[name], "unit": unit, "groups": groups.get(name, ())}
            for name, unit in units.items()
        }
    )
