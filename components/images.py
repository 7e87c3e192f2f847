"""The images: a notebook server, the hub built from it, and the packet filter beside them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_docker as docker

from components.holder import holder
from components.names import Names
from components.settings.build import Build
from components.settings.users import Profile

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Source:
    """What an image is made from."""

    folder: str
    """In `images/`, with the Dockerfile."""
    profile: str = ""
    """Name of the one that the image is for, where the folder has an image for each."""

    @property
    def resource(self) -> str:
        """Name of the image as a resource."""
        return of_profile(self.folder, self.profile) if self.profile else self.folder

    def image_name(self, names: Names, build: Build) -> str:
        """Name and tag of the image."""
        name = f"{self.folder}_{self.profile}" if self.profile else self.folder
        return image_name(name, names, build)


def of_profile(role: str, profile: str) -> str:
    """Name of a resource that each of several profiles has."""
    # Profiles' names have no underscore, so that no two become the same; and roles have no hyphen.
    return f"{role}_{profile.replace('-', '_')}"


def built_image(
    source: Source,
    names: Names,
    build: Build,
    args: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> docker.Image:
    """Declare an image, and its push where the stack has a registry."""
    registry = build.registry
    lost = pulumi.ResourceOptions(replacement_trigger=build.lost.get(source.resource, 0))
    return docker.Image(
        source.resource,
        image_name=source.image_name(names, build),
        build=docker.DockerBuildArgs(
            # Relative, so that every checkout finds the image unchanged. All images have the same
            # context, which the Dockerfile's own .dockerignore narrows to what it copies.
            context="images",
            dockerfile=f"images/{source.folder}/Dockerfile",
            platform=build.platform,
            builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
            args=args,
        ),
        registry=None
        if registry is None
        else docker.RegistryArgs(
            server=registry.server,
            username=registry.username,
            password=registry.password,
        ),
        skip_push=registry is None,
        opts=pulumi.ResourceOptions.merge(opts, lost),
    )


def label_args(package: str, build: Build) -> dict[str, str]:
    """Build arguments for an image's labels (OCI image spec, annotations).

    The commit is left out: with it, a change anywhere in the repository would restart the hub.

    Args:
        package: of the notebook image's lock; its version becomes the image's.
        build: says where the source is.
    """
    lock = (ROOT / "images/notebook/requirements.txt").read_text()
    (version,) = re.findall(rf"^{package}==(\S+)", lock, re.MULTILINE)
    return {"SOURCE": build.source_url, "VERSION": version}


def documented_image(
    folder: str, build: Build, image: docker.Image, opts: pulumi.ResourceOptions
) -> None:
    """Give an image its documented name as well, such as jupyter_hub_s390x:latest.

    It is for use by hand and means what was built last, by whichever stack. Nothing here reads it.
    """
    lost = pulumi.ResourceOptions(replacement_trigger=build.lost.get(folder, 0))
    docker.Image(
        f"{folder}-latest",
        image_name=f"{_repository(folder, build)}:latest",
        build=docker.DockerBuildArgs(
            context="images",
            dockerfile="images/latest/Dockerfile",
            platform=build.platform,
            builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
            # The tag never changes; the digest makes the name follow the image.
            args={"IMAGE": image.image_name, "DIGEST": image.repo_digest},
        ),
        skip_push=True,
        opts=pulumi.ResourceOptions.merge(opts, lost),
    )


def stamp(names: Names, build: Build, args: Mapping[str, str]) -> str:
    """What the notebook image has in a file, and the hub's build looks for in its base.

    A tag can be moved by hand, or by a stack of the same name in somebody else's state; then the
    build of the hub fails, and no hub is made from another notebook image than its users get.
    """
    text = json.dumps([names.prefix, build.platform, args], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def image_name(folder: str, names: Names, build: Build) -> str:
    """Name and tag of a stack's own image, such as jupyter_hub_s390x:zhub-dev."""
    name = f"{_repository(folder, build)}:{names.prefix}"
    return f"{build.registry.address}/{name}" if build.registry else name


def _repository(folder: str, build: Build) -> str:
    product = "jupyter" if folder in {"notebook", "hub"} else "zhub"
    return f"{product}_{folder}_{build.platform.rpartition('/')[2]}"


@dataclass(frozen=True, kw_only=True)
class ImagesArgs:
    names: Names
    build: Build
    separate_proxy: bool
    """Whether the proxy has an image of its own. The hub's image has it in any case."""
    profiles: Sequence[Profile] = ()
    """Those that the stack has; some may have packages of their own."""


