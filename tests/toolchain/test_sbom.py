"""The bill of materials, compared with the image."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import docker
import pytest
from cyclonedx.schema import SchemaVersion
from packageurl import PackageURL

from tests.built import Images
from toolchain import sbom

on_engine = pytest.mark.engine

#: Where Python packages are: the server's own, and what a site has chosen for kernels.
FOLDERS = [
    "/opt/jupyter/lib/python3.13/site-packages",
    "/usr/local/lib/python3.13/dist-packages",  # the rest of Python's is Debian's
]

#: Prints the names and versions of the Python packages, then those in pages of JupyterLab.
LIST = f"""
import json
from importlib.metadata import distributions
from pathlib import Path
for found in distributions(path={FOLDERS}):
    print("pypi", found.name, found.version)
for file in Path("/usr/local/share/jupyter").rglob("third-party-licenses.json"):
    for package in json.loads(file.read_text())["packages"]:
        print("npm", package["name"], package["versionInfo"])
"""


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


@on_engine
def test_it_is_valid_and_the_same_for_the_same_image(text: str, images: Images) -> None:
    # To import it takes a second, and every run of tests reads this file.
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert sbom.text(images.hub) == text


@on_engine
def test_it_lists_what_the_images_own_tools_list(
    engine: docker.DockerClient, images: Images, packages: dict[str, dict[str, PackageURL]]
) -> None:
    fields = "${Package} ${Version} ${Architecture}\n"
    listed = run(engine, images.hub, "dpkg-query", "--show", f"--showformat={fields}")
    debian = [(u.name, u.version, u.qualifiers["arch"]) for u in packages["deb"].values()]
    assert sorted(debian) == sorted(tuple(line.split()) for line in listed.splitlines())

    assert {"jupyterhub", "jupyterlab", "dockerspawner"} <= packages["pypi"].keys()

    assert packages["npm"]["configurable-http-proxy"].version
    assert packages["npm"]["apputils"].namespace == "@jupyterlab"  # inside Lab's pages


@on_engine
def test_it_lists_what_a_site_has_chosen_for_users_kernels(
    engine: docker.DockerClient, images: Images
) -> None:
    """Whether it is in the notebook image, or below the hub, which is made from that."""
    listed = [
        line.split() for line in run(engine, images.notebook, "python3", "-Ic", LIST).splitlines()
    ]
    python = {
        (re.sub("[-_.]+", "-", name).lower(), version)
        for kind, name, version in listed
        if kind == "pypi"
    }
    assert {"jupyterlab", "tqdm", "ipympl"} <= {name for name, _ in python}
    # Names in package URLs of npm are lower case.
    pages = {name.lower() for kind, name, _ in listed if kind == "npm"}
    assert pages
    for image in (images.notebook, images.hub):
        parts = json.loads(sbom.text(image))["components"]
        urls = [PackageURL.from_string(part["purl"]) for part in parts]
        assert python <= {(url.name, url.version) for url in urls if url.type == "pypi"}
        npm = {
            "/".join(filter(None, (u.namespace, u.name))).lower() for u in urls if u.type == "npm"
        }
        assert pages <= npm


def test_packages_of_python_and_pages_are_found_where_images_have_them() -> None:
    def metadata(name: str, licence: str = "MIT") -> bytes:
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\nLicense: {licence}\n"
        return text.encode()

    def page(name: str) -> bytes:
        return json.dumps(
            {"packages": [{"name": name, "versionInfo": "1", "licenseId": "MIT"}]}
        ).encode()

    licences = "static/third-party-licenses.json"
    files = {
        "opt/jupyter/lib/python3.13/site-packages/own-1.dist-info/METADATA": metadata("own"),
        "usr/local/lib/python3.13/dist-packages/set_of-1.dist-info/METADATA": metadata(
            "set_of", "BSD\n        Copyright © its authors"
        ),
        # Of a package that dpkg lists.
        "usr/lib/python3/dist-packages/debian-1.dist-info/METADATA": metadata("debian"),
        f"opt/jupyter/share/jupyter/lab/{licences}": page("@own/page"),
        f"usr/local/share/jupyter/labextensions/x/{licences}": page("@set/page"),
        f"home/jovyan/.local/share/jupyter/labextensions/x/{licences}": page("@user/page"),
    }
    own, chosen = sbom.python(files)
    assert (own.name, len(own.licenses)) == ("own", 1)
    # Not the whole text of a licence.
    assert (chosen.name, len(chosen.licenses)) == ("set-of", 0)
    assert [part.group for part in sbom.node(files)] == ["@own", "@set"]


def test_a_failure_leaves_the_file_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sbom, "FOLDER", tmp_path)
    monkeypatch.setattr(sbom, "ROOT", tmp_path)
    texts = iter(['{"components": []}', "no \ud800 character"])
    monkeypatch.setattr(sbom, "text", lambda *_: next(texts))
    sbom.write({"hub": "sha256:1"})
    with pytest.raises(UnicodeEncodeError):
        sbom.write({"hub": "sha256:2"})
    assert (tmp_path / "hub.cdx.json").read_text() == '{"components": []}'


@on_engine
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


@on_engine
def test_the_packet_filters_packages_are_listed_though_it_has_no_dpkg(images: Images) -> None:
    parts = json.loads(sbom.text(images.filter))["components"]
    assert {"nftables", "libnftables1", "libc6"} <= {part["name"] for part in parts}
