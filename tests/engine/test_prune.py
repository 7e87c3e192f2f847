"""The widest cleaning that an engine has, on an engine of this test's own: homes stay."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from zhub.guard import homes

from tests.docs.commands import runs
from tests.engine.second_engine import SecondEngine, able, second_engine
from toolchain import base
from toolchain.backup.engine import Engine
from toolchain.engine import client

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: From this version of the engine's API on, named volumes go only if a filter asks for it.
ALL_VOLUMES = (1, 42)


@pytest.fixture
def own(engine: docker.DockerClient, short_folder: Path) -> Iterator[SecondEngine]:
    """An engine whose volumes may go."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    with second_engine(short_folder) as found:
        load(engine, found)
        yield found


def load(engine: docker.DockerClient, own: SecondEngine) -> None:
    own.client.images.load(b"".join(engine.images.get(base.BUILD).save(named=True)))


def in_home(own: SecondEngine, volume: str, command: str) -> str:
    printed: bytes = own.client.containers.run(
        base.BUILD,
        ["-c", command],
        entrypoint="sh",
        volumes={volume: {"bind": "/home/jovyan", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )
    return printed.decode()


def test_homes_stay(engine: docker.DockerClient, own: SecondEngine) -> None:
    root = own.client.info()["DockerRootDir"]
    own.client.volumes.create("zhub-x-home-plain", labels={"zhub.role": "home"})
    by_guard = own.client.volumes.create(
        "zhub-x-home-guard",
        driver="local",
        driver_opts=homes.options(homes.folder(root, "zhub-x-home-guard")),
        labels={"zhub.role": "home"},
    )
    there = Engine((client(), "--host", own.address), "zhub-x")
    there.make_home("zhub-x-home-restored", "restored", mounted=True)
    restored = own.client.volumes.get("zhub-x-home-restored")
    for volume in (by_guard, restored):
        assert homes.plain(volume.attrs)
    for name in ("plain", "guard", "restored"):
        in_home(own, f"zhub-x-home-{name}", f"echo {name} > /home/jovyan/file")

    environment = {**os.environ, "DOCKER_HOST": own.address}
    environment["PATH"] = f"{Path(client()).parent}:{os.environ['PATH']}"
    for command in runs("docs/operations.md", "Clean the engine up", "docker"):
        subprocess.run(
            ["bash", "-c", command], env=environment, input=b"y\n", capture_output=True, check=True
        )
    if tuple(map(int, own.client.version()["ApiVersion"].split("."))) >= ALL_VOLUMES:
        own.client.volumes.prune(filters={"all": ["true"]})

    left = sorted(str(volume.name) for volume in own.client.volumes.list())
    # The engine's commands work: without options, a home is gone.
    assert left == ["zhub-x-home-guard", "zhub-x-home-restored"]
    load(engine, own)
    for name in ("guard", "restored"):
        assert in_home(own, f"zhub-x-home-{name}", "cat /home/jovyan/file") == f"{name}\n"

    # Who removes a home by its name removes its files.
    folder = Path(by_guard.attrs["Mountpoint"])
    assert (folder / "file").exists()
    by_guard.remove()
    assert not folder.exists()
