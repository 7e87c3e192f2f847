"""Builds the real images once, and starts containers of them on the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container
from docker.types import EndpointConfig

from components.settings import machine, parsing
from tests.pki import Identity
from toolchain import base
from toolchain.engine import client as docker_command
from toolchain.places import ROOT

PASSWORDS = {"alice": "wonder land 1", "bob": "grün & blau", "carol": "a,b=c+d"}
"""Passwords of the directory's users; one has a space, one a character of two bytes in UTF-8."""

DIRECTORY: dict[str, Any] = {
    "alice": {"password": PASSWORDS["alice"], "unit": "people", "groups": ["jupyter"]},
    "bob": {"password": PASSWORDS["bob"], "unit": "people", "groups": ["jupyter", "admins"]},
    "carol": {"password": PASSWORDS["carol"], "unit": "people", "groups": []},
    "hub": {"password": "of the service", "unit": "services", "groups": []},
}
"""The demo directory's users, in the form of users.json."""


@dataclass(frozen=True)
class Images:
    """Names of the images on the engine."""

    notebook: str
    hub: str
    directory: str
    filter: str


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> Images:
    """Build the images as the program does, so that both use the same cached layers."""
    built = Images(
        *(f"zhub-test-{folder}:latest" for folder in ("notebook", "hub", "directory", "filter"))
    )
    site = site_args()
    defaults = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    chosen = {
        "NOTEBOOK_PACKAGES": " ".join(sorted(defaults["notebookPackages"]["default"])),
        "NOTEBOOK_REQUIREMENTS": " ".join(sorted(defaults["notebookRequirements"]["default"])),
    }
    labels = {"SOURCE": "https://git.example.com/jupyterhub", "VERSION": "1.2"}
    build(
        "notebook",
        built.notebook,
        {"BASE_IMAGE": base.TARGET, **chosen, **labels, **site},
    )
    build(
        "hub",
        built.hub,
        {
            "NOTEBOOK_IMAGE": built.notebook,
            "NOTEBOOK_DIGEST": str(engine.images.get(built.notebook).id),
            "NPM_REGISTRY": machine.npm_registry(),
            **labels,
            **site,
        },
    )
    build("directory", built.directory, {"BASE_IMAGE": base.TARGET, "BUILD_IMAGE": base.BUILD})
    build("filter", built.filter, {"BUILD_IMAGE": base.BUILD})
    return built


@pytest.fixture(scope="session")
def bare_notebook(images: Images) -> str:
    """Build a notebook image without chosen packages, and return its name."""
    name = "zhub-test-notebook-bare:latest"
    build("notebook", name, {"BASE_IMAGE": base.TARGET, **site_args()})
    return name


def site_args() -> dict[str, str | None]:
    """Build arguments that depend on where the tests run."""
    return {
        "BUILD_IMAGE": base.BUILD,
        "EXTRA_CA": parsing.ca_certificates(machine.ca_certificates()),
        "PIP_INDEX_URL": machine.pip_index_url(),
    }


def build(
    folder: str,
    tag: str,
    args: Mapping[str, str | None],
    platform: str = "linux/s390x",
    root: Path = ROOT,
) -> None:
    """Build an image of `images/`; if that fails, fail the test with the build's last lines.

    Args:
        folder: in `images/`, with the Dockerfile.
        tag: the image's name.
        args: of the build.
        platform: of the image.
        root: where `images/` is.
    """
    arguments = [
        part for name, value in args.items() for part in ("--build-arg", f"{name}={value}")
    ]
    built = subprocess.run(
        [
            *(docker_command(), "build", f"--platform={platform}", f"--tag={tag}"),
            *(f"--file=images/{folder}/Dockerfile", *arguments, "images"),
        ],
        cwd=root,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert built.returncode == 0, "\n".join(built.stdout.splitlines()[-60:])


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@dataclass(frozen=True)
class Site:
    """Surroundings of a hub under test: unique names, a network, a directory, an authority."""

    engine: docker.DockerClient
    images: Images
    prefix: str
    folder: Path
    authority: Identity

    @property
    def ca_file(self) -> Path:
        """The authority's certificate."""
        return self.folder / "authority" / "ca.crt"

    def certificate(self, name: str, *names: str) -> Path:
        """Make a folder with a key and certificate of the site's authority; return the folder."""
        folder = self.folder / uuid.uuid4().hex
        Identity.create(*names, issuer=self.authority).write(folder, name)
        return folder

    def start(
        self,
        name: str,
        image: str,
        files: Path,
        *,
        command: list[str] | None = None,
        ports: dict[int, int] | None = None,
        **options: Any,
    ) -> Container:
        """Start a container with files at /certs, in the site's network under its name.

        `ports` of the container are published on loopback; 0 stands for any free port.
        """
        volumes = [f"{files}:/certs:ro", *options.pop("volumes", [])]
        container = self.engine.containers.create(
            image,
            command,
            name=f"{self.prefix}-{name}",
            labels={"zhub.stack": self.prefix},
            platform="linux/s390x",
            volumes=volumes,
            ports={
                f"{inside}/tcp": ("127.0.0.1", outside) for inside, outside in (ports or {}).items()
            },
            network=f"{self.prefix}-hub",
            networking_config={
                f"{self.prefix}-hub": EndpointConfig(version="1.40", aliases=[name])
            },
            **options,
        )
        container.start()
        container.reload()
        return container


HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/run": "", "/tmp": ""},  # noqa: S108 - inside the container
    "cap_drop": ["ALL"],
    "cap_add": ["SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE"],
    "security_opt": ["no-new-privileges"],
}
"""Options with which the program runs the hub and the directory."""


@pytest.fixture(scope="session")
def site(
    engine: docker.DockerClient, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A network with a directory named `directory` in it, which tests reach on loopback."""
    prefix = f"zhub-test-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("site")
    authority = Identity.create("Test authority", authority=True)
    authority.write(folder / "authority", "ca")
    labels: dict[str, str | list[str] | bool] = {"label": f"zhub.stack={prefix}"}
    try:
        engine.networks.create(f"{prefix}-hub", labels={"zhub.stack": prefix})
        site = Site(engine, images, prefix, folder, authority)
        files = site.certificate("directory", "directory", "127.0.0.1")
        (files / "users.json").write_text(json.dumps(DIRECTORY))
        directory = site.start(
            "directory", images.directory, files, ports={389: 0, 636: 0}, **HARDENED
        )
        wait_until(lambda: directory.exec_run("directory-health").exit_code == 0, seconds=60)
        yield site
    finally:
        for container in engine.containers.list(all=True, filters=labels):
            container.remove(force=True, v=True)
        for network in engine.networks.list(filters=labels):
            network.remove()
        for volume in engine.volumes.list(filters={"name": prefix}):
            volume.remove()


def bridge_address(engine: docker.APIClient) -> str:
    """The address of the engine's machine on the engine's own bridge, which has no filters."""
    config = engine.inspect_network("bridge")["IPAM"]["Config"]
    [subnet] = [pool["Subnet"] for pool in config if "." in pool["Subnet"]]
    return str(IPv4Network(subnet)[1])


def wait_until(done: Callable[[], bool], *, seconds: float) -> None:
    """Poll until the answer is true: often at first, since some things take milliseconds."""
    end = time.monotonic() + seconds
    pause = 0.01
    while not done():
        assert time.monotonic() < end, f"not after {seconds} s"
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def healthy(container: Container) -> bool:
    """Whether the container's own health check says so."""
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"]) == "healthy"
