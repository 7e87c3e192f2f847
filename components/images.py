"""The images: a notebook server, the hub built from it, and the packet filter beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_docker as docker

from components.settings.build import Build

ROOT = Path(__file__).parents[1]


def built_image(
    folder: str,
    build: Build,
    args: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> docker.Image:
    """Declare the image of `images/<folder>`, and its push where the stack has a registry."""
    registry = build.registry
    return docker.Image(
        folder,
        image_name=image_name(folder, build),
        build=docker.DockerBuildArgs(
            # Relative, so that every checkout finds the image unchanged. All images have the same
            # context, which the Dockerfile's own .dockerignore narrows to what it copies.
            context="images",
            dockerfile=f"images/{folder}/Dockerfile",
            platform=build.platform,
            builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
            args=args,
        ),
        registry=None
        if registry is None
        else docker.RegistryArgs(
            server=registry.address.partition("/")[0],
            username=registry.username,
            password=registry.password,
        ),
        skip_push=registry is None,
        opts=opts,
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


def image_name(folder: str, build: Build) -> str:
    """Name and tag of an image, such as jupyter_hub_s390x:latest."""
    product = "jupyter" if folder in {"notebook", "hub"} else "zhub"
    name = f"{product}_{folder}_{build.platform.rpartition('/')[2]}:latest"
    return f"{build.registry.address}/{name}" if build.registry else name


@dataclass(frozen=True, kw_only=True)
class ImagesArgs:
    build: Build


class Images(pulumi.ComponentResource):
    """All images but the demo directory's, built and, with a registry, pushed.

    A new notebook image makes a new hub image.
    """

    notebook: pulumi.Output[str]
    """Digest of the image users' servers run from; its id on the engine when it is not pushed."""
    hub: pulumi.Output[str]
    """The same of the hub's image."""
    filter: pulumi.Output[str]
    """The same of the image that sets packet filters."""

    def __init__(
        self, name: str, args: ImagesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:images:Images", name, None, opts)
        build = args.build
        site = {
            "BUILD_IMAGE": build.build_image,
            "EXTRA_CA": build.extra_ca_pem,
            "PIP_INDEX_URL": build.pip_index_url,
        }
        notebook = built_image(
            "notebook",
            build,
            {
                "BASE_IMAGE": build.base_image,
                "BASE_DIGEST": build.base_image.partition("@")[2],
                "NOTEBOOK_PACKAGES": " ".join(sorted(build.notebook_packages)),
                **label_args("jupyterlab", build),
                **site,
            },
            pulumi.ResourceOptions(parent=self),
        )
        hub = built_image(
            "hub",
            build,
            {
                # The tag never changes; the digest makes this build follow the notebook's.
                "NOTEBOOK_IMAGE": image_name("notebook", build),
                "NOTEBOOK_DIGEST": notebook.repo_digest,
                "NPM_REGISTRY": build.npm_registry,
                **label_args("jupyterhub", build),
                **site,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[notebook]),
        )
        packet_filter = built_image(
            "filter",
            build,
            {"BUILD_IMAGE": build.build_image, "SOURCE": build.source_url},
            pulumi.ResourceOptions(parent=self),
        )
        self.notebook = notebook.repo_digest
        self.hub = hub.repo_digest
        self.filter = packet_filter.repo_digest
        self.register_outputs({"notebook": self.notebook, "hub": self.hub, "filter": self.filter})
