"""What is in the images, and what is not. Reads the files from outside, without running them."""

from __future__ import annotations

import hashlib
import posixpath
import re
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import cast

import docker
import pytest

from tests.built import Images
from toolchain import base
from toolchain.places import ROOT

pytestmark = pytest.mark.engine

MB = 1_000_000
JUPYTER = "opt/jupyter/lib/python3.13/site-packages"

#: Python files without bytecode: not imported as modules, or not for this Python version.
NOT_COMPILED = re.compile(
    "jedi/third_party|debugpy/_vendored|alembic/templates|jupyterhub/alembic|/tests?/"
)


@dataclass(frozen=True)
class Contents:
    """The files of an image."""

    files: dict[str, tarfile.TarInfo]
    """By path, without the leading slash."""
    archive: tarfile.TarFile

    def read(self, path: str) -> bytes:
        """Return the content of a regular file; follows hard links."""
        content = self.archive.extractfile(self.files[path])
        assert content is not None, path
        return content.read()

    def paths(self, pattern: str) -> Iterator[str]:
        """Return the paths that contain the pattern."""
        return filter(re.compile(pattern).search, self.files)

    def resolve(self, path: str) -> str | None:
        """Return a path with all links resolved; None if it does not exist."""
        for _ in range(40):
            parts = path.split("/")
            for depth in range(1, len(parts) + 1):
                here = "/".join(parts[:depth])
                entry = self.files.get(here)
                if entry is not None and entry.issym():
                    target = posixpath.join("/", posixpath.dirname(here), entry.linkname)
                    rest = parts[depth:]
                    path = posixpath.normpath("/".join([target, *rest])).lstrip("/")
                    break
            else:
                return path if path in self.files else None
        return None


def contents(engine: docker.DockerClient, image: str) -> Iterator[Contents]:
    container = engine.containers.create(image, platform="linux/s390x")
    try:
        with TemporaryFile() as file:
            for chunk in cast("Iterator[bytes]", container.export()):
                file.write(chunk)
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                yield Contents({entry.name: entry for entry in archive}, archive)
    finally:
        container.remove(force=True)


@pytest.fixture(scope="module")
def notebook(engine: docker.DockerClient, images: Images) -> Iterator[Contents]:
    yield from contents(engine, images.notebook)


@pytest.fixture(scope="module")
def hub(engine: docker.DockerClient, images: Images) -> Iterator[Contents]:
    yield from contents(engine, images.hub)


@pytest.fixture(params=["notebook", "hub"])
def image(request: pytest.FixtureRequest) -> Contents:
    found: Contents = request.getfixturevalue(request.param)
    return found


def test_the_hub_has_every_layer_of_the_notebook(
    engine: docker.DockerClient, images: Images
) -> None:
    layers = {
        name: engine.images.get(name).attrs["RootFS"]["Layers"]
        for name in (images.notebook, images.hub)
    }
    notebook = layers[images.notebook]
    assert layers[images.hub][: len(notebook)] == notebook


def test_sizes(engine: docker.DockerClient, images: Images, bare_notebook: str) -> None:
    bare, notebook, hub = (
        engine.images.get(name).attrs["Size"]
        for name in (bare_notebook, images.notebook, images.hub)
    )
    assert bare <= 290 * MB
    assert notebook <= 900 * MB
    assert hub - notebook <= 115 * MB


def test_labels_say_what_an_image_is_made_from(engine: docker.DockerClient, images: Images) -> None:
    labels = {
        name: {
            key.removeprefix("org.opencontainers.image."): value
            for key, value in engine.images.get(name).labels.items()
        }
        for name in (images.notebook, images.hub)
    }
    for found in labels.values():
        assert found["source"] == "https://git.example.com/jupyterhub"
        assert found["version"] == "1.2"
    assert labels[images.notebook]["base.name"] == base.TARGET
    assert labels[images.hub]["base.name"] == images.notebook
    assert labels[images.hub]["base.digest"] == engine.images.get(images.notebook).id


def test_what_is_not_needed_is_not_there(image: Contents) -> None:
    unwanted = (
        r"\.(deb|o)$",
        r"^opt/.*\.(map|a|whl)$",
        r"^var/lib/apt/lists/[^/]*_",
        r"^var/cache/apt/.*\.bin$",
        r"^var/(log|cache/debconf|lib/dpkg)/.*(-old|\.log)$",
        r"^(root|home/jovyan)/\.(cache|npm|config)",
        r"^usr/(local/)?s?bin/(gcc|cc|g\+\+|ld|as|rustc|cargo|npm|npx|yarn)$",
        r"^usr/share/unicode/.",
        r"^opt/.*/site-packages/(.*/)?tests?/(test_|conftest)",
        r"/(numpy|scipy|pandas|sklearn|statsmodels|matplotlib|sympy)/(.*/)?tests/(test_|conftest)",
        r"^(build|mnt|debs|unpacked)/",
        r"^tmp/",
    )
    assert [path for pattern in unwanted for path in image.paths(pattern)] == []


def test_the_home_is_the_users(image: Contents) -> None:
    for path in image.paths(r"^home/jovyan"):
        entry = image.files[path]
        assert (entry.uid, entry.gid) == (1000, 1000), path


def test_only_the_home_belongs_to_the_user(image: Contents) -> None:
    """No user can change the server's own files. In the hub's image, 1000 is the hub."""
    owned = {path for path, entry in image.files.items() if entry.uid == 1000}
    assert {path for path in owned if not path.startswith("home/jovyan")} <= {
        "srv/jupyterhub",
        "run/proxy",
    }
    for path in image.paths(r"^(opt|usr|etc)/"):
        entry = image.files[path]
        assert entry.issym() or not entry.mode & 0o022, f"others may write {path}"


