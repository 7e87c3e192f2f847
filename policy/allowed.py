"""What a stack may declare: tables by resource type and name. Anything else is refused.

Names and values are repeated here on purpose, not imported from the program: a change of the
program must not change by accident what is allowed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from rules import (
    ANYTHING,
    POSITIVE,
    Rule,
    both,
    by,
    each,
    fields,
    later,
    matching,
    maybe,
    only,
    shown,
)

Table = dict[str, Rule]
"""Rules for a resource's inputs, by a pattern of its name."""

#: Components only group; they have no inputs, and create nothing themselves.
COMPONENTS = {
    "pulumi:pulumi:Stack": r".*",
    "zhub:certificate:Certificate": r"certificate|directory",
    "zhub:directory:Directory": r"directory",
    "zhub:guard:Guard": r"guard",
    "zhub:hub:Hub": r"hub",
    "zhub:images:Images": r"images",
    "zhub:nodes:Nodes": r"nodes",
    "zhub:proxy:Proxy": r"proxy",
}

#: SHA-256 of the scripts that the only Command runs: when it is created, when it is deleted. Read a
#: changed script before you put its new digest here: it runs on the machine of whoever runs Pulumi.
SCRIPTS = {
    "create": "c6939ad0c5e45bac52cab21debb2f3a12cadcffa55cedd8047d853d0758015bd",
    "delete": "ea4b654486a8acaab55d4104e02b485f3dbb122c91e75d6c004e051a8f8c7624",
}

TEXT = matching(r"[^\0]+", "a text")
FLAG = only(None, False, True)
ENGINE = matching(
    r"(unix|npipe)://\S+|(ssh|tcp)://([^\s/@-][^\s/@]*@)?[\w\[][^\s/]*/?",
    "the address of an engine",
)
DIGEST = matching(r"(\S+@)?sha256:[0-9a-f]{64}", "an image by its digest")
PLATFORM = matching(r"linux/[a-z0-9/]+", "a platform such as linux/s390x")


def _script(name: str) -> Rule:
    def check(value: Any) -> Iterator[str]:
        digest = hashlib.sha256(str(value).encode()).hexdigest()
        if value is None:
            yield f" is not set; allowed: a script with the digest {SCRIPTS[name]}"
        elif digest != SCRIPTS[name]:
            yield (
                f" is a script with the digest {digest}; allowed: {SCRIPTS[name]}."
                " Read what it does before you put its digest into policy/allowed.py"
            )

    return Rule(check)


def _not_secret(value: Any) -> Iterator[str]:
    """Report secrets in a build argument: arguments stay in the image's history."""
    if re.search(r"PRIVATE KEY-----|://[^/\s]*@", str(value)):
        yield " holds a secret, which would stay in the image's history"


def _own_platform(image: Any) -> Iterator[str]:
    """Report another platform than the name's, or none: the provider would use the operator's."""
    name, platform = image.get("imageName"), (image.get("build") or {}).get("platform")
    if f"_{str(platform).removeprefix('linux/')}:" not in str(name):
        yield f".build.platform is {shown(platform)}; allowed: the one in {shown(name)}"


def labels(prefix: str, role: str | Rule) -> Rule:
    """The labels by which the clean-up finds objects, and other labels of the project."""
    return by(
        "label",
        {
            "zhub.stack": fields({"value": only(prefix)}),
            "zhub.role": fields({"value": only(role) if isinstance(role, str) else role}),
        },
        others={r"zhub\.[a-z-]+": fields({"value": ANYTHING})},
    )


def volumes(prefix: str) -> Table:
    """Volumes by name: only on the engine's disk."""

    def local(name: str) -> Rule:
        return fields(
            {
                "name": only(f"{prefix}-{name}"),
                "labels": labels(prefix, name),
                "driver": only(None, "local"),
            }
        )

    found = {name: local(name) for name in ("certs", "state", "guardsocket", "proxy")}
    return {**found, "guardaudit": local("audit")}


def networks(prefix: str) -> Table:
    """Networks by name: bridges, with addresses that the engine chooses."""

    def bridge(name: str, internal: Rule) -> Rule:
        return fields(
            {
                "name": only(f"{prefix}-{name}"),
                "labels": labels(prefix, "network"),
                "driver": only(None, "bridge"),
                "internal": internal,
                "ipv6": only(None, False),
                "ipamDriver": only(None, "default"),
            }
        )

    return {"hub": bridge("hub", only(None, False)), "directory": bridge("directory", only(True))}


