"""Fixtures: stacks on the real engine, brought up once for the whole session."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import pytest

from tests.engine import mirror as mirrors
from tests.engine.stack import PULUMI, Stack, equipped
from tests.ports import free_port, free_privileged_port
from toolchain.places import ROOT

if TYPE_CHECKING:
    from tests.engine.own_engine import Site


RESEARCH = "cn=research,ou=groups,dc=example,dc=org"
"""Group of the demo directory: alice and carol."""

#: PyPI has no Playwright for s390x, and without it these files cannot even be imported.
collect_ignore = [] if find_spec("playwright") else ["browser"]

#: Config of both test stacks: the demo directory, and the base images of `make base`.
CONFIG: dict[str, Any] = {
    "demoDirectory": True,
    "bindAddress": "127.0.0.1",
    "hostname": "localhost",
    "extraNames": ["127.0.0.1", "hub.example.com"],
    "baseImage": "zhub-base:trixie-s390x",
    "buildImage": "zhub-base:trixie-build",
    "extraCaFile": "system",
    "pipIndexUrl": "system",
    "npmRegistry": "system",
    "protect": False,
}


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine, independent of Pulumi, to check what Pulumi has done."""
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    if not PULUMI.exists():
        pytest.skip("no toolchain: run `make toolchain`")
    yield client
    client.close()


def remove_leftovers(engine: docker.DockerClient, prefix: str) -> None:
    """Remove everything of a test stack, the users' volumes included."""
    labelled: dict[str, Any] = {"label": f"zhub.stack={prefix}"}
    for container in engine.containers.list(all=True, filters=labelled):
        container.remove(force=True)
    for network in engine.networks.list(filters=labelled):
        network.remove()
    for volume in engine.volumes.list(filters=labelled):
        volume.remove()


def native(engine: docker.DockerClient) -> dict[str, Any]:
    """Config for which nothing is emulated, where the engine's machine is of x86-64."""
    if engine.info()["Architecture"] != "x86_64":
        return CONFIG
    return CONFIG | {"platform": "linux/amd64", "baseImage": CONFIG["buildImage"]}


def running_stack(
    engine: docker.DockerClient,
    name: str,
    folder: Path,
    config: dict[str, Any],
    project: Path = ROOT,
) -> Iterator[Stack]:
    """Bring a stack up, yield it, and destroy whatever is left of it.

    Another clone may bring it up; this one destroys it.
    """
    stack = Stack(name, folder, project=project)
    remove_leftovers(engine, stack.prefix)
    stack.init(config)
    try:
        stack.up()
        yield stack
        replace(stack, project=ROOT).on_stack("destroy", "--yes")
    finally:
        remove_leftovers(engine, stack.prefix)
        shutil.rmtree(folder, ignore_errors=True)


def stack_in_checkout(
    engine: docker.DockerClient, name: str, folder: Path, config: dict[str, Any]
) -> Iterator[Stack]:
    """A stack in a checkout of its own, where its stack file and its state are."""
    project = equipped(folder / "project")
    yield from running_stack(engine, name, project, config, project)


def shared_folders(root: Path) -> dict[str, Any]:
    """Config of a team's folder, one for everybody, and data on the engine's machine."""
    team = {"name": "team", "groups": [RESEARCH], "mode": "read-write"}
    folders = [team, {"name": "everybody", "mode": "read-write"}]
    if os.environ.get("DOCKER_HOST", "unix://")[:5] != "unix:":
        return {"sharedFolders": folders}
    (root / "data").mkdir(parents=True)
    (root / "data" / "figures").write_text("read by everybody")
    (root / "data" / "figures").chmod(0o666)
    (root / "data").chmod(0o777)
    data = {"name": "data", "path": "data", "mode": "read-only"}
    return {"sharedFolders": [*folders, data], "sharedRoot": str(root)}


@pytest.fixture(scope="session")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that most tests use."""
    folder = tmp_path_factory.mktemp("e2e")
    config = CONFIG | {"port": free_port(), "homeLimit": "1G", **shared_folders(folder / "shared")}
    yield from running_stack(engine, "e2e", folder, config)


@pytest.fixture(scope="session")
def own_site(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The stack on an engine of its own, for long tests that restart the engine."""
    # It imports from this file.
    from tests.engine.own_engine import own_engine_site

    with own_engine_site(engine, tmp_path_factory.mktemp("own"), "e2e-own") as made:
        yield made


@pytest.fixture(scope="session")
def resolved_localhost() -> Iterator[None]:
    """Resolve names that end in .localhost to this machine, as browsers do (RFC 6761)."""
    ask = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **named: Any) -> Any:
        return ask("127.0.0.1" if str(host).endswith(".localhost") else host, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture(scope="session")
def mirror(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """Address and port of the site's mirror, on a separate address."""
    folder = tmp_path_factory.mktemp("mirror")
    mirrors.fill(folder)
    with (
        mirrors.address_of_its_own(engine, "zhub-test-mirror") as address,
        mirrors.served(folder) as port,
    ):
        yield address, port


@pytest.fixture(scope="session")
def second_stack(
    engine: docker.DockerClient,
    stack: Stack,
    resolved_localhost: None,
    mirror: tuple[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A second stack on the same engine.

    Its users have their own host names, and reach the site's mirror instead of the internet.
    """
    config = CONFIG | {
        "port": free_privileged_port(),
        "hostname": "hub.localhost",
        "subdomainHost": "hub.localhost",
        "adminAccess": True,
        "hstsSeconds": 300,
        "userInternetAccess": False,
        "userAllowedNetworks": [mirror[0]],
        "userPipIndexUrl": f"http://{mirror[0]}:{mirror[1]}/simple",
        "userGitMirrors": [f"https://github.com/=http://{mirror[0]}:{mirror[1]}/git/"],
        "userEnvironment": ["TZ=Asia/Tokyo", f"HTTPS_PROXY=http://{mirror[0]}:9"],
    }
    yield from running_stack(engine, "e2e-second", tmp_path_factory.mktemp("second"), config)
