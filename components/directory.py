"""An LDAP directory with a few users, for stacks that want to try the hub without their own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.certificate import Certificate, CertificateArgs
from components.images import built_image
from components.ldap import Ldap, LdapTls
from components.names import Names
from components.service import service
from components.settings import Build

USERS = ("alice", "bob", "carol")

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
        self.users = certificate.key_pem.apply(passwords)
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
            dn_templates=("uid={username},ou=people,dc=example,dc=org",),
            allowed_groups=("cn=jupyter,ou=groups,dc=example,dc=org",),
            ca_pem=certificate.certificate_pem,
            network=network.name,
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
                    ("users.json", self.users.apply(json.dumps)),
                )
            ],
            opts=child,
        )
        self.register_outputs({"network": network.name, "users": self.users})


def passwords(key_pem: str) -> dict[str, str]:
    """A password for each demo user, the same as long as the directory's key is the same."""
    return {
        user: base64.b32encode(
            hmac.digest(key_pem.encode(), f"password of {user}".encode(), hashlib.sha256)[:10]
        )
        .decode()
        .lower()
        for user in USERS
    }
