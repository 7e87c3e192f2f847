"""The image of a profile with packages of its own."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from tests.built import Images, build, site_args
from tests.images.notebook.test_packages import R, built, native, use
from toolchain.places import ROOT

pytestmark = pytest.mark.engine


def of_profile(
    notebook: str, name: str, platform: str = "linux/s390x", root: Path = ROOT, **args: str
) -> str:
    """Build the image of a profile from a notebook image; return its name."""
    tag = f"zhub-test-profile-{name}:latest"
    build("profile", tag, {"NOTEBOOK_IMAGE": notebook, **args, **site_args()}, platform, root)
    return tag


def test_an_unknown_package_is_named(images: Images) -> None:
    with pytest.raises(AssertionError) as failure:
        of_profile(images.notebook, "unknown", PACKAGES="tree python3-nmpy")
    assert (
        "profiles, packages: Debian has no package for s390x that is called python3-nmpy\n"
        in str(failure.value)
    )


def test_it_is_made_from_no_other_stacks_notebook_image(images: Images) -> None:
    with pytest.raises(AssertionError) as failure:
        of_profile(images.notebook, "other", NOTEBOOK_STAMP="another's")
    assert "is not the notebook image that this stack has built" in str(failure.value)


@pytest.mark.long
def test_it_is_the_notebook_image_with_more_packages(engine: docker.DockerClient) -> None:
    """A short sibling is tests/engine/test_workplace.py, with a server of such an image."""
    platform = native(engine)
    notebook = built(engine, "plain", "git")
    # R has a file of settings that the notebook image has, too.
    packages = "r-base-dev python3-dev python3-matplotlib fonts-wqy-microhei"
    image = of_profile(notebook, "r", platform, PACKAGES=packages, REQUIREMENTS="workplace")
    assert "R says 1" in use(engine, image, R)
    shown = use(engine, image, "Rscript -e 'cat(getOption(\"repos\"))'; tail -1 /etc/matplotlibrc")
    assert shown == "https://cloud.r-project.orgfont.family: sans-serif, WenQuanYi Micro Hei\n"
    assert use(engine, image, "python3 -c 'import ipywidgets, plotly; print(1)'") == "1\n"
    same = of_profile(notebook, "r-too", platform, PACKAGES=packages, REQUIREMENTS="workplace")
    assert engine.images.get(same).id == engine.images.get(image).id
    # None of its own: all are in the notebook image.
    assert use(engine, of_profile(notebook, "none", platform, PACKAGES="git"), "echo 1") == "1\n"
