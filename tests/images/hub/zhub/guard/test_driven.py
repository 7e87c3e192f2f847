"""Homes of the site's own volume driver, as the guard makes and knows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from zhub import settings
from zhub.guard import looking
from zhub.guard.bodies import Refused
from zhub.guard.driven import Driven, driven
from zhub.guard.environment import Image
from zhub.guard.helpers import Helpers, UnusableError
from zhub.guard.homes import Homes
from zhub.guard.policy import Policy
from zhub.guard.sizes import Sizes

NAME = "site-home-alice"
LABELS = {"zhub.stack": "site", "zhub.role": "home", "zhub.user": "alice"}
NFS = {"type": "nfs", "o": "addr=192.0.2.5,rw", "device": ":/export/{home}"}
PLUGIN = {"ZHUB_HOMES_DRIVER": "vendor/plugin", "ZHUB_HOMES_OPTIONS": '["path=/x/{home}"]'}
BY_NFS = {
    "ZHUB_HOMES_DRIVER": "local",
    "ZHUB_HOMES_OPTIONS": json.dumps([f"{name}={text}" for name, text in NFS.items()]),
}


def read(variables: dict[str, str]) -> settings.GuardSettings:
    return settings.read_guard({"ZHUB_PREFIX": "site"} | variables)


class Engine:
    """Has volumes, and two drivers for them."""

    def __init__(self) -> None:
        self.volumes_: dict[str, dict[str, Any]] = {}
        self.done: list[str] = []
        self.failing = ""

    def info(self) -> dict[str, Any]:
        drivers = {"Volume": ["local", "vendor/plugin:latest"]}
        return {"DockerRootDir": "/var/lib/docker", "Plugins": drivers}

    def inspect_volume(self, name: str) -> dict[str, Any]:
        if name not in self.volumes_:
            raise NotFound("no such volume")
        return self.volumes_[name]

    def create_volume(self, name: str, driver: str, driver_opts: Any, labels: Any) -> Any:
        if driver == self.failing:
            raise APIError("x", explanation="VolumeDriver.Create: no room")
        self.done.append(f"make {name}")
        made = {"Name": name, "Driver": driver, "Options": driver_opts, "Labels": labels}
        self.volumes_[name] = made
        return made

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        if name not in self.volumes_ and not force:
            raise NotFound("no such volume")
        self.done.append(f"remove {name}")
        self.volumes_.pop(name, None)

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": list(self.volumes_.values())}


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> list[Any]:
    """The mounts of helpers that were run, each with the volume that it had."""
    found: list[Any] = []

    def run(_: Helpers, command: list[str], *, mounts: Any, **__: Any) -> str:
        [mount] = mounts
        found.append((command, dict(mount), dict(engine.volumes_.get(mount["Source"], {}))))
        return ""

    monkeypatch.setattr(Helpers, "run", run)
    return found


def made(engine: Engine, variables: dict[str, str]) -> Any:
    client: Any = engine
    return Homes(client, read(variables)).make(NAME, LABELS)


def test_a_plugin_makes_a_home_with_the_sites_options(engine: Engine, helped: list[Any]) -> None:
    made(engine, PLUGIN)
    assert engine.volumes_[NAME] == {
        "Name": NAME,
        "Driver": "vendor/plugin",
        "Options": {"path": f"/x/{NAME}"},
        "Labels": LABELS,
    }
    assert helped == []


def test_the_engines_own_driver_gets_a_folder_to_mount(engine: Engine, helped: list[Any]) -> None:
    made(engine, BY_NFS)
    assert engine.volumes_[NAME]["Options"] == NFS | {"device": f":/export/{NAME}"}
    # All homes are mounted once, to make it there.
    [(command, mount, volume)] = helped
    assert command[-1] == NAME
    assert (mount["Type"], mount["Source"]) == ("volume", "site-homes")
    assert volume["Options"] == NFS | {"device": ":/export"}
    assert volume["Labels"] == {"zhub.stack": "site", "zhub.role": "guard-helper"}
    assert engine.done == ["make site-homes", "remove site-homes", f"make {NAME}"]


def test_what_a_guard_that_was_killed_has_left_is_not_used(
    engine: Engine, helped: list[Any]
) -> None:
    engine.create_volume("site-homes", "local", {"device": ":/before"}, {})
    made(engine, BY_NFS)
    [(_, _, volume)] = helped
    assert volume["Options"]["device"] == ":/export"


def test_a_home_that_is_there_is_left_alone(engine: Engine, helped: list[Any]) -> None:
    """Its folder may be out of reach, and the user would get an empty one."""
    there = engine.create_volume(NAME, "local", {}, LABELS)
    engine.done.clear()
    assert made(engine, BY_NFS) == there
    assert (engine.done, helped) == ([], [])


def test_a_driver_that_fails_is_said_to_the_user(engine: Engine, helped: list[Any]) -> None:
    engine.failing = "vendor/plugin"
    with pytest.raises(UnusableError, match=r"cannot be made now.*VolumeDriver.Create: no room"):
        made(engine, PLUGIN)


@pytest.mark.parametrize("name", ["vendor/plugin", "vendor/plugin:latest"])
def test_a_driver_that_the_engine_has_not_is_said_as_the_guard_starts(
    engine: Engine, name: str
) -> None:
    client: Any = engine
    Homes(client, read({"ZHUB_HOMES_DRIVER": name})).check()
    other = Homes(client, read({"ZHUB_HOMES_DRIVER": "vendor/other"}))
    with pytest.raises(RuntimeError, match="docker plugin install vendor/other, on all machines"):
        other.check()


def test_a_folder_of_the_machine_is_checked_as_homes_path(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_: Any, path: Any, *names: str) -> Any:
        raise RuntimeError(f"{path} is not there")

    monkeypatch.setattr(looking, "look", look)
    bound = ["type=none", "o=bind", "device=/mnt/all/{home}"]
    variables = {"ZHUB_HOMES_DRIVER": "local", "ZHUB_HOMES_OPTIONS": json.dumps(bound)}
    client: Any = engine
    with pytest.raises(RuntimeError, match=r"the place of homes \(homesOptions\) is /mnt/all"):
        Homes(client, read(variables)).check()


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"Driver": "vendor/plugin"}, True),
        ({"Driver": "vendor/plugin:2"}, False),
        ({"Driver": "local"}, False),
        ({"Options": None}, False),
        ({"Options": {"path": "/x/site-home-bob"}}, False),
        ({"Options": {"path": f"/x/{NAME}", "more": "1"}}, False),
        ({"Labels": LABELS | {"zhub.user": "bob"}}, False),
        ({"Name": "site-home-bob"}, False),
        # Homes of before the setting.
        ({"Driver": "local", "Options": None}, True),
    ],
)
def test_the_guard_takes_exactly_such_volumes(change: dict[str, Any], *, taken: bool) -> None:
    found = read(PLUGIN)
    policy = Policy(found, {name: Image((), frozenset()) for name in found.images})
    volume = {
        "Name": NAME,
        "Driver": "vendor/plugin:latest",
        "Options": {"path": f"/x/{NAME}"},
        "Labels": LABELS,
        "Mountpoint": "/var/lib/docker/plugins/x",
    } | change
    if taken and change.get("Options", 1) is None:
        volume["Mountpoint"] = f"/var/lib/docker/volumes/{NAME}/_data"
    try:
        policy.home(volume, "alice")
    except Refused:
        assert not taken
    else:
        assert taken


def test_sizes_are_counted_where_the_driver_has_the_files(
    engine: Engine, helped: list[Any]
) -> None:
    engine.create_volume(NAME, "vendor/plugin:latest", {"path": f"/x/{NAME}"}, LABELS)
    client: Any = engine
    sizes = Sizes(client, read(PLUGIN), enforced=False, rest=lambda _: None)
    sizes.count([NAME])
    [(_, mount, _)] = helped
    assert (mount["Type"], mount["Source"], mount["ReadOnly"]) == ("volume", NAME, True)


def test_without_the_setting_there_are_none() -> None:
    assert driven(read({})) is None
    assert Driven("local", {"device": "/{home}"}).around == {"device": "/"}
    assert Driven("vendor/plugin", {"device": "/x/{home}"}).around is None