class Images(pulumi.ComponentResource):
    """All images but the demo directory's, built and, with a registry, pushed.

    A new notebook image makes a new hub image, and a new one of each profile with packages of its
    own. Their names are the stack's own, and none of them goes when somebody prunes the engine.
    """

    notebook: pulumi.Output[str]
    """Digest of the image users' servers run from; its id on the engine when it is not pushed."""
    hub: pulumi.Output[str]
    """The same of the hub's image."""
    filter: pulumi.Output[str]
    """The same of the image that sets packet filters."""
    proxy: docker.Image | None
    """The proxy's image; None without one."""
    profiles: Mapping[str, pulumi.Output[str]]
    """The same of the image of each profile that has one, by the profile's name."""

    def __init__(
        self, name: str, args: ImagesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:images:Images", name, None, opts)
        names, build = args.names, args.build
        child = pulumi.ResourceOptions(parent=self)
        site = {
            "BUILD_IMAGE": build.build_image,
            "EXTRA_CA": build.extra_ca_pem,
            "PIP_INDEX_URL": build.pip_index_url,
        }
        notebook_args = {
            "BASE_IMAGE": build.base_image,
            "BASE_DIGEST": build.base_image.partition("@")[2],
            "NOTEBOOK_PACKAGES": " ".join(sorted(build.notebook_packages)),
            "NOTEBOOK_REQUIREMENTS": " ".join(sorted(build.notebook_requirements)),
            **label_args("jupyterlab", build),
            **site,
        }
        mark = stamp(names, build, notebook_args)
        notebook = built_image(
            Source("notebook"), names, build, notebook_args | {"STAMP": mark}, child
        )
        base: dict[str, pulumi.Input[str]] = {
            # The tag never changes; the digest makes these builds follow the notebook's.
            "NOTEBOOK_IMAGE": image_name("notebook", names, build),
            "NOTEBOOK_DIGEST": notebook.repo_digest,
            "NOTEBOOK_STAMP": mark,
        }
        behind = pulumi.ResourceOptions(parent=self, depends_on=[notebook])
        hub = built_image(
            Source("hub"),
            names,
            build,
            {
                **base,
                "NPM_REGISTRY": build.npm_registry,
                **label_args("jupyterhub", build),
                **site,
            },
            behind,
        )
        of_profiles = {
            profile.name: built_image(
                Source("profile", profile.name),
                names,
                build,
                {
                    **base,
                    "PACKAGES": " ".join(sorted(profile.packages)),
                    "REQUIREMENTS": " ".join(sorted(profile.requirements)),
                    **site,
                },
                behind,
            )
            for profile in args.profiles
            if profile.own_image
        }
        packet_filter = built_image(
            Source("filter"),
            names,
            build,
            {"BUILD_IMAGE": build.build_image, "SOURCE": build.source_url},
            child,
        )
        self.proxy = None
        if args.separate_proxy:
            # Of the base image and not of the notebook's or the hub's: a new digest ends all
            # connections.
            self.proxy = built_image(
                Source("proxy"),
                names,
                build,
                {
                    "BASE_IMAGE": build.base_image,
                    "BUILD_IMAGE": build.build_image,
                    "EXTRA_CA": build.extra_ca_pem,
                    "NPM_REGISTRY": build.npm_registry,
                    "SOURCE": build.source_url,
                },
                child,
            )
        # Nothing else runs from these while no user has a server.
        # They wait for all that hub and guard wait for: where an image cannot be built, both go on
        # with the images of before, which nothing else holds.
        built = [hub, packet_filter, *of_profiles.values(), *([self.proxy] if self.proxy else [])]
        # An engine cannot lose an image that a container runs from. So where it has lost one, the
        # holder was gone before it, and is made again as well.
        for role, folder, image in (
            ("notebookimage", "notebook", notebook),
            ("filterimage", "filter", packet_filter),
            *(
                (of_profile("profileimage", name), of_profile("profile", name), image)
                for name, image in of_profiles.items()
            ),
        ):
            again = pulumi.ResourceOptions(
                parent=self, depends_on=built, replacement_trigger=build.lost.get(folder, 0)
            )
            holder(role, names, image.repo_digest, again)
        if build.registry is None:
            documented_image("notebook", build, notebook, child)
            documented_image("hub", build, hub, child)
        self.notebook = notebook.repo_digest
        self.hub = hub.repo_digest
        self.filter = packet_filter.repo_digest
        self.profiles = {name: image.repo_digest for name, image in of_profiles.items()}
        self.register_outputs(
            {
                "notebook": self.notebook,
                "hub": self.hub,
                "filter": self.filter,
                "proxy": self.proxy and self.proxy.repo_digest,
                **({"profiles": self.profiles} if self.profiles else {}),
            }
        )
