"""Homes that a volume driver makes, on a swarm, from the first start until their users are gone.

The driver is the engine's own, with a folder that the engines share in the place of an NFS server,
which no kernel of these tests can mount.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.engine.people import Entrance
from tests.engine.stack import PULUMI, Stack, equipped
from tests.engine.swarm.conftest import config, stack_on, started_on
from tests.engine.swarm.engines import SwarmEngines
from tests.hubclient import StartFailed

pytestmark = [pytest.mark.engine, pytest.mark.long]


@pytest.fixture(scope="module")
def export(engines: SwarmEngines) -> Path:
    """What an NFS server would export."""
    folder = engines.homes.parent / "export"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="module")
def driven(
    engines: SwarmEngines, export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    assert PULUMI.exists()
    project = equipped(tmp_path_factory.mktemp("state") / "project")
    settings = config(engines)
    del settings["homesPath"]
    options = ["type=none", "o=bind", f"device={export}/{{home}}"]
    settings |= {"homesDriver": "local", "homesOptions": options}
    with stack_on(engines, "e2e-driven", project, settings) as found:
        found.environment["ZHUB_YES"] = "1"
        yield found


def test_homes_of_a_driver(engines: SwarmEngines, export: Path, driven: Stack) -> None:
    _, one, other = engines.nodes
    entrance = Entrance.of(driven)
    home = export / f"{driven.prefix}-home-grace"
    user = started_on(one, engines, driven, entrance, "grace").user
    user.save("kept.txt", "of grace")
    user.stop_server()
    assert (home / "kept.txt").read_text() == "of grace"
    assert home.stat().st_mode & 0o777 == 0o700
    user = started_on(other, engines, driven, entrance, "grace").user
    assert user.read("kept.txt") == "of grace"
    user.stop_server()
    # What was mounted to make the folder is gone.
    volumes = engines.manager.client.volumes.list(filters={"label": "zhub.role=guard-helper"})
    assert not volumes

    in_another_home(engines, driven, entrance, export)
    comes_back(driven, home)
    is_forgotten(driven, export, home)
    assert "unchanged" in driven.up()


def in_another_home(engines: SwarmEngines, stack: Stack, entrance: Entrance, export: Path) -> None:
    """A volume with the name of a home, and other options, is no home."""
    elsewhere = export / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    name = f"{stack.prefix}-home-carol"
    node = engines.nodes[1]
    options = {"type": "none", "o": "bind", "device": str(elsewhere)}
    labels = {"zhub.stack": stack.prefix, "zhub.role": "home", "zhub.user": "carol"}
    engines.manager.client.volumes.create(name, driver="local", driver_opts=options, labels=labels)
    user = entrance.logged_in("carol")
    with engines.only(node), pytest.raises((StartFailed, requests.HTTPError)):
        user.ask_for_server(timeout=60)
    guard = engines.manager.client.containers.get(f"{stack.prefix}-guard")
    assert f"volume {name} is not a plain local volume" in guard.logs().decode()
    assert not list(elsewhere.iterdir())
    engines.manager.client.volumes.get(name).remove()


def comes_back(stack: Stack, home: Path) -> None:
    """A home is restored as one of the driver, although its volume and its folder are gone."""
    saved = stack.make("backup")
    assert saved.returncode == 0, saved.stdout
    [backup] = (stack.project / "backups").iterdir()
    done = stack.make("users", DO="forget", USER="grace")
    assert done.returncode == 0, done.stdout
    assert not home.exists()
    done = stack.make("restore", FROM=str(backup), USER="grace")
    assert done.returncode == 0, done.stdout
    assert (home / "kept.txt").read_text() == "of grace"
    listed = stack.make("sizes")
    assert "home of grace: 0.00 GiB in" in listed.stdout


def is_forgotten(stack: Stack, export: Path, home: Path) -> None:
    done = stack.make("users", DO="forget", USER="grace")
    assert done.returncode == 0, done.stdout
    assert not home.exists()
    assert [one.name for one in export.iterdir()] == ["elsewhere"]