def test_dpkg_has_installed_all_packages(image: Contents) -> None:
    status = image.read("var/lib/dpkg/status").decode()
    assert set(re.findall(r"^Status: (.*)$", status, re.MULTILINE)) == {"install ok installed"}
    assert not any(image.paths(r"^var/lib/dpkg/(updates|triggers)/[0-9]"))


def excludes(text: str) -> list[re.Pattern[str]]:
    """The patterns of files that dpkg leaves out, in options or in its config."""
    return [
        re.compile(re.escape(pattern).replace(r"\*", ".*"))
        for pattern in re.findall(r"^(?:--)?path-exclude=/(.*)$", text, re.MULTILINE)
    ]


def packages(engine: docker.DockerClient, image: str) -> set[str]:
    """The names of the Debian packages in an image."""
    command = ["dpkg-query", "-W", "-f", "${Package}\\n"]
    listed: bytes = engine.containers.run(image, command, platform="linux/s390x", remove=True)
    return set(listed.decode().split())


def test_packaged_files_are_as_debian_made_them(
    engine: docker.DockerClient, images: Images, image: Contents
) -> None:
    """Packages were repacked: no file may have changed, and only excluded files may be missing.

    Missing is what the base image left out of its own packages, what is left out of the packages
    of slimmed.txt, and what the hub leaves out of Node.
    """
    folder = ROOT / "images/notebook"
    slimmed = set(re.findall(r"^([^#].*)$", (folder / "slimmed.txt").read_text(), re.MULTILINE))
    slim = excludes((folder / "slim.txt").read_text())
    config = "".join(
        image.read(path).decode() + "\n" for path in image.paths(r"^etc/dpkg/dpkg\.cfg\.d/.")
    )
    of_base, of_notebook = (packages(engine, name) for name in (base.TARGET, images.notebook))
    checked = 0
    wrong = []
    for sums in image.paths(r"^var/lib/dpkg/info/.*\.md5sums$"):
        package = re.split(r"[:.]", sums.rpartition("/")[2].removesuffix(".md5sums"))[0]
        if package in slimmed:
            excluded = slim
        else:
            whole = package in of_notebook - of_base
            excluded = [] if whole else excludes(config)
        for line in image.read(sums).decode().splitlines():
            expected, _, path = line.partition("  ")
            found = image.resolve(path)
            checked += 1
            if found is None:
                if not any(pattern.fullmatch(path) for pattern in excluded):
                    wrong.append(f"{path} of {package} is missing")
            elif hashlib.md5(image.read(found)).hexdigest() != expected:  # noqa: S324 - dpkg's own
                wrong.append(f"{path} of {package} has changed")
    assert checked > 2000
    assert wrong == []


def test_python_is_compiled_and_the_bytecode_is_fresh(image: Contents) -> None:
    """A module whose bytecode does not match the source would be compiled at every start."""
    sources = [
        path
        for path in image.paths(r"^(usr/lib/python3|opt/jupyter/lib/python3).*\.py$")
        if image.files[path].isreg() and not NOT_COMPILED.search(path)
    ]
    stale = []
    for path in sources:
        folder, _, name = path.rpartition("/")
        bytecode = f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-313.pyc"
        entry = image.files[path]
        if bytecode in image.files:
            _, flags, mtime, size = struct.unpack("<4sLLL", image.read(bytecode)[:16])
            fresh = flags == 0 and (mtime, size) == (int(entry.mtime), entry.size)
        else:
            fresh = False
        if not fresh:
            stale.append(path)
    assert len(sources) > 5000
    assert stale == []


def test_trusted_certificates_are_there(image: Contents) -> None:
    bundle = image.read("etc/ssl/certs/ca-certificates.crt").count(b"BEGIN CERTIFICATE")
    own = sum(1 for _ in image.paths(r"^usr/local/share/ca-certificates/.*\.crt$"))
    conf = image.read("etc/ca-certificates.conf").decode().splitlines()
    enabled = [line for line in conf if line and line[0] not in "#!"]
    assert bundle == len(enabled) + own
    packaged = set(image.paths(r"^usr/share/ca-certificates/.*\.crt$"))
    assert packaged == {f"usr/share/ca-certificates/{line}" for line in enabled}
    for path in image.paths(r"^etc/ssl/certs/."):
        assert image.resolve(path), f"{path} leads nowhere"
    # OpenSSL finds a certificate in $SSL_CERT_DIR by these names, without reading all of them.
    hashed = {image.resolve(path) for path in image.paths(r"^etc/ssl/certs/[0-9a-f]{8}\.\d+$")}
    assert len(hashed) == bundle
    assert packaged <= hashed


def test_versions_of_debians_python_packages_are_those_of_the_locks(notebook: Contents) -> None:
    """The resolver takes the versions of Debian's packages from images/notebook/debian.txt."""
    pinned = (ROOT / "images/notebook/debian.txt").read_text()
    for name, version in re.findall(r"^(\S+)==(\S+)$", pinned, re.MULTILINE):
        module = name.replace("-", "_")
        folder = r"^usr/lib/python3/dist-packages/"
        found = notebook.paths(
            rf"(?i){folder}{module}-{re.escape(version)}(\+dfsg\d*)?\.(dist|egg)-info"
        )
        assert any(found), f"{name} {version} is not in the image"


def test_the_packet_filter_is_tiny_and_for_the_engines_own_platform(
    engine: docker.DockerClient, images: Images
) -> None:
    assert engine.images.get(images.filter).attrs["Size"] < 10 * MB
    # Emulated, nft could not work: QEMU does not emulate netfilter's netlink.
    listed: bytes = engine.containers.run(
        images.filter,
        "list ruleset",
        platform="linux/s390x",
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN"],
        remove=True,
    )
    assert listed == b""
