"""The images that the program declares."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pulumi
import pytest

from components.images import Images, ImagesArgs
from components.names import Names
from components.settings.build import Platform, Registry
from plugins.docker.context import digest
from tests.components.recorder import Recording, environment, run, run_alone, texts
from tests.components.stack_config import read
from tests.components.stacks import DEMO, REGISTRY_PASSWORD, SITE
from tests.pki import Identity, quick_key
from toolchain.places import ROOT

# Most of these run the whole program, some of them twice.
pytestmark = pytest.mark.slow

NAMES = Names("zhub-test")

PROFILES = {
    "zhub:profiles": json.dumps(
        [
            {"name": "standard"},
            {"name": "r-latest", "packages": ["r-cran-irkernel", "r-base-dev"]},
            {"name": "models", "packages": ["python3-torch"], "requirements": ["workplace"]},
        ]
    )
}
"""The last two have images of their own."""


@pytest.mark.parametrize("platform", Platform)
def test_every_image_is_for_the_configured_platform(platform: Platform) -> None:
    recording = run(DEMO | {"zhub:platform": platform})
    images = recording.all("Image")
    assert {image.inputs["build"]["platform"] for image in images} == {platform}
    architecture = platform.removeprefix("linux/")
    assert {image.inputs["imageName"] for image in images} == {
        f"jupyter_notebook_{architecture}:zhub-test",
        f"jupyter_hub_{architecture}:zhub-test",
        f"zhub_directory_{architecture}:zhub-test",
        f"zhub_filter_{architecture}:zhub-test",
        # The documented ones.
        f"jupyter_notebook_{architecture}:latest",
        f"jupyter_hub_{architecture}:latest",
    }


def test_a_new_notebook_image_makes_a_new_hub_image_and_a_new_container(demo: Recording) -> None:
    notebook, hub = demo.one("Image", "notebook"), demo.one("Image", "hub")
    container = demo.one("Container", "hub")
    digests = {name: demo.outputs[f"{name}Digest"]["value"] for name in ("notebook", "hub")}

    assert notebook.urn in hub.dependencies
    assert hub.inputs["build"]["args"]["NOTEBOOK_DIGEST"] == digests["notebook"]
    assert hub.inputs["build"]["args"]["NOTEBOOK_IMAGE"] == notebook.inputs["imageName"]
    assert container.inputs["image"] == digests["hub"]
    assert hub.urn in container.dependencies
    assert environment(container)["ZHUB_NOTEBOOK_IMAGE"] == digests["notebook"]


def test_profiles_with_packages_have_images_made_from_the_notebook_image(demo: Recording) -> None:
    site = {"zhub:pipIndexUrl": "https://packages.example.com/simple"}
    recording = run(DEMO | PROFILES | site)
    notebook = recording.one("Image", "notebook")
    assert "Image::profile_standard" not in str([one.urn for one in recording.declared])
    images = {name: recording.one("Image", f"profile_{name}") for name in ("r_latest", "models")}
    for image in images.values():
        assert notebook.urn in image.dependencies
        args = image.inputs["build"]["args"]
        assert args["NOTEBOOK_DIGEST"] == notebook.outputs["repoDigest"]
        assert args["NOTEBOOK_IMAGE"] == notebook.inputs["imageName"]
        assert args["NOTEBOOK_STAMP"] == notebook.inputs["build"]["args"]["STAMP"]
        assert args["PIP_INDEX_URL"] == "https://packages.example.com/simple"
    r_latest = images["r_latest"].inputs
    assert r_latest["imageName"] == "zhub_profile_r-latest_s390x:zhub-test"
    assert r_latest["build"]["args"]["PACKAGES"] == "r-base-dev r-cran-irkernel"
    assert images["models"].inputs["build"]["args"]["REQUIREMENTS"] == "workplace"
    # The hub's is made from the notebook image as without them.
    before = demo.one("Image", "hub").inputs["build"]["args"]
    after = recording.one("Image", "hub").inputs["build"]["args"]
    assert after.keys() == before.keys()
    assert notebook.inputs["build"]["args"].keys() == (
        demo.one("Image", "notebook").inputs["build"]["args"].keys()
    )


def test_hub_and_guard_know_the_images_of_profiles_by_digest() -> None:
    for separate in ("false", "true"):
        recording = run(DEMO | PROFILES | {"zhub:separateProxy": separate})
        digests = {
            profile: recording.one("Image", image).outputs["repoDigest"]
            for profile, image in (("r-latest", "profile_r_latest"), ("models", "profile_models"))
        }
        hub = "hub" if separate == "false" else "hub-beside-proxy"
        for name in (hub, "guard"):
            container = recording.one("Container", name)
            assert json.loads(environment(container)["ZHUB_PROFILE_IMAGES"]) == digests
            assert recording.one("Image", "profile_models").urn in container.dependencies
        assert recording.outputs["profile_r_latestDigest"]["value"] == digests["r-latest"]
        for image in ("r_latest", "models"):
            held = recording.one("Container", f"profileimage_{image}").inputs
            assert held["image"] == recording.one("Image", f"profile_{image}").outputs["repoDigest"]
            assert held["name"] == f"zhub-test-profileimage_{image}"


def test_who_uses_no_packages_of_profiles_has_nothing_of_them(demo: Recording) -> None:
    recording = run(DEMO | {"zhub:profiles": '[{"name": "a"}]'})
    assert {one.urn for one in recording.declared} == {one.urn for one in demo.declared}
    for name in ("hub", "guard"):
        assert "ZHUB_PROFILE_IMAGES" not in environment(recording.one("Container", name))


def test_two_stacks_share_no_image_that_anything_is_made_from() -> None:
    """The documented names belong to whoever built last: nothing may depend on them."""
    recordings = [run(DEMO, stack=name) for name in ("one", "two")]
    own = [
        {i.inputs["imageName"] for i in one.all("Image") if not i.name.endswith("-latest")}
        for one in recordings
    ]
    assert not own[0] & own[1]
    for recording, names in zip(recordings, own, strict=True):
        bases = {
            image.inputs["build"]["args"].get(arg)
            for image in recording.all("Image")
            for arg in ("NOTEBOOK_IMAGE", "IMAGE")
        } - {None}
        assert bases < names


def test_each_stack_and_each_notebook_has_its_own_stamp() -> None:
    """By which the build of the hub tells its base from another stack's with the same tag."""
    stamps = set()
    variants = [("one", DEMO), ("two", DEMO), ("one", DEMO | {"zhub:notebookPackages": "[]"})]
    for stack, config in variants:
        recording = run(config, stack=stack)
        [notebook, hub] = (
            recording.one("Image", name).inputs["build"]["args"] for name in ("notebook", "hub")
        )
        assert hub["NOTEBOOK_STAMP"] == notebook["STAMP"]
        stamps.add(notebook["STAMP"])
    assert len(stamps) == len(variants)


