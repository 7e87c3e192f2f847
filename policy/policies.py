"""The policies, one for each kind of resource; docs/security.md has the threat model.

Policies check what the program declares. They see neither what the images do nor what the guard
lets the hub start; other tests check those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import allowed
import containers
import own_settings
import services
from allowed import Table
from own_settings import CONFIG
from pulumi_policy import (
    EnforcementLevel,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from rules import UNKNOWN, fields, plain, shown

CONTAINER = "docker:index/container:Container"
SERVICE = "docker:index/service:Service"
IMAGE = "docker:index/image:Image"

#: The setting that says how names begin; without it, that follows from the stack's name.
PREFIX = "zhub:prefix"

#: The image that a container runs, by the container's name.
IMAGE_OF = {
    "hub": "hub",
    "hub-beside-proxy": "hub",
    "proxy": "proxy",
    "front": "filter",
    "guard": "hub",
    "files": "hub",
    "directory": "directory",
    "notebookimage": "notebook",
    "filterimage": "filter",
}

#: The image that a service's containers run, by the service's name.
IMAGE_OF_SERVICE = {"nodeguard": "hub", "nodefilter": "filter", "nodenotebook": "notebook"}

#: The image that a variable names, by the variable's name.
IMAGE_IN = {"ZHUB_NOTEBOOK_IMAGE": "notebook", "ZHUB_FILTER_IMAGE": "filter"}

#: The variable that names images of profiles, by the profiles' names.
IMAGES_IN = "ZHUB_PROFILE_IMAGES"


def prefix(urn: str) -> str:
    """Return the prefix of all of a stack's names on the engine.

    It is the stack's setting, or follows from its name, which is in the URN of each resource.
    """
    default = f"zhub-{urn.split('::', maxsplit=1)[0].removeprefix('urn:pulumi:')}"
    return CONFIG.get(PREFIX) or default


@cache  # a preview asks for each resource and each policy
def tables(own: str) -> dict[str, dict[str, Table]]:
    """Return the tables by policy and by resource type, for a stack with that prefix."""
    return {
        "containers": {CONTAINER: containers.containers(own)},
        "services": {SERVICE: services.services(own)},
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
    "containers": "Only containers of the project's roles, each with no more than its role needs.",
    "services": "Only services of the project's roles, each with no more than its role needs.",
    "images": "Only images of the folders in images/, for the configured platform.",
    "networks": "Only this stack's own bridges.",
    "volumes": "Only this stack's own volumes, on the engine's disk.",
    "commands": "Only the project's command, by the digests of its scripts.",
    "keys": "Only keys and certificates of the project's own servers.",
    "providers": "Only the project's providers, without plugins from other sources.",
    "components": "Only the project's components.",
}


def policy(name: str) -> ResourceValidationPolicy:
    """Return the policy of that name, for the resource types in its tables."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        table = tables(prefix(args.urn))[name].get(args.resource_type)
        if table is None:
            return
        rules = (rule for pattern, rule in table.items() if re.fullmatch(pattern, args.name))
        rule = next(rules, None)
        if rule is None:
            report(f"{args.name}: is not one of this project's: {', '.join(table)}", None)
            return
        for problem in rule(plain(args.props) or {}):
            report(f"{args.name}: {problem.removeprefix('.')}", None)

    return ResourceValidationPolicy(name, SUMMARIES[name], validate)


