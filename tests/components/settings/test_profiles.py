"""Profiles in a stack's file: what they take over, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from zhub import settings as hub_settings
from zhub.settings import profiles

from tests.components.recorder import environment, run
from tests.components.stack_config import DEMO, SITE, fixed, read, refused
from toolchain.places import ROOT

QUANTS = "cn=quants,ou=groups,dc=example,dc=org"
DESK = "cn=Desk 7,ou=groups,dc=example,dc=org"


def stack(*profiles: object, **config: str) -> dict[str, str]:
    own = {f"zhub:{key}": value for key, value in config.items()}
    return DEMO | own | {"zhub:profiles": json.dumps(profiles)}


def test_a_stack_without_profiles_has_none() -> None:
    assert read(SITE)[0].users.profiles == ()


def test_a_profile_takes_from_the_stack_what_it_does_not_say() -> None:
    given = stack({"name": "small"}, userMemory="4G", userPids="99", userEnvironment='["TZ=UTC"]')
    settings, declared = read(given)
    assert declared.problems == []
    [small] = settings.users.profiles
    assert (small.memory, small.shared_memory, small.pids) == (4096, 1024, 99)
    assert (small.description, small.groups, small.idle_timeout) == ("small", (), 3600)
    assert small.environment == {"TZ": "UTC"}


def test_a_profile_says_what_is_different_in_it() -> None:
    large = {
        "name": "large",
        "description": "For models",
        "groups": [QUANTS, DESK],
        "memory": "16G",
        "cpus": 4,
        "pids": 4096,
        "sharedMemory": "8G",
        "idleTimeout": 0,
        "environment": ["TZ=Asia/Tokyo", "OMP_NUM_THREADS=4"],
        "devices": ["z90crypt", "/dev/dri/renderD128"],
        "packages": ["r-base-dev", "r-cran-irkernel"],
        "requirements": ["workplace"],
    }
    settings, declared = read(stack(large, userEnvironment='["TZ=UTC", "A=b"]'))
    assert declared.problems == []
    [found] = settings.users.profiles
    assert (found.memory, found.shared_memory, found.cpus) == (16384, 8192, "4")
    assert found.groups == (QUANTS, DESK)
    assert found.idle_timeout == 0
    assert found.environment == {"TZ": "Asia/Tokyo", "A": "b", "OMP_NUM_THREADS": "4"}
    assert found.devices == ("z90crypt", "dri/renderD128")
    assert found.packages == ("r-base-dev", "r-cran-irkernel")
    assert found.requirements == ("workplace",)


def test_a_proxy_of_a_profile_leaves_what_the_site_reaches_without_one() -> None:
    site = '["HTTPS_PROXY=http://a:1", "NO_PROXY=.example.com"]'
    own = {"name": "a", "environment": ["HTTPS_PROXY=http://b:1"]}
    other = {"name": "b", "environment": ["no_proxy=.example.org"]}
    settings, declared = read(stack(own, other, userEnvironment=site))
    assert declared.problems == []
    first, second = (profile.environment for profile in settings.users.profiles)
    assert {first["HTTPS_PROXY"], first["https_proxy"]} == {"http://b:1"}
    assert {first["NO_PROXY"], first["no_proxy"]} == {".example.com,localhost,127.0.0.1,hub"}
    assert second["HTTPS_PROXY"] == "http://a:1"
    assert {second["NO_PROXY"], second["no_proxy"]} == {".example.org,localhost,127.0.0.1,hub"}
    # Where the site has none, the hub is still reached without.
    [alone] = read(stack(own))[0].users.profiles
    assert alone.environment["no_proxy"] == "localhost,127.0.0.1,hub"


def test_less_memory_brings_less_shared_memory() -> None:
    settings, declared = read(stack({"name": "tiny", "memory": "256M"}, userSharedMemory="1G"))
    assert declared.problems == []
    assert settings.users.profiles[0].shared_memory == 64


def test_a_profile_that_all_servers_together_have_no_memory_for_is_refused() -> None:
    config = stack({"name": "small"}, {"name": "large", "memory": "16G"}, usersMemory="8G")
    [problem] = read(config)[1].problems
    assert "profile large: its memory (16384M) is more than usersMemory (8192M)" in str(problem)
    assert problem.commands[0] == "pulumi config set usersMemory 16384M"
    assert read(config | {"zhub:usersMemory": "16G"})[1].problems == []


def test_more_than_a_variable_of_hub_and_guard_can_have_is_refused() -> None:
    """Their containers could not be started, when those of before are gone."""
    site = json.dumps(
        [f"NO_PROXY={','.join(f'host{number}.example.com' for number in range(170))}"]
    )
    given = stack(*({"name": f"p{number}"} for number in range(17)), userEnvironment=site)
    assert read(given)[1].problems == []
    environments = [
        one.inputs["envs"] for one in run(given).all("Container") if "envs" in one.inputs
    ]
    assert 100 << 10 < max(len(line) for lines in environments for line in lines) < 128 << 10
    given = stack(*({"name": f"p{number}"} for number in range(32)), userEnvironment=site)
    said = refused(given)
    assert "has 32 profiles with" in said
    assert "the variables of userEnvironment in each; hub and guard take 120 KiB" in said
    assert len(fixed(given, set()).users.profiles) < 32


WRONG: list[tuple[Any, str, str]] = [
    ({"name": "Large"}, "not a name of lower-case letters", "profiles[0].name' large"),
    ({"memory": "1G"}, "has no name", "profiles[0].name' large"),
    ({"name": "a", "memory": "1 GB"}, "not an amount of memory", "profiles[0].memory' 4G"),
    ({"name": "a", "memory": 1}, "not an amount of memory", "profiles[0].memory' 4G"),
    ({"name": "a", "cpus": "all"}, "not a number of processors", "profiles[0].cpus' 2.0"),
    ({"name": "a", "pids": 1}, "not a whole number from 64", "profiles[0].pids' 512"),
    ({"name": "a", "idleTimeout": 5}, "from 360", "profiles[0].idleTimeout' 3600"),
    ({"name": "a", "groups": QUANTS}, "not a list of texts", "rm --path 'profiles[0].groups'"),
    ({"name": "a", "groups": ["quants"]}, "not a DN", "profiles[0].groups[0]' cn=quants,ou="),
    ({"name": "a", "groups": [QUANTS] * 2}, "given twice", "rm --path 'profiles[0].groups[1]'"),
    ({"name": "a", "description": ""}, "not one line of text", "profiles[0].description'"),
    ({"name": "a", "sharedMemory": "9G"}, "more than its memory", "profiles[0].sharedMemory'"),
    ({"name": "a", "image": "x"}, "unknown; a profile has", "rm --path 'profiles[0][\"image\"]'"),
    (
        {"name": "a", "devices": ["../sda"]},
        "not a device below",
        "profiles[0].devices[0]' z90crypt",
    ),
    ({"name": "a", "devices": ["mem"]}, "the engine's machine", "profiles[0].devices[0]'"),
    ({"name": "a", "devices": ["dasda1"]}, "the engine's machine", "profiles[0].devices[0]'"),
    ({"name": "a", "devices": ["/dev/scma"]}, "the engine's machine", "profiles[0].devices[0]'"),
    ({"name": "a", "devices": ["ipmi0"]}, "the engine's machine", "profiles[0].devices[0]'"),
    (
        {"name": "a", "environment": ["TZ=UTC", "PATH=/x"]},
        "the server itself needs this variable",
        "rm --path 'profiles[0].environment[1]'",
    ),
    (
        {"name": "a", "packages": ["git", "R base"]},
        "not the name of a Debian package",
        "profiles[0].packages[1]' r-base-dev",
    ),
    (
        {"name": "a", "packages": "git"},
        "not a list of texts",
        "rm --path 'profiles[0].packages'",
    ),
    (
        {"name": "a", "requirements": ["elsewhere"]},
        "requirements has no elsewhere.txt; there are workplace",
        "profiles[0].requirements[0]' workplace",
    ),
    ("large", "element 1: not a profile with a name", "pulumi config rm --path 'profiles[0]'"),
]


@pytest.mark.parametrize(("profile", "reason", "command"), WRONG)
def test_a_wrong_profile_is_refused_with_the_command_that_fixes_it(
    profile: Any, reason: str, command: str
) -> None:
    said = refused(stack(profile))
    assert reason in said
    assert command in said
    fixed(stack(profile), set())


@pytest.mark.parametrize("groups", [QUANTS, []])
def test_no_command_of_a_message_gives_a_profile_to_everybody(groups: object) -> None:
    [profile] = fixed(stack({"name": "a", "groups": groups}), set()).users.profiles
    assert profile.groups


def test_a_secret_in_a_profile_is_not_shown() -> None:
    said = refused(stack({"name": "a", "environment": ["HF_TOKEN=swordfish"]}))
    assert "looks like a secret" in said
    assert "swordfish" not in said


def test_a_name_given_twice_is_refused() -> None:
    said = refused(stack({"name": "a"}, {"name": "b"}, {"name": "a"}))
    assert "profile a: given twice" in said
    assert said.endswith("pulumi config rm --path 'profiles[2]'")


def examples() -> list[dict[str, str]]:
    """The stacks' files that the page shows."""
    page = (ROOT / "docs" / "profiles.md").read_text()
    return [
        {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in yaml.safe_load(text)["config"].items()
        }
        for text in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("example", examples())
def test_the_examples_of_the_documentation_are_fine(example: dict[str, str]) -> None:
    groups = {"zhub:ldapAllowedGroups": json.dumps(["cn=jupyter,ou=groups,dc=example,dc=org"])}
    account = {
        "zhub:ldapBindDn": "cn=hub,ou=services,dc=example,dc=org",
        "zhub:ldapBindPassword": "as typed",
    }
    site = {key: value for key, value in SITE.items() if key != "zhub:ldapAllowEveryone"}
    given = site | account | groups | example
    settings, declared = read(given, secret=("zhub:ldapBindPassword",))
    assert declared.problems == []
    assert any(profile.groups for profile in settings.users.profiles)


def test_groups_need_a_service_account() -> None:
    given = {"zhub:profiles": json.dumps([{"name": "b"}, {"name": "a", "groups": [QUANTS]}])}
    said = refused(SITE | given)
    assert "has a for members of groups" in said
    assert "nobody would notice that somebody has left a group" in said
    assert "pulumi config set ldapBindDn" in said
    assert read(DEMO | given)[1].problems == []
    assert read(SITE | {"zhub:profiles": '[{"name": "b"}]'})[1].problems == []


def test_the_guard_learns_what_servers_get_and_the_hub_who_may_have_them() -> None:
    small = {"name": "small", "memory": "512M", "groups": [QUANTS]}
    recording = run(stack(small, {"name": "large", "cpus": 4}))
    of_hub, of_guard = (environment(recording.one("Container", r)) for r in ("hub", "guard"))
    assert QUANTS not in json.dumps(of_guard)
    [small_of_guard, large] = hub_settings.read_guard(of_guard).profiles
    assert (small_of_guard.name, small_of_guard.memory) == ("small", "512M")
    assert (large.name, large.memory, large.cpus) == ("large", "2048M", 4.0)
    parse = profiles.parser(small_of_guard.image)
    assert parse(of_hub["ZHUB_PROFILES"]) == (replace(small_of_guard, groups=(QUANTS,)), large)


def test_in_the_demo_alice_has_two_profiles_and_bob_one() -> None:
    given = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    recording = run(DEMO | {"zhub:profiles": json.dumps(given["zhub:profiles"])})
    hub = environment(recording.one("Container", "hub"))
    [uploads] = [
        json.loads(upload["content"])
        for upload in recording.one("Container", "directory").inputs["uploads"]
        if upload["file"].endswith("users.json")
    ]
    offered = {
        name: [
            each["name"]
            for each in json.loads(hub["ZHUB_PROFILES"])
            if not each["groups"]
            or set(each["groups"])
            & {f"cn={group},ou=groups,dc=example,dc=org" for group in uploads[name]["groups"]}
        ]
        for name in ("alice", "bob")
    }
    assert offered == {"alice": ["standard", "large"], "bob": ["standard"]}