def test_what_nothing_else_runs_from_has_a_container_that_holds_it(demo: Recording) -> None:
    held = {"notebookimage": "notebook", "filterimage": "filter"}
    for name, image in held.items():
        container = demo.one("Container", name)
        assert container.inputs["image"] == demo.one("Image", image).outputs["repoDigest"]
        assert container.inputs.get("start", True)
        assert container.inputs["restart"] == "always"


def test_no_image_is_let_go_before_all_are_built_that_hub_and_guard_wait_for() -> None:
    """If one cannot be built, both go on, and start servers from the images of before.

    Those have lost their names to the new ones, so that a plain `docker image prune` takes them
    unless a container runs from them.
    """
    recording = run(DEMO | PROFILES | {"zhub:separateProxy": "true"})
    images = {one.urn for one in recording.all("Image")}
    needed = {
        image
        for name in ("front", "hub-beside-proxy", "guard")
        for image in recording.one("Container", name).dependencies & images
    }
    assert len(needed) == 6
    holders = [
        one
        for one in recording.all("Container")
        if one.inputs.get("stdinOpen") and not one.inputs.get("ports")
    ]
    assert len(holders) == 4
    for holder in holders:
        assert needed <= holder.dependencies | {recording.one("Image", "notebook").urn}


def test_images_are_built_from_folders_that_exist() -> None:
    for image in run(DEMO | PROFILES).all("Image"):
        build = image.inputs["build"]
        assert build["context"] == "images"
        folder = "latest" if image.name.endswith("-latest") else image.name.partition("_")[0]
        assert build["dockerfile"] == f"images/{folder}/Dockerfile"
        assert build["builderVersion"] == "BuilderBuildKit"
        dockerfile = ROOT / build["dockerfile"]
        declared = set(dockerfile.read_text().split())
        unknown = {arg for arg in build["args"] if not any(w.startswith(arg) for w in declared)}
        assert unknown == set(), f"{dockerfile} takes no such build argument"


def test_an_edit_of_one_image_does_not_rebuild_another(tmp_path: Path) -> None:
    """All images have one context; what each Dockerfile's ignore file leaves of it is its own."""
    copy = tmp_path / "images"
    shutil.copytree(ROOT / "images", copy)
    declared = run(DEMO | PROFILES).all("Image")

    def digests() -> dict[str, str]:
        return {
            image.name: digest(str(copy), str(tmp_path / image.inputs["build"]["dockerfile"]))
            for image in declared
        }

    before = digests()
    (copy / "hub" / "zhub" / "jupyterhub_config.py").open("a").write("# edited\n")
    (copy / "directory" / "rootfs" / "etc" / "new").touch()
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {"hub", "directory"}


