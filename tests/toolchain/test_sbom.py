"""The bill of materials, compared with the image."""

from __future__ import annotations

import json
import re
from typing import Any

import docker
import pytest
from cyclonedx.schema import SchemaVersion
from packageurl import PackageURL

from tests.built import Images
from toolchain import sbom

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def text(images: Images) -> str:
    return sbom.text(images.hub)


@pytest.fixture(scope="module")
def packages(text: str) -> dict[str, dict[str, PackageURL]]:
    """Versions by type and name."""
    found: dict[str, dict[str, PackageURL]] = {}
    for part in json.loads(text)["components"]:
        url = PackageURL.from_string(part["purl"])
        found.setdefault(url.type, {})[url.name] = url
    return found


def run(engine: docker.DockerClient, image: str, *command: str) -> str:
    printed: bytes = engine.containers.run(
        image, list(command), entrypoint=[], platform="linux/s390x", remove=True
    )
    return printed.decode()


def test_it_is_valid_and_the_same_for_the_same_image(text: str, images: Images) -> None:
    # To import it takes a second, and every run of tests reads this file.
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert sbom.text(images.hub) == text


def test_it_lists_what_the_images_own_tools_list(
    engine: docker.DockerClient, images: Images, packages: dict[str, dict[str, PackageURL]]
) -> None:
    fields = "${Package} ${Version} ${Architecture}\n"
    listed = run(engine, images.hub, "dpkg-query", "--show", f"--showformat={fields}")
    debian = [(u.name, u.version, u.qualifiers["arch"]) for u in packages["deb"].values()]
    assert sorted(debian) == sorted(tuple(line.split()) for line in listed.splitlines())

    folder = "/opt/jupyter/lib/python3.13/site-packages"  # the rest of Python's is Debian's
    own = f"distributions(path=['{folder}'])"
    names = f"from importlib.metadata import *; print(*(found.name for found in {own}))"
    python = run(engine, images.hub, "/opt/jupyter/bin/python3", "-Ic", names).split()
    assert {re.sub("[-_.]+", "-", name).lower() for name in python} <= packages["pypi"].keys()
    assert {"jupyterhub", "jupyterlab", "dockerspawner"} <= packages["pypi"].keys()

    assert packages["npm"]["configurable-http-proxy"].version
    assert packages["npm"]["apputils"].namespace == "@jupyterlab"  # inside Lab's pages


def test_changes_show_added_removed_and_moved_packages(text: str) -> None:
    before: dict[str, Any] = json.loads(text)
    after = json.loads(text)
    [zmq] = [part for part in after["components"] if part["name"] == "python3-zmq"]
    zmq |= {"version": "99", "purl": zmq["purl"].replace(zmq["version"], "99")}
    gone = after["components"].pop(0)
    lines = list(sbom.changes(json.dumps(before), json.dumps(after)))
    assert len(lines) == 2
    assert any(line.startswith("deb debian/python3-zmq: 26") for line in lines)
    assert any(gone["name"] in line and line.endswith("-> gone") for line in lines)


def test_the_packet_filters_packages_are_listed_though_it_has_no_dpkg(images: Images) -> None:
    parts = json.loads(sbom.text(images.filter))["components"]
    assert {"nftables", "libnftables1", "libc6"} <= {part["name"] for part in parts}
