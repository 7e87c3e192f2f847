"""Homes of the site's own volume driver: which options are refused, and what cannot change."""

from __future__ import annotations

import json

import pytest
from zhub import settings as hub_settings

from components.settings.homes import HOMES_DRIVER, HOMES_OPTIONS, Homes, refuse_change
from components.settings.parsing import RefusedError
from tests.components.recorder import environment, run
from tests.components.stack_config import DEMO, read
from tests.components.stacks import SITE

NFS = ["type=nfs", "o=addr=192.0.2.5,rw,nfsvers=4", "device=:/export/homes/{home}"]
LOCAL = {"zhub:homesDriver": "local", "zhub:homesOptions": json.dumps(NFS)}
PLUGIN = {"zhub:homesDriver": "vendor/plugin:1.2"}


@pytest.mark.parametrize("name", ["local", "vendor/plugin", "registry.example.com:5000/v/p:1.2"])
def test_a_driver_is_taken(name: str) -> None:
    assert HOMES_DRIVER.parse(name) == name


@pytest.mark.parametrize("name", ["a b", "-x", "/plugin", "a,b", "x" * 256])
def test_what_is_no_driver_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match="not the name of a volume driver"):
        HOMES_DRIVER.parse(name)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("nfs", "not an option"),
        ("=nfs", "not an option"),
        ("type=", "not an option"),
        ("o=addr=1,\nrw", "o is not one line"),
        (f"o={'x' * 1025}", "o is not one line"),
        ("password=geheim", "what looks like a secret"),
        ("apiToken_key=geheim", "what looks like a secret"),
        ("o=username=u,password=geheim,rw", "what looks like a secret"),
        ("o=user=u,pass=geheim", "what looks like a secret"),
        ("url=https://me:geheim@storage.example.com", "what looks like a secret"),
    ],
)
def test_an_option_that_would_not_do_is_refused_and_no_secret_is_shown(
    option: str, reason: str
) -> None:
    with pytest.raises(RefusedError, match=reason) as refusal:
        HOMES_OPTIONS.parse(json.dumps([option]))
    assert "geheim" not in str(refusal.value)
    _, config = read(DEMO | PLUGIN | {"zhub:homesOptions": json.dumps([option])})
    [said] = map(str, config.problems)
    assert "homesOptions" in said
    assert "geheim" not in said


def test_an_option_is_given_once() -> None:
    with pytest.raises(RefusedError, match="type: given twice"):
        HOMES_OPTIONS.parse('["type=nfs", "type=cifs"]')


@pytest.mark.parametrize(
    ("config", "about", "command"),
    [
        (LOCAL, "", ""),
        (PLUGIN, "", ""),
        (PLUGIN | {"zhub:homesOptions": '["size=10G"]'}, "", ""),
        (
            {"zhub:homesOptions": '["size=10G"]'},
            "homesOptions: has no use without homesDriver",
            "pulumi config rm homesOptions",
        ),
        (
            PLUGIN | {"zhub:homesPath": "/srv/homes/zhub"},
            "homesPath: is set, and so is homesDriver",
            "pulumi config rm homesPath",
        ),
        (
            {"zhub:homesDriver": "local"},
            "homesOptions: has no device that ends in /{home}, and with homesDriver local",
            "pulumi config set --path 'homesOptions[0]' 'device=:/export/homes/{home}'",
        ),
        (
            {**LOCAL, "zhub:homesOptions": '["type=nfs", "device=:/export/homes"]'},
            "homesOptions: has no device that ends in /{home}, and with homesDriver local",
            "pulumi config set --path 'homesOptions[1]' 'device=:/export/homes/{home}'",
        ),
    ],
)
def test_what_goes_together(config: dict[str, str], about: str, command: str) -> None:
    said = "\n".join(map(str, read(DEMO | config)[1].problems))
    assert said.startswith(about)
    assert bool(said) == bool(about)
    assert command in said


@pytest.mark.parametrize(
    ("guard", "config", "commands"),
    [
        (None, LOCAL, []),
        ({}, LOCAL, []),
        ({"ZHUB_HOMES_PATH": "/srv/homes"}, PLUGIN, []),
        ({"ZHUB_HOMES_DRIVER": "local", "ZHUB_HOMES_OPTIONS": json.dumps(NFS)}, LOCAL, []),
        (
            {"ZHUB_HOMES_DRIVER": "vendor/plugin:1.1"},
            PLUGIN,
            ["pulumi config set homesDriver vendor/plugin:1.1"],
        ),
        (
            {"ZHUB_HOMES_DRIVER": "vendor/plugin:1.2"},
            {},
            ["pulumi config set homesDriver vendor/plugin:1.2"],
        ),
        (
            {"ZHUB_HOMES_DRIVER": "vendor/plugin:1.2", "ZHUB_HOMES_OPTIONS": '["size=1G"]'},
            PLUGIN | {"zhub:homesOptions": '["size=2G", "tier=1"]'},
            [
                "pulumi config set --path 'homesOptions[0]' size=1G",
                "pulumi config rm --path 'homesOptions[1]'",
            ],
        ),
    ],
)
def test_neither_changes_while_the_stack_is_up(
    guard: dict[str, str] | None, config: dict[str, str], commands: list[str]
) -> None:
    settings, declared = read(DEMO | config)
    refuse_change(declared, settings.users.homes, guard)
    said = "\n".join(map(str, declared.problems))
    assert bool(said) == bool(commands)
    for command in commands:
        assert f"\n    {command}" in said
        assert "make backup, pulumi destroy" in said


def test_the_guard_gets_them_and_the_hub_does_not() -> None:
    found = run(SITE | LOCAL)
    guard = hub_settings.read_guard(environment(found.one("Container", "guard")))
    assert (guard.homes_driver, guard.homes_options) == ("local", tuple(NFS))
    assert not guard.homes_path
    hub = environment(found.one("Container", "hub"))
    assert not [name for name in hub if name.startswith("ZHUB_HOMES")]


def test_homes_of_before_are_named_only_where_make_homes_moves_them() -> None:
    before = {"prefix": "zhub-dev", "homesPaths": ["/srv/a"]}
    found = Homes(driver="vendor/plugin").after(before, {})
    assert found.paths == ("/srv/a",)
    assert found.changes(before) == []