def test_images_stay_on_the_engine_or_go_to_the_registry(
    demo: Recording, brought: dict[str, str]
) -> None:
    assert all(image.inputs["skipPush"] for image in demo.all("Image"))
    for image in run(brought).all("Image"):
        assert not image.inputs["skipPush"]
        repository = image.inputs["imageName"].removeprefix("registry.example.com:5000/jupyter/")
        assert repository.startswith(("jupyter_", "zhub_filter_"))
        assert repository.endswith(":zhub-test"), "of a registry's names, the stack's own only"
        assert image.inputs["registry"] == {
            "server": "registry.example.com:5000",
            "username": "builder",
            "password": REGISTRY_PASSWORD,
        }


def test_build_arguments_of_a_site(tmp_path: Path) -> None:
    Identity.create("ca.example.com", key=quick_key()).write(tmp_path, "ca")
    recording = run(
        SITE
        | {
            "zhub:extraCaFile": str(tmp_path / "ca.crt"),
            "zhub:pipIndexUrl": "https://packages.example.com/simple",
            "zhub:npmRegistry": "https://packages.example.com/npm",
            "zhub:baseImage": f"registry.example.com/debian:trixie@sha256:{'0' * 64}",
            "zhub:notebookPackages": '["python3-scipy", "python3-numpy"]',
            "zhub:imageSource": "https://git.example.com/jupyterhub",
        }
    )
    ca = (tmp_path / "ca.crt").read_text()
    notebook = recording.one("Image", "notebook").inputs["build"]["args"]
    stamp = notebook.pop("STAMP")
    base = f"registry.example.com/debian:trixie@sha256:{'0' * 64}"
    assert re.fullmatch(r"4\.\d+\.\d+", notebook.pop("VERSION"))
    assert notebook == {
        "BASE_IMAGE": base,
        "BASE_DIGEST": f"sha256:{'0' * 64}",
        "BUILD_IMAGE": base,
        "NOTEBOOK_PACKAGES": "python3-numpy python3-scipy",
        "NOTEBOOK_REQUIREMENTS": "workplace",
        "SOURCE": "https://git.example.com/jupyterhub",
        "EXTRA_CA": ca,
        "PIP_INDEX_URL": "https://packages.example.com/simple",
    }
    hub = recording.one("Image", "hub").inputs["build"]["args"]
    assert hub["EXTRA_CA"] == ca
    assert hub["NOTEBOOK_STAMP"] == stamp
    assert hub["NPM_REGISTRY"] == "https://packages.example.com/npm"


def test_same_certificates_in_another_file_do_not_rebuild(tmp_path: Path) -> None:
    """Order, comments and repetition in the file say nothing about whom to trust."""
    for name in ("a", "b"):
        Identity.create(f"{name}.example.com", key=quick_key()).write(tmp_path, name)
    first, second = ((tmp_path / f"{name}.crt").read_text() for name in ("a", "b"))
    digests = set()
    for content in (first + second, f"# ours\n{second}\n{first}{second}"):
        (tmp_path / "ca.pem").write_text(content)
        recording = run(SITE | {"zhub:extraCaFile": str(tmp_path / "ca.pem")})
        args = recording.one("Image", "notebook").inputs["build"]["args"]
        digests.add(hashlib.sha256(args["EXTRA_CA"].encode()).hexdigest())
    assert len(digests) == 1


def test_alone_they_have_the_digests_of_the_images_as_outputs() -> None:
    def program() -> None:
        images = Images(
            "images", ImagesArgs(names=NAMES, build=read(SITE)[0].build, separate_proxy=True)
        )
        for name in ("notebook", "hub", "filter", "proxy"):
            found = getattr(images, name)
            pulumi.export(name, found.repo_digest if name == "proxy" else found)

    recording = run_alone(program)
    images = {
        image.name: image.outputs["repoDigest"]
        for image in recording.all("Image")
        if not image.name.endswith("-latest")
    }
    assert {name: output["value"] for name, output in recording.outputs.items()} == images
    assert len(set(images.values())) == 4
    [component] = recording.all("Images")
    assert {image.request.parent for image in recording.all("Image")} == {component.urn}
    assert recording.registered[component.urn] == images


@pytest.mark.parametrize("username", ["builder", None])
def test_alone_they_go_to_a_registry_with_or_without_a_password(username: str | None) -> None:
    def program() -> None:
        registry = Registry(
            address="registry.example.com:5000/jupyter",
            username=username,
            password=pulumi.Output.secret(REGISTRY_PASSWORD) if username else None,
        )
        build = replace(read(SITE)[0].build, registry=registry)
        Images("images", ImagesArgs(names=NAMES, build=build, separate_proxy=True))

    recording = run_alone(program)
    known = {"username": username, "password": REGISTRY_PASSWORD} if username else {}
    for image in recording.all("Image"):
        assert image.inputs["registry"] == {"server": "registry.example.com:5000"} | known
        assert REGISTRY_PASSWORD not in texts(image.raw, secret=False)
