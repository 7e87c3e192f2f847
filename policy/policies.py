"""What a stack may declare, a policy for each kind of resource: the model is in docs/security.md.

A policy looks at what the program declares, so it sees neither what the images do nor what the
guard lets the hub start; those have tests of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import allowed
import containers
import pulumi
from allowed import Table
from pulumi_policy import (
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from rules import UNKNOWN, fields, plain, shown

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/image:Image"

#: The image a container runs, by the container's name.
IMAGE_OF = {
    "hub": "hub",
    "guard": "hub",
    "files": "hub",
    "directory": "directory",
    "notebookimage": "notebook",
    "filterimage": "filter",
}

#: The image a variable tells a container of.
IMAGE_IN = {"ZHUB_NOTEBOOK_IMAGE": "notebook", "ZHUB_FILTER_IMAGE": "filter"}


def prefix(urn: str) -> str:
    """What all names of a stack on the engine begin with.

    The stack's setting, or its name, by the URN of one of its resources.
    """
    default = f"zhub-{urn.split('::', maxsplit=1)[0].removeprefix('urn:pulumi:')}"
    return pulumi.Config("zhub").get("prefix") or default


def tables(own: str) -> dict[str, dict[str, Table]]:
    """By policy and by resource type, what resources may be, for a stack with that prefix."""
    return {
        "containers": {CONTAINER: containers.containers(own)},
        "images": {IMAGE: allowed.images(own)},
        "networks": {"docker:index/network:Network": allowed.networks(own)},
        "volumes": {"docker:index/volume:Volume": allowed.volumes(own)},
        "commands": {"command:local:Command": allowed.commands(own)},
        "keys": {
            "tls:index/privateKey:PrivateKey": allowed.keys(),
            "tls:index/selfSignedCert:SelfSignedCert": allowed.certificates(),
        },
        "providers": allowed.providers(),
        "components": {kind: {name: fields({})} for kind, name in allowed.COMPONENTS.items()},
    }


SUMMARIES = {
    "containers": "Containers of the roles the project has, each with what its role needs.",
    "images": "Images of the folders in images/, for the platform that is configured.",
    "networks": "Bridges of this stack's own.",
    "volumes": "Volumes of this stack's own, on the engine's disk or in memory.",
    "commands": "The one command, by the digest of its scripts.",
    "keys": "Keys and certificates of the project's own servers.",
    "providers": "The providers the project has, without plugins from elsewhere.",
    "components": "The components the project has.",
}


def policy(name: str) -> ResourceValidationPolicy:
    """A policy for the resource types it has tables for."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        table = tables(prefix(args.urn))[name].get(args.resource_type)
        if table is None:
            return
        rules = (rule for pattern, rule in table.items() if re.fullmatch(pattern, args.name))
        rule = next(rules, None)
        if rule is None:
            report(f"{args.name}: is none of those this project has: {', '.join(table)}", None)
            return
        for problem in rule(plain(args.props) or {}):
            report(f"{args.name}: {problem.removeprefix('.')}", None)

    return ResourceValidationPolicy(name, SUMMARIES[name], validate)


def known_types(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Report what none of the policies here judges."""
    if not any(args.resource_type in kinds for kinds in tables("").values()):
        report(f"{args.name}: no policy knows the type {args.resource_type}", None)


def own_images(args: StackValidationArgs, report: ReportViolation) -> None:
    """Report containers that run, or are to start, images other than those this stack builds."""
    images = [one for one in args.resources if one.resource_type == IMAGE]
    digests = {one.name: _property(one, "repoDigest") for one in images}
    for one in args.resources:
        if one.resource_type != CONTAINER:
            continue
        if not _runs_own(one, digests):
            image, its = shown(_property(one, "image")), IMAGE_OF.get(one.name)
            report(f"{one.name}: image is {image}; allowed: that of the Image {its}", one.urn)
        for line in _property(one, "envs") or ():
            # What is not known comes of an image that is not built yet.
            name, _, value = ("", "", "") if line is UNKNOWN else line.partition("=")
            if name.endswith("_IMAGE") and value != digests.get(its := IMAGE_IN.get(name, "")):
                report(
                    f"{one.name}: {name} is {shown(value)}; allowed: that of the Image {its}",
                    one.urn,
                )


def _runs_own(container: PolicyResource, digests: Mapping[str, Any]) -> bool:
    name = IMAGE_OF.get(container.name)
    made = container.property_dependencies.get("image", [])
    if [(one.resource_type, one.name) for one in made] != [(IMAGE, name)]:
        return False
    # In a preview of an image that changes, neither is known.
    return bool(_property(container, "image") == digests.get(name or ""))


def _property(resource: PolicyResource, name: str) -> Any:
    return (plain(resource.props) or {}).get(name)


POLICIES = [
    *(policy(name) for name in SUMMARIES),
    ResourceValidationPolicy("known-types", "Nothing that no policy here knows.", known_types),
    StackValidationPolicy("own-images", "Containers run the images of their stack.", own_images),
]
