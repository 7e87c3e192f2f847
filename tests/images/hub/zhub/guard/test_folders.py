"""Which requests for shared folders the guard understands; the others stay for the policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from zhub.guard.bodies import Refused
from zhub.guard.folders import asked
from zhub.guard.policy import Policy
from zhub.settings.folders import SharedFolder

from tests.images.hub.zhub.guard.test_policy import NAME, POLICY, changed

TEAM = SharedFolder(name="team", read_only=False)
DATA = SharedFolder(name="data", read_only=True, path="/srv/shared/data")
HOME = "site-home-alice:/home/jovyan:rw"
TEAMS, DATAS = "site-shared_team:/shared/team:rw", "site-shared_data:/shared/data:ro"
SHARING = Policy(replace(POLICY.settings, shared_folders=(TEAM, DATA)), POLICY.images)


def body(*binds: Any, places: Any = None) -> dict[str, Any]:
    named = [bind for bind in binds if isinstance(bind, str)]
    wanted: dict[str, Any] = {bind.split(":")[1]: {} for bind in named}
    made = changed("HostConfig.Binds", list(binds))
    made["Volumes"] = wanted if places is None else places
    return made


def decided(request: dict[str, Any]) -> list[SharedFolder]:
    folders, rest = asked(request, SHARING.settings.shared_folders, "site")
    made = SHARING.container(NAME, rest)
    # The policy itself never mounts more than the home.
    assert made["HostConfig"]["Binds"] == [HOME]
    assert "Mounts" not in made["HostConfig"]
    return folders


def test_the_folders_of_the_stack_are_taken_out_of_the_request() -> None:
    assert decided(body(HOME)) == []
    assert decided(body(HOME, TEAMS)) == [TEAM]
    assert decided(body(DATAS, HOME, TEAMS)) == [DATA, TEAM]


@pytest.mark.parametrize(
    "bind",
    [
        "site-shared_other:/shared/other:rw",
        "other-shared_team:/shared/team:rw",
        "site-shared_team:/shared/team:ro",
        "site-shared_team:/shared/team",
        "site-shared_team:/shared/team:rw,z",
        "site-shared_team:/usr/local/bin:rw",
        "site-shared_team:/home/jovyan/shared/team:rw",
        "site-shared_team:/shared/../etc:rw",
        "site-shared_data:/shared/data:rw",
        "/srv/shared/data:/shared/data:ro",
        "/srv/shared:/shared/data:ro",
        "/:/shared/data:ro",
        "site-home-bob:/shared/team:rw",
        "site-state:/shared/team:rw",
        ["site-shared_team:/shared/team:rw"],
        None,
    ],
)
def test_any_other_mount_is_refused(bind: Any) -> None:
    for binds in ([HOME, bind], [HOME, TEAMS, bind], [bind]):
        with pytest.raises(Refused):
            decided(body(*binds))


def test_a_folder_is_asked_for_once() -> None:
    with pytest.raises(Refused):
        decided(body(HOME, TEAMS, TEAMS))


def test_places_without_a_folder_are_refused() -> None:
    wrong: list[dict[str, Any]] = [{"/shared/data": {}}, {"/shared/team": {"x": 1}}, {"/etc": {}}]
    for places in wrong:
        with pytest.raises(Refused):
            decided(body(HOME, TEAMS, places={"/home/jovyan": {}, **places}))


def test_a_mount_in_another_form_is_refused() -> None:
    mount = {"Type": "volume", "Source": "site-shared_team", "Target": "/shared/team"}
    with pytest.raises(Refused):
        decided(changed("HostConfig.Mounts", [mount]))
