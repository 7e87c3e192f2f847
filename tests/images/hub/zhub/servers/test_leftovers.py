"""Which servers are kept although their record is missing."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from zhub.servers import leftovers
from zhub.settings.folders import SharedFolder
from zhub.settings.profiles import Profile
from zhub.state import plan
from zhub.state.plan import Action, Plan

from tests.images.hub.profiles import profile

NAME = "site-user-alice"

VARIABLES = {
    "JUPYTERHUB_USER": "alice",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
    "JUPYTERHUB_API_URL": "http://hub:8081/site/hub/api",
    "JUPYTERHUB_HOST": "",
}


def found(
    *,
    state: dict[str, Any] | None = None,
    networks: tuple[str, ...] = (NAME,),
    folders: tuple[str, ...] = (),
    **variables: str,
) -> dict[str, Any]:
    """A container as it fits, but for the arguments."""
    own = {"JUPYTERHUB_API_TOKEN": "secret", "JUPYTERHUB_SERVICE_PREFIX": "/site/user/alice/"}
    env = VARIABLES | own | variables
    return {
        "State": {"Running": True, "Paused": False, "Status": "running"} | (state or {}),
        "NetworkSettings": {"Networks": dict.fromkeys(networks)},
        "Config": {
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Labels": {"zhub.user": "alice"},
        },
        "Mounts": [
            {"Destination": "/home/jovyan", "RW": True},
            *(
                {"Destination": f"/shared/{name}", "RW": mode == "rw"}
                for name, mode in (folder.split(":") for folder in folders)
            ),
        ],
    }


def unfit(
    container: dict[str, Any], *folders: SharedFolder, profiles: tuple[Profile, ...] = ()
) -> str:
    user = SimpleNamespace(name="alice", base_url="/site/user/alice/")
    spawner: Any = SimpleNamespace(
        user=user,
        object_name=NAME,
        get_env=lambda: dict(VARIABLES),
        shared_folders=folders,
        profiles=profiles,
        groups={"quants"},
    )
    return leftovers.unfit(spawner, container)


@pytest.mark.parametrize(("name", "kept"), [("all", True), ("own", True), ("other", False)])
def test_a_server_is_kept_whose_profile_its_user_may_have(name: str, kept: bool) -> None:  # noqa: FBT001
    known = profile("all"), profile("own", "quants"), profile("other", "students")
    assert (unfit(found(ZHUB_PROFILE=name), profiles=known) == "") is kept
    # As of a stack before it had profiles, or had others.
    assert unfit(found(), profiles=known) == ""
    assert unfit(found(ZHUB_PROFILE="gone"), profiles=known) == ""


@pytest.mark.parametrize(
    ("folders", "kept"),
    [
        # One that has come since, or that the user may write to since, is for the next server.
        ((), True),
        (("team:ro",), True),
        (("team:rw", "large:ro"), True),
        (("other:ro",), False),
        (("gone:ro",), False),
        (("large:rw",), False),
    ],
    ids=str,
)
def test_a_server_is_kept_whose_shared_folders_its_user_may_have(
    folders: tuple[str, ...],
    kept: bool,  # noqa: FBT001
) -> None:
    """By the profile that it has, whatever its user has chosen before or since."""
    known = (
        SharedFolder(name="team", read_only=False, groups=("quants",)),
        SharedFolder(name="large", read_only=True, profiles=("large",)),
        SharedFolder(name="other", read_only=True, groups=("students",)),
    )
    there = found(folders=folders, ZHUB_PROFILE="large")
    assert (unfit(there, *known, profiles=(profile("large"),)) == "") is kept


def test_none_is_kept_after_the_time_at_which_all_are_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plan.due, "__defaults__", (tmp_path / "plan.json",))
    for seconds, why in ((60, ""), (-60, "all servers were to be stopped by now, as planned")):
        plan.write(Plan(Action.STOP, time.time() + seconds), tmp_path / "plan.json")
        assert unfit(found()) == why


def test_a_server_that_only_its_record_has_forgotten_is_kept() -> None:
    assert not unfit(found())
    assert leftovers.environment(found())["JUPYTERHUB_API_TOKEN"] == "secret"


@pytest.mark.parametrize(
    ("container", "why"),
    [
        (found(state={"Running": False, "Status": "exited"}), "its state is exited"),
        (found(state={"Paused": True, "Status": "paused"}), "its state is paused"),
        (found(networks=("none",)), "it is not in its network"),
        (found(networks=(NAME, "bridge")), "it is not in its network"),
        (found(JUPYTERHUB_API_TOKEN=""), "it has no token"),
        (found(JUPYTERHUB_USER="bob"), "it was started with another JUPYTERHUB_USER"),
        (
            found(JUPYTERHUB_SERVICE_PREFIX="/old/user/alice/"),
            "it was started with another JUPYTERHUB_SERVICE_PREFIX",
        ),
        (
            found() | {"Config": found()["Config"] | {"Labels": {"zhub.user": "bob"}}},
            "it is another user's",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_any_other_server_is_not(container: dict[str, Any], why: str) -> None:
    assert unfit(container) == why