def images(prefix: str) -> Table:
    """Images by folder in `images/`, with the build arguments that the Dockerfile takes.

    The tag is the stack's own. The documented names, with the tag latest, are for use by hand only.
    """
    site = ("BUILD_IMAGE", "EXTRA_CA", "PIP_INDEX_URL", "SOURCE", "VERSION")

    def image(name: str, arguments: tuple[str, ...], tag: str = prefix) -> Rule:
        argument = later(maybe(Rule(_not_secret)))
        build = {
            "context": only("images"),
            "contextDigest": ANYTHING,
            "dockerfile": only(f"images/{name}/Dockerfile"),
            "platform": PLATFORM,
            "builderVersion": only("BuilderBuildKit"),
            "args": fields(dict.fromkeys(arguments, argument)),
        }
        account = {"server": TEXT, "username": ANYTHING, "password": ANYTHING}
        inputs = {
            "imageName": matching(rf"(\S+/)?[a-z0-9_-]+:{tag}", f"a name with the tag {tag}"),
            "build": fields(build),
            "registry": maybe(fields(account)),
            "skipPush": FLAG,
            "buildOnPreview": only(None, False),
        }
        return both(fields(inputs), Rule(_own_platform))

    of_notebook = ("NOTEBOOK_IMAGE", "NOTEBOOK_DIGEST", "NOTEBOOK_STAMP")
    return {
        "notebook": image(
            "notebook",
            (
                *(*site, "BASE_IMAGE", "BASE_DIGEST", "STAMP"),
                *("NOTEBOOK_PACKAGES", "NOTEBOOK_REQUIREMENTS"),
            ),
        ),
        "hub": image("hub", (*site, *of_notebook, "NPM_REGISTRY")),
        # Of profiles with packages of their own.
        "profile_[a-z0-9_]+": image(
            "profile",
            ("BUILD_IMAGE", "EXTRA_CA", "PIP_INDEX_URL", *of_notebook, "PACKAGES", "REQUIREMENTS"),
        ),
        "filter": image("filter", ("BUILD_IMAGE", "SOURCE")),
        "proxy": image(
            "proxy", ("BASE_IMAGE", "BUILD_IMAGE", "EXTRA_CA", "NPM_REGISTRY", "SOURCE")
        ),
        "directory": image("directory", ("BASE_IMAGE", "BUILD_IMAGE")),
        "(notebook|hub)-latest": image("latest", ("IMAGE", "DIGEST"), "latest"),
    }


def commands(prefix: str) -> Table:
    """The only command, with variables that name the engine and this stack."""
    variables = {
        "ZHUB_PREFIX": only(prefix),
        "DOCKER_HOST": ENGINE,
        "DOCKER_CERT_PATH": maybe(TEXT),
        "DOCKER_TLS_VERIFY": only(None, "1"),
    }
    return {
        "remove-notebooks": fields(
            {
                "create": _script("create"),
                "delete": _script("delete"),
                "environment": fields(variables),
                # The output would become part of the deletion's environment.
                "addPreviousOutputInEnv": only(False),
            }
        )
    }


def keys() -> Table:
    """Private keys by purpose."""
    return {
        r"certificate|directory": fields(
            {"algorithm": only("RSA"), "rsaBits": only(2048, 3072, 4096)}
        )
    }


def certificates() -> Table:
    """Server certificates, which cannot sign others."""
    uses = ("digital_signature", "key_encipherment", "server_auth")
    return {
        r"certificate|directory": fields(
            {
                "privateKeyPem": ANYTHING,
                "subject": fields({"commonName": TEXT}),
                "dnsNames": ANYTHING,
                "ipAddresses": ANYTHING,
                "allowedUses": each(only(*uses)),
                "validityPeriodHours": POSITIVE,
                "earlyRenewalHours": POSITIVE,
                "setSubjectKeyId": FLAG,
            }
        )
    }


def providers() -> dict[str, Table]:
    """Providers, in the versions that the SDKs name, without plugins from other sources."""
    default = {r"default(_\d+)*": fields({"version": maybe(TEXT)})}
    engine = {"version": maybe(TEXT), "host": ENGINE, "certPath": maybe(TEXT)}
    return {
        "pulumi:providers:docker": {"engine": fields(engine)},
        "pulumi:providers:command": default,
        "pulumi:providers:tls": default,
        # Part of the CLI; the program asks it for the stack's own state.
        "pulumi:providers:pulumi": default,
    }
