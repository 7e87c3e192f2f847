"""What an `up` replaces when a setting has changed, as the handbook says it.

A preview compares what is declared now with what was declared before. So two runs of the program
show what it would: inputs that differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.components.recorder import run
from tests.components.stacks import SITE

# Each test runs the whole program two or three times.
pytestmark = pytest.mark.slow

APART = SITE | {"zhub:separateProxy": "true"}

WITH_R = {"name": "r", "groups": ["cn=r,o=example"], "packages": ["r-base"]}
SMALL = {"name": "small"}
FOLDER = {"name": "data", "groups": ["cn=r,o=example"]}
SERVICE = {"name": "class-start", "scopes": ["read:servers"], "token": "a" * 40}
ROLE = {"name": "tutors", "scopes": ["read:servers"], "users": ["ada"]}

LOGGING = {"guard", "hub-beside-proxy", "proxy"}
BOTH = {"guard", "hub-beside-proxy"}
HUB = {"hub-beside-proxy"}
FRONT = {"front"}
"""Hub and proxy are in its network: both are replaced with it."""


@cache
def declared(config: str) -> dict[str, str]:
    """All that is declared on the engine, by its name as a resource."""
    recording = run(APART | json.loads(config))
    return {
        f"{one.type.rpartition(':')[2]} {one.name}": json.dumps(one.raw, sort_keys=True)
        for one in recording.declared
        if one.type.startswith("docker:")
    }


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[set[str], set[str]]:
    """The containers that are replaced; and what comes or goes, or is an image that is built."""
    old, new = (
        declared(
            json.dumps(
                {
                    f"zhub:{key}": value if isinstance(value, str) else json.dumps(value)
                    for key, value in config.items()
                }
            )
        )
        for config in (before, after)
    )
    differ = {name for name in old.keys() & new.keys() if old[name] != new[name]}
    containers = {name for name in differ if name.startswith("Container ")}
    others = (differ - containers) | (old.keys() ^ new.keys())
    return {name.removeprefix("Container ") for name in containers}, others


@pytest.mark.parametrize(
    ("setting", "value", "replaced"),
    [
        ("announcement", "Closed on Sunday", {"files"}),
        ("usersMemory", "64G", {"guard"}),
        ("homesPath", "/srv/homes/zhub", {"guard"}),
        ("homesDriver", "vendor/plugin:1", {"guard"}),
        ("homeLimit", "20G", BOTH),
        ("userNetworkPool", "10.214.0.0/16", BOTH),
        ("userAllowedNetworks", ["10.20.30.40"], BOTH),
        ("sharedFolders", [FOLDER], BOTH),
        ("profiles", [SMALL], BOTH),
        ("hubRoles", [ROLE], HUB),
        ("hubServices", [SERVICE], {"files", *HUB}),
        ("logDriver", "journald", LOGGING),
        ("logOptions", ["max-size=20m"], LOGGING),
        ("logLevel", "error", LOGGING),
        ("logFormat", "json", LOGGING),
        ("basePath", "/lab", LOGGING),
        # Besides the certificate, and what carries it.
        ("subdomainHost", "hub.example.com", {"proxy", *HUB}),
        ("hstsSeconds", "300", {"proxy"}),
        ("bindAddress", "192.0.2.1", FRONT),
        ("port", "8443", {*FRONT, *LOGGING}),
        ("retain", "true", set()),
    ],
)
def test_a_setting_replaces_the_containers_that_it_is_for(
    setting: str, value: object, replaced: set[str]
) -> None:
    assert changed({}, {setting: value}) == (replaced, set())


def test_a_file_of_configuration_replaces_the_hub_and_what_carries_it(tmp_path: Path) -> None:
    texts = {}
    for name in ("one", "two"):
        texts[name] = tmp_path / f"{name}.py"
        texts[name].write_text(f"c.JupyterHub.{name} = True\n")
    one, two = ({"hubConfigFile": str(texts[name])} for name in ("one", "two"))
    for before, after in (({}, one), (one, two), (one, {})):
        assert changed(before, after) == ({"files", *HUB}, set())


@pytest.mark.parametrize(
    ("after", "replaced", "others"),
    [
        ([SMALL, WITH_R | {"groups": ["cn=other,o=example"]}], HUB, set()),
        ([SMALL, WITH_R | {"memory": "8G"}], BOTH, set()),
        ([WITH_R, SMALL], BOTH, set()),
        ([SMALL, WITH_R | {"packages": ["r-base-dev"]}], {*BOTH, "profileimage_r"}, {"Image _r"}),
        ([SMALL], BOTH, {"Image _r", "Container image_r"}),
        (
            [SMALL, WITH_R | {"name": "s"}],
            BOTH,
            {"Image _r", "Container image_r", "Image _s", "Container image_s"},
        ),
    ],
    ids=["groups", "size", "order", "packages", "removed", "renamed"],
)
def test_a_changed_profile_touches_no_other_image(
    after: list[object], replaced: set[str], others: set[str]
) -> None:
    containers, rest = changed({"profiles": [SMALL, WITH_R]}, {"profiles": after})
    assert containers == replaced
    assert {one.replace("profile", "") for one in rest} == others


def test_who_belongs_to_a_shared_folder_is_the_hubs_alone_to_know() -> None:
    before = {"sharedFolders": [FOLDER]}
    others = {"sharedFolders": [FOLDER | {"groups": ["cn=others,o=example"]}]}
    assert changed(before, others) == (HUB, set())
    writable = {"sharedFolders": [FOLDER | {"mode": "read-write"}]}
    assert changed(before, writable) == (BOTH, set())


def test_another_token_of_a_service_replaces_the_hub_without_being_seen() -> None:
    other = {"hubServices": [SERVICE | {"token": "b" * 40}]}
    assert changed({"hubServices": [SERVICE]}, other) == ({"files", *HUB}, set())
