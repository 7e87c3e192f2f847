"""List the packages in images as CycloneDX JSON, and show what changed: `make sbom`.

Runs in the development environment. No program of an image is run: its files are read from an
export. The same image gives the same file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email import message_from_bytes, message_from_string

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from toolchain import engine, stack
from toolchain.console import Problem, exit_code
from toolchain.places import ROOT

FOLDER = ROOT / "sbom"

#: Files that say what is installed: Debian's, Python's and Node's, and JupyterLab's lists of the
#: licences of the npm packages in its pages. What a site has chosen for users' kernels
#: (notebookRequirements, profiles) is in /usr/local.
DPKG = "var/lib/dpkg/status"
RELEASE = "usr/lib/os-release"
PYTHON = re.compile(
    r"^(?:opt/jupyter|usr/local/lib/python3[.\d]*/dist-packages)/.*\.dist-info/METADATA$"
)
NODE = re.compile(r"^opt/proxy/node_modules/\.package-lock\.json$")
PAGES = re.compile(r"^(?:opt/jupyter|usr/local)/share/jupyter/.*/third-party-licenses\.json$")


def inventory(digest: str) -> dict[str, bytes]:
    """The files of an image that say what is installed, by path without the leading slash.

    Raises:
        Problem: the export failed.
    """
    docker = engine.client()
    container = subprocess.run(
        [docker, "create", f"--platform={engine.image(digest, engine.PLATFORM)}", digest],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    try:
        with (
            subprocess.Popen([docker, "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            found = {
                entry.name: file.read()
                for entry in archive
                if entry.name in {DPKG, RELEASE}
                or any(kind.search(entry.name) for kind in (PYTHON, NODE, PAGES))
                if (file := archive.extractfile(entry))
            }
        if export.returncode:
            raise Problem(f"docker export of {digest} ended with code {export.returncode}")
    finally:
        subprocess.run([docker, "rm", container], stdout=subprocess.DEVNULL, check=True)
    return found


def component(kind: str, name: str, version: str, licence: str = "", **more: str) -> Component:
    """A package as a CycloneDX component.

    Args:
        kind: the package URL's type: deb, pypi or npm.
        name: with its namespace, as in @jupyterlab/apputils.
        version: as the packager writes it.
        licence: an SPDX expression, or what the packager wrote instead.
        more: qualifiers of the package URL.
    """
    namespace, _, short = name.rpartition("/")
    namespace = "debian" if kind == "deb" else namespace
    url = PackageURL(kind, namespace or None, short, version, more)
    return Component(
        name=short,
        group=namespace or None,
        version=version,
        purl=url,
        bom_ref=url.to_string(),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else (),
    )


def debian(files: Mapping[str, bytes]) -> Iterator[Component]:
    """The packages that dpkg has installed."""
    release = re.search(rb'^VERSION_ID="?([^"\n]+)', files[RELEASE], re.MULTILINE)
    distro = f"debian-{release[1].decode()}" if release else "debian"
    for stanza in files[DPKG].split(b"\n\n"):
        package = message_from_bytes(stanza)
        if package["Status"] == "install ok installed":
            architecture = package["Architecture"]
            yield component(
                "deb", package["Package"], package["Version"], arch=architecture, distro=distro
            )


def python(files: Mapping[str, bytes]) -> Iterator[Component]:
    """The packages from PyPI, and those that some of them contain."""
    for path in filter(PYTHON.search, files):
        # As text: of bytes, a field with other characters than ASCII's would be no string.
        package = message_from_string(files[path].decode(errors="replace"))
        name = re.sub(r"[-_.]+", "-", package["Name"]).lower()
        licence = package["License-Expression"] or package["License"] or ""
        # In some packages, the older field has the whole text of the licence.
        yield component("pypi", name, package["Version"], licence if "\n" not in licence else "")


def node(files: Mapping[str, bytes]) -> Iterator[Component]:
    """The packages of the proxy, and those in the pages of JupyterLab and its extensions."""
    for path in filter(NODE.search, files):
        for folder, package in json.loads(files[path])["packages"].items():
            name = folder.rpartition("node_modules/")[2]
            yield component("npm", name, package["version"], package.get("license", ""))
    for path in filter(PAGES.search, files):
        for package in json.loads(files[path])["packages"]:
            name, version = package["name"], package["versionInfo"]
            yield component("npm", name, version, package["licenseId"] or "")


def text(image: str, name: str = "") -> str:
    """The packages of an image, as CycloneDX JSON.

    Args:
        image: its name or digest.
        name: what to call it, where that is something else.

    Raises:
        Problem: the engine does not have the image.
    """
    digest, created = (engine.image(image, field) for field in ("{{.Id}}", "{{.Created}}"))
    files = inventory(digest)
    found = [*debian(files), *python(files), *node(files)]
    whole = Component(
        type=ComponentType.CONTAINER, name=name or image, version=digest, bom_ref=digest
    )
    # The image's id and time, not the current time: the same image gives the same file.
    bom = Bom(
        components={part.purl: part for part in found}.values(),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, digest),
        metadata=BomMetaData(
            timestamp=datetime.fromisoformat(re.sub(r"\.\d+Z$", "Z", created)), component=whole
        ),
    )
    bom.register_dependency(whole, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=1)


def versions(materials: str) -> dict[str, str]:
    """Versions of the packages in a file of `make sbom`; a package's versions are joined."""
    found: dict[str, list[str]] = {}
    for part in json.loads(materials)["components"]:
        url = PackageURL.from_string(part["purl"])
        name = f"{url.type} {'/'.join(filter(None, (url.namespace, url.name)))}"
        found.setdefault(name, []).append(part["version"])
    return {name: " ".join(sorted(several)) for name, several in found.items()}


def changes(before: str, after: str) -> Iterator[str]:
    """One line for each package that was added, removed, or has another version."""
    old, new = versions(before), versions(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'new')} -> {new.get(name, 'gone')}"


def write(images: Mapping[str, str]) -> None:
    """Write a file for each image, and print what changed.

    Args:
        images: what to call them, and their names or digests.

    Raises:
        Problem: the engine does not have one of the images.
    """
    FOLDER.mkdir(exist_ok=True)
    for name, image in images.items():
        file = FOLDER / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.cdx.json"
        before = file.read_text() if file.exists() else None
        after = text(image, name)
        # An interruption must not leave a part of it, with which nothing can be compared.
        new = file.with_suffix(".new")
        new.write_text(after)
        new.replace(file)
        print(f"{file.relative_to(ROOT)}: {len(json.loads(after)['components'])} packages")
        for line in changes(before, after) if before else ():
            print(f"  {line}")


def chosen(name: str, images: Sequence[str]) -> dict[str, str]:
    """Return those images, or else the stack's.

    Raises:
        Problem: none is named, and the stack is not up.
    """
    found = stack.images(name, images)
    if not found:
        raise Problem(
            f"stack {name} has no images yet: make up{stack.named(name)} builds them; to look at"
            " others: IMAGES=NAME"
        )
    return found


if __name__ == "__main__":
    sys.exit(exit_code(lambda: write(chosen(sys.argv[1], sys.argv[2:]))))
