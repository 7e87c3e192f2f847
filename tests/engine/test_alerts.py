"""Each alert of monitoring/ fires in Debian's Prometheus under a real fault, and ends.

One stack, on an engine of its own: only such a one can hang, have a small disk, and take its
machine for a small one. The rules are those of monitoring/, with shorter durations.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.disks import mount_new
from tests.engine.conftest import CONFIG, native, remove_leftovers
from tests.engine.faults import FAULTS, GIB, PROMISED, Scene, certificate, get_the_token
from tests.engine.namespaces import entered, own_mounts
from tests.engine.people import Entrance
from tests.engine.prometheus import PROGRAM, Prometheus, configure, prometheus
from tests.engine.second_engine import SecondEngine, able, second_engine, unmount_below
from tests.engine.stack import Stack, equipped
from tests.monitoring.names import FOLDER
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

SIZE = 20 * GIB
"""Bytes of the engine's disk, most of which is never written."""

WRITTEN = 4 * GIB


@contextmanager
def own_meminfo(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Make a mount namespace with a file in place of /proc/meminfo; yield both."""
    meminfo = folder / "meminfo"
    meminfo.write_text(Path("/proc/meminfo").read_text())
    script = f"mount --bind {shlex.quote(str(meminfo))} /proc/meminfo"
    with own_mounts(folder, script) as mounts:
        yield mounts, meminfo


@pytest.fixture
def scene(
    engine: docker.DockerClient, short_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    if not able() or not shutil.which("mkfs.ext4"):
        pytest.skip("a second engine needs root, ip, iptables, dockerd, and here mkfs.ext4")
    if not shutil.which(PROGRAM):
        pytest.skip("no prometheus: apt-get install prometheus")
    if shutil.disk_usage(short_folder).free < WRITTEN * 1.2:
        pytest.skip(f"images and their build take {WRITTEN // GIB} GiB in {short_folder}")
    data = short_folder / "data"
    # Before the namespace is made, which does not see later ones where mounts are private.
    mount_new(short_folder / "disk", data, SIZE, "mkfs.ext4", "-q")
    try:
        with (
            own_meminfo(short_folder) as (mounts, meminfo),
            second_engine(short_folder, mounts=mounts) as own,
        ):
            own.take(engine.images.get(CONFIG["buildImage"]))
            used = shutil.disk_usage(data).used
            assert used > GIB // 20, "the engine's data is on this disk"
            project = equipped(tmp_path_factory.mktemp("alerts") / "project")
            yield from on(own, Stack("e2e-alerts", project, project=project), meminfo, engine)
    finally:
        unmount_below(short_folder)


def on(
    own: SecondEngine, stack: Stack, meminfo: Path, engine: docker.DockerClient
) -> Iterator[Scene]:
    """Bring the stack up, and Prometheus beside it."""
    port = free_port()
    stack.init(
        native(engine)
        | certificate(stack, 7)
        | {
            "port": port,
            "notebookPackages": [],
            "notebookRequirements": [],
            "engineSocket": str(own.socket),
            "homeLimit": "128M",
            "userMemory": PROMISED,
            "usersMemory": "2G",
            "maxServers": 2,
        }
    )
    stack.on_stack("config set", "docker:host", own.address)
    stack.environment["DOCKER_HOST"] = own.address
    try:
        with entered(own.apart.name):
            stack.up()
            configure(stack.folder, stack, port)
            made = Prometheus(own.apart.name)
            scene = Scene(own, stack, Entrance.of(stack), made, meminfo)
            get_the_token(scene)
            with prometheus(stack.folder, made):
                yield scene
        stack.on_stack("destroy", "--yes")
    finally:
        remove_leftovers(own.client, stack.prefix)


def test_each_alert_fires_and_ends(scene: Scene) -> None:
    for fault, alerts in FAULTS.items():
        steps = fault(scene)
        next(steps)
        scene.prometheus.wait_for(frozenset(alerts), seconds=180)
        if fault is list(FAULTS)[-1]:
            the_dashboard_has_data(scene)
        assert next(steps, "done") == "done"
        print(fault.__name__, scene.prometheus.fired)
    scene.prometheus.wait_for_silence(seconds=300)
    # What fired says of which stack, as the rules have it.
    assert {one["stack"] for one in scene.prometheus.labels} == {scene.stack.name}


def the_dashboard_has_data(scene: Scene) -> None:
    """Each query has an answer on a stack in use, and the stack can be chosen."""
    found = json.loads((FOLDER / "dashboard.json").read_text())
    for panel in found["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$stack", scene.stack.name)
            assert scene.prometheus.query(expression), (panel["title"], expression)
    choice = [one["query"] for one in found["templating"]["list"] if one["name"] == "stack"]
    assert choice == ["label_values(zhub_max_servers, stack)"]
    names = scene.prometheus.get("label/stack/values", **{"match[]": "zhub_max_servers"})
    assert names == [scene.stack.name]
