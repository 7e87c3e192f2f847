"""What the guard takes for a hub of another version of the stack, and what for its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from docker.errors import APIError
from zhub import settings
from zhub.guard import updates

from tests.components.recorder import environment, run
from tests.components.stacks import SITE

GUARD = {"ZHUB_PREFIX": "site", "ZHUB_USER_MEMORY": "1G", "ZHUB_USERS_MEMORY": "64G"}

FOLDERS = [
    {"name": "data", "groups": ["cn=r,o=example"], "mode": "read-write"},
    {"name": "all", "path": "all"},
]
PROFILES = [
    {"name": "small"},
    {"name": "r", "groups": ["cn=r,o=example"], "packages": ["r-base"], "memory": "8G"},
]
RICH = SITE | {
    "zhub:separateProxy": "true",
    "zhub:sharedFolders": json.dumps(FOLDERS),
    "zhub:sharedRoot": "/srv/shared",
    "zhub:profiles": json.dumps(PROFILES),
    "zhub:homeLimit": "20G",
    "zhub:homesPath": "/srv/homes",
    "zhub:usersMemory": "64G",
    "zhub:userInternetAccess": "false",
    "zhub:userBlockedNetworks": '["198.51.100.0/24"]',
    "zhub:logDriver": "journald",
}


class Engine:
    """Has the guard's container, and the hub's."""

    def __init__(self, variables: Mapping[str, str], image: str = "new") -> None:
        self._variables = variables
        self._image = image

    def inspect_container(self, name: str) -> dict[str, Any]:
        if name != "site-hub":
            return {"Image": "new"}
        lines = [f"{name}={value}" for name, value in self._variables.items()]
        return {"Image": self._image, "Config": {"Env": ["PATH=/bin", *lines]}}


def under_way(variables: Mapping[str, str], image: str = "new") -> bool:
    engine: Any = Engine(variables, image)
    return updates.under_way(engine, settings.read_guard(GUARD))


@pytest.mark.parametrize(
    "variables",
    [
        GUARD,
        {"ZHUB_PREFIX": "site", "ZHUB_USER_MEMORY": "1G"},
        GUARD | {"ZHUB_IDLE_TIMEOUT": "7200", "ZHUB_ADMIN_USERS": '["alice"]'},
    ],
    ids=["all", "without what is the guard's", "the hub's own"],
)
def test_a_hub_with_the_same_rules_is_no_other(variables: Mapping[str, str]) -> None:
    """What it asks for beyond them is no accident, however often it asks."""
    assert not under_way(variables)


@pytest.mark.parametrize(
    "variables",
    [
        GUARD | {"ZHUB_USER_MEMORY": "2G"},
        GUARD | {"ZHUB_SEPARATE_PROXY": "true"},
        GUARD | {"ZHUB_LOG_DRIVER": "journald"},
        GUARD | {"ZHUB_SHARED_FOLDERS": '[{"name": "data", "mode": "ro"}]'},
        GUARD | {"ZHUB_USER_MEMORY": "what a newer release may write"},
    ],
    ids=["memory", "proxy", "log", "folders", "unreadable"],
)
def test_one_with_others_is_replaced_soon(variables: Mapping[str, str]) -> None:
    assert under_way(variables)


def test_so_is_one_of_another_image() -> None:
    assert under_way(GUARD, image="old")


def test_an_engine_that_does_not_say_is_an_error() -> None:
    class Silent(Engine):
        def inspect_container(self, name: str) -> dict[str, Any]:
            raise APIError("no answer")

    engine: Any = Silent(GUARD)
    with pytest.raises(APIError):
        updates.under_way(engine, settings.read_guard(GUARD))


@pytest.mark.parametrize("config", [SITE, RICH], ids=["site", "rich"])
def test_the_program_gives_a_guard_and_its_hub_the_same(config: dict[str, str]) -> None:
    """Otherwise no refusal would ever be one of a wrong hub."""
    recording = run(config)
    name = "hub-beside-proxy" if config is RICH else "hub"
    hub = environment(recording.one("Container", name))
    guard = environment(recording.one("Container", "guard"))
    ours = updates.agreed(settings.read_guard(guard))
    assert updates.agreed(settings.read_servers(hub)) == ours
    if config is RICH:
        assert [folder for folder, _ in ours["shared_folders"]] == ["data", "all"]
        assert len(ours["profiles"]) == 2
        changed = config | {"zhub:profiles": json.dumps([PROFILES[0]])}
        other = environment(run(changed).one("Container", name))
        assert updates.agreed(settings.read_servers(other)) != ours