def known_types(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Report resources of a type that no policy here checks."""
    if not any(args.resource_type in kinds for kinds in tables("").values()):
        report(f"{args.name}: no policy knows the type {args.resource_type}", None)


def own_images(args: StackValidationArgs, report: ReportViolation) -> None:
    """Report what runs, or will start, images other than those this stack builds."""
    images = [one for one in args.resources if one.resource_type == IMAGE]
    digests = {one.name: _property(one, "repoDigest") for one in images}
    for one in args.resources:
        if one.resource_type not in {CONTAINER, SERVICE}:
            continue
        if not _runs_own(one, digests):
            image, its = shown(_image(one)), _its(one)
            report(f"{one.name}: image is {image}; allowed: that of the Image {its}", one.urn)
        for line in _lines(plain(one.props) or {}):
            for name, value, its in _named_images(line):
                if value != digests.get(its):
                    report(
                        f"{one.name}: {name} is {shown(value)}; allowed: that of the Image {its}",
                        one.urn,
                    )


def _named_images(line: str) -> Iterator[tuple[str, Any, str]]:
    """Yield each image that a variable names: where, its digest, and the Image that it must be."""
    name, _, value = line.partition("=")
    if name == IMAGES_IN:
        for profile, digest in json.loads(value).items():
            yield f"{name}[{profile}]", digest, f"profile_{profile.replace('-', '_')}"
    elif name.endswith("_IMAGE"):
        yield name, value, IMAGE_IN.get(name, "")


def own_network(args: StackValidationArgs, report: ReportViolation) -> None:
    """Report containers that join the network of any other container than the stack's front."""
    for one in args.resources:
        mode = _property(one, "networkMode")
        if one.resource_type != CONTAINER or mode in {None, "bridge", "none"}:
            continue
        joined = one.property_dependencies.get("networkMode", [])
        if [(each.resource_type, each.name) for each in joined] != [(CONTAINER, "front")]:
            report(f"{one.name}: networkMode is {shown(mode)}; allowed: that of front", one.urn)


def _image_of(container: str) -> str | None:
    if container.startswith("profileimage_"):
        return container.replace("image", "", 1)
    return IMAGE_OF.get(container)


def own_configuration(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Report a file of the site's own that the hub runs: no policy sees what it does."""
    uploads = (plain(args.props) or {}).get("uploads") or ()
    used = [
        one.get("file")
        for one in uploads
        if one is not UNKNOWN and one.get("content") != containers.UNUSED
    ]
    if args.resource_type == CONTAINER and containers.OWN_CONFIG in used:
        report(
            f"{args.name}: hubConfigFile is set, so the hub runs a file of this stack's own, which"
            " can change all that the hub does; read it",
            None,
        )


def stacks_own_settings(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Report what hub and guard are told of logins and networks that no setting says."""
    props = plain(args.props) or {}
    if args.resource_type == CONTAINER and args.name == "proxy":
        found = own_settings.of_proxy(props.get("command"))
    elif args.resource_type in {CONTAINER, SERVICE}:
        found = own_settings.problems(args.name, _lines(props))
    else:
        return
    for problem in found:
        report(f"{args.name}: {problem}", None)


def _runs_own(one: PolicyResource, digests: Mapping[str, Any]) -> bool:
    name = _its(one)
    whole = one.resource_type == SERVICE
    made = one.property_dependencies.get("taskSpec" if whole else "image", [])
    found = [(each.resource_type, each.name) for each in made]
    # All of a service's task is one property, which other images may be in as well.
    if (IMAGE, name) not in found if whole else found != [(IMAGE, name)]:
        return False
    # In a preview that changes the image, both are unknown.
    return bool(_image(one) == digests.get(name or ""))


def _its(one: PolicyResource) -> str | None:
    if one.resource_type != SERVICE:
        return _image_of(one.name)
    if one.name.startswith("nodeprofile_"):
        return one.name.removeprefix("node")
    return IMAGE_OF_SERVICE.get(one.name)


def _container(props: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a service's containers are."""
    task = props.get("taskSpec")
    found = task.get("containerSpec") if isinstance(task, dict) else None
    return found if isinstance(found, dict) else {}


def _image(one: PolicyResource) -> Any:
    props = plain(one.props) or {}
    return (_container(props) if one.resource_type == SERVICE else props).get("image")


def _lines(props: Mapping[str, Any]) -> Iterator[str]:
    """Yield the variables that are known; others have the digest of an image not built yet."""
    given = _container(props).get("env") or {}
    yield from (f"{name}={value}" for name, value in given.items() if value is not UNKNOWN)
    yield from (line for line in props.get("envs") or () if line is not UNKNOWN)


def _property(resource: PolicyResource, name: str) -> Any:
    return (plain(resource.props) or {}).get(name)


POLICIES = [
    *(policy(name) for name in SUMMARIES),
    ResourceValidationPolicy("known-types", "Only resource types with a policy.", known_types),
    ResourceValidationPolicy(
        "own-configuration",
        "No configuration of the site's own in the hub.",
        own_configuration,
        EnforcementLevel.ADVISORY,
    ),
    ResourceValidationPolicy(
        "own-settings",
        "Who gets in, and what users reach, is what the stack's settings say.",
        stacks_own_settings,
    ),
    StackValidationPolicy("own-images", "Containers run only their stack's images.", own_images),
    StackValidationPolicy(
        "own-network", "Only hub and proxy share a network, that of front.", own_network
    ),
]
