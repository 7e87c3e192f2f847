"""Build the images that are compared; measure times and sizes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import yaml

from components.settings import machine
from tests.built import site_args
from toolchain import base
from toolchain.engine import client as docker_command
from toolchain.places import ROOT

SEED = ROOT / "benchmarks" / "seed"


class BuildError(Exception):
    """An image could not be built; the text is a short reason."""


@dataclass(frozen=True)
class Recipe:
    """How to build one image.

    Attributes:
        tag: its name on the engine.
        context: folder with the build's files.
        dockerfile: path of the Dockerfile in it.
        config: path in it of the file that an edit of the hub's config changes.
        arguments: build arguments.
        platform: such as linux/s390x.
    """

    tag: str
    context: Path
    dockerfile: str
    config: str
    arguments: dict[str, str]
    platform: str


def tag(image: str, subject: str, platform: str) -> str:
    """Name of a compared image on the engine."""
    return f"zhub-bench-{subject}-{image}:{platform.rpartition('/')[2]}"


def recipes(subject: str, platform: str) -> tuple[Recipe, Recipe]:
    """How to build a subject's notebook image, and the hub image on it."""
    site = {name: value or "" for name, value in site_args().items()}
    base_image = base.TARGET if platform == f"linux/{base.TARGET_ARCHITECTURE}" else base.BUILD
    notebook_arguments = {"BASE_IMAGE": base_image, **site}
    if subject == "project":
        declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
        for setting in ("notebookPackages", "notebookRequirements"):
            argument = setting.replace("notebook", "notebook_").upper()
            notebook_arguments[argument] = " ".join(sorted(declared[setting]["default"]))
    if subject == "seed":
        del notebook_arguments["BUILD_IMAGE"]
        del site["BUILD_IMAGE"]
        del site["EXTRA_CA"]
    hub_arguments = {
        "NOTEBOOK_IMAGE": tag("notebook", subject, platform),
        "NPM_REGISTRY": machine.npm_registry(),
        **site,
    }

    def recipe(image: str, arguments: dict[str, str]) -> Recipe:
        context, folder = (
            (SEED / image, "") if subject == "seed" else (ROOT / "images", f"{image}/")
        )
        config = "jupyterhub_config.py" if subject == "seed" else "hub/zhub/jupyterhub_config.py"
        return Recipe(
            tag(image, subject, platform),
            context,
            f"{folder}Dockerfile",
            config,
            arguments,
            platform,
        )

    return recipe("notebook", notebook_arguments), recipe("hub", hub_arguments)


def directory(platform: str) -> Recipe:
    """How to build the demo directory that users log in with."""
    bases = {"BASE_IMAGE": base.BUILD, "BUILD_IMAGE": base.BUILD}
    name = tag("directory", "project", platform)
    return Recipe(name, ROOT / "images", "directory/Dockerfile", "", bases, platform)


def packet_filter(platform: str) -> Recipe:
    """How to build the image that sets packet filters."""
    name = tag("filter", "project", platform)
    bases = {"BUILD_IMAGE": base.BUILD}
    return Recipe(name, ROOT / "images", "filter/Dockerfile", "", bases, platform)


def build(recipe: Recipe, *, cached: bool, limit: float) -> float:
    """Build an image; returns the seconds it took.

    Args:
        recipe: what to build.
        cached: whether the engine may use layers of earlier builds.
        limit: seconds after which the build is stopped.

    Raises:
        BuildError: when it fails or takes too long.
    """
    arguments = [
        part for pair in recipe.arguments.items() for part in ("--build-arg", "=".join(pair))
    ]
    options = [] if cached else ["--no-cache"]
    command = [
        *(docker_command(), "build", f"--platform={recipe.platform}", f"--tag={recipe.tag}"),
        *(f"--file={recipe.context / recipe.dockerfile}", *options, *arguments),
        str(recipe.context),
    ]
    begin = time.monotonic()
    try:
        built = subprocess.run(
            command,
            env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"the build was not done after {limit / 60:.0f} minutes") from None
    if built.returncode:
        print("\n".join(built.stdout.splitlines()[-20:]))
        raise BuildError(f"the build failed with code {built.returncode}")
    return time.monotonic() - begin


def forget_downloads() -> None:
    """Empty the caches that builds share; `--no-cache` does not."""
    prune = ["builder", "prune", "--force", "--filter=type=exec.cachemount"]
    subprocess.run([docker_command(), *prune], stdout=subprocess.DEVNULL, check=True)


def rebuild_after_edit(recipe: Recipe, *, limit: float) -> float:
    """Build an image from a copy of its files with one line added; returns the seconds.

    Raises:
        BuildError: when it fails or takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "context")
        shutil.copytree(recipe.context, copy, symlinks=True)
        with (copy / recipe.config).open("a") as file:
            file.write(f"# {uuid.uuid4()}\n")
        edited = replace(recipe, context=copy, tag=f"{recipe.tag}-edited")
        return build(edited, cached=True, limit=limit)


def present(engine: docker.DockerClient, recipe: Recipe) -> bool:
    """Whether the engine has the image."""
    return bool(engine.images.list(name=recipe.tag))


def size(engine: docker.DockerClient, recipe: Recipe) -> float:
    """Size of an image in MB, as `docker images` shows it."""
    return float(engine.images.get(recipe.tag).attrs["Size"]) / 1e6
