"""Profiles in the environment of hub and guard, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from zhub import settings

from tests.images.hub.zhub.settings.conftest import LDAP, problems

QUANTS = "cn=quants,ou=groups,dc=example,dc=org"
PROFILE = {
    "name": "large",
    "description": "For models",
    "groups": [QUANTS],
    "memory": "4096M",
    "sharedMemory": "1024M",
    "cpus": "2.0",
    "pids": 512,
    "idleTimeout": 600,
    "environment": {"A": "b"},
    "devices": ["z90crypt"],
}


@pytest.fixture
def account(tmp_path: Path) -> dict[str, str]:
    """The service account of a hub, without which it takes no profiles with groups."""
    password = tmp_path / "password"
    password.touch()
    return {
        "ZHUB_LDAP_BIND_DN": "cn=hub,dc=example,dc=org",
        "ZHUB_LDAP_BIND_PASSWORD_FILE": str(password),
    }


def test_profiles_reach_the_spawner_and_the_culler(config: Any, account: dict[str, str]) -> None:
    loaded = config(**account, ZHUB_PROFILES=json.dumps([PROFILE]), ZHUB_NOTEBOOK_IMAGE="sha256:12")
    [found] = loaded.UserSpawner.profiles
    assert (found.name, found.image, found.groups) == ("large", "sha256:12", (QUANTS,))
    culler = loaded.JupyterHub.services[0]
    assert culler["command"][7] == "--cull-every=150"
    assert Path(culler["command"][8].removeprefix("--config=")).is_file()
    assert json.loads(culler["environment"]["ZHUB_PROFILES"]) == [PROFILE]
    assert config().UserSpawner.profiles == []


def test_a_profile_may_have_an_image_of_its_own() -> None:
    listed = [PROFILE | {"name": name, "groups": []} for name in ("large", "models")]
    found = settings.read(
        LDAP
        | {
            "ZHUB_PROFILES": json.dumps(listed),
            "ZHUB_NOTEBOOK_IMAGE": "sha256:12",
            "ZHUB_PROFILE_IMAGES": '{"models": "sha256:34"}',
        }
    )
    assert [profile.image for profile in found.profiles] == ["sha256:12", "sha256:34"]
    assert found.images == ("sha256:12", "sha256:34")
    assert [found.image_of(name) for name in (None, "large", "models", "gone")] == (
        ["sha256:12", "sha256:12", "sha256:34", "sha256:12"]
    )
    assert settings.read(LDAP).images == ("jupyter_notebook_s390x:latest",)


@pytest.mark.parametrize("wrong", ["x", "[]", '{"models": 1}'])
def test_images_of_profiles_are_an_object_of_texts(wrong: str) -> None:
    [problem] = problems(LDAP | {"ZHUB_PROFILE_IMAGES": wrong})
    assert "but must be a JSON object of images by names of profiles" in problem


def test_one_profile_with_a_timeout_is_enough_for_a_culler(config: Any) -> None:
    own = json.dumps([PROFILE | {"groups": []}])
    services = config(ZHUB_PROFILES=own, ZHUB_IDLE_TIMEOUT="0").JupyterHub.services
    assert services[0]["command"][5] == "--timeout=2147483648"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"},
        {"memory": "1 G"},
        {"pids": 0},
        {"cpus": 2.0},
        {"idleTimeout": 1},
        {"groups": None},
        {"groups": QUANTS},
        {"environment": {"ZHUB_PROFILE": "x"}},
        {"devices": ["../sda"]},
        {"devices": "sda b"},
    ],
)
def test_a_wrong_profile_is_refused(wrong: dict[str, Any]) -> None:
    [problem] = problems(LDAP | {"ZHUB_PROFILES": json.dumps([PROFILE | wrong])})
    assert "but must be a JSON list of profiles" in problem
    [problem] = problems(LDAP | {"ZHUB_PROFILES": json.dumps([PROFILE, PROFILE])})
    assert "but must be a JSON list of profiles" in problem


def test_the_directory_is_asked_about_the_groups(account: dict[str, str]) -> None:
    variables = LDAP | account | {"ZHUB_PROFILES": json.dumps([PROFILE, PROFILE | {"name": "b"}])}
    assert settings.read(variables).ldap.configured_groups == (QUANTS,)


def test_groups_need_a_service_account() -> None:
    [problem] = problems(LDAP | {"ZHUB_PROFILES": json.dumps([PROFILE])})
    assert problem.startswith("ZHUB_PROFILES has groups, which needs a service account")
