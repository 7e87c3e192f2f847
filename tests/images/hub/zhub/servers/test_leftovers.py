"""Which servers are kept although their record is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from zhub.servers import leftovers
from zhub.settings.folders import SharedFolder
from zhub.settings.profiles import Profile

from tests.images.hub.profiles import profile

NAME = "site-user-alice"

VARIABLES = {
    "JUPYTERHUB_USER": "alice",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
    "JUPYTERHUB_API_URL": "http://hub:8081/site/hub/api",
    "JUPYTERHUB_HOST": "",
}


def found(
    *, state: dict[str, Any] | None = None, networks: tuple[str, ...] = (NAME,), **variables: str
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
    }


def unfit(
    container: dict[str, Any], *folders: SharedFolder, profiles: tuple[Profile, ...] = ()
) -> str:
    user = SimpleNamespace(name="alice", base_url="/site/user/alice/")
    spawner: Any = SimpleNamespace(
        user=user,
        object_name=NAME,
        get_env=lambda: dict(VARIABLES),
        folders=folders,
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
