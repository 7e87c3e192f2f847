"""Which of the users' servers run an old image."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from docker.errors import ImageNotFound
from zhub.people.servers import running
from zhub.settings import read_guard

from tests.images.hub.profiles import described

NOTEBOOK, MODELS, OLD = (f"sha256:{digit * 64}" for digit in "123")


MISSING = f"sha256:{'4' * 64}"


def engine(servers: dict[str, tuple[str, str]]) -> Any:
    """An engine with a server for each user, which has an image and the variables of a profile."""
    found = {
        user: {
            "Id": user,
            "Image": image,
            "HostConfig": {"Memory": 1},
            "Config": {"Env": ["A=b", *([f"ZHUB_PROFILE={profile}"] if profile else [])]},
        }
        for user, (image, profile) in servers.items()
    }

    def image(name: str) -> dict[str, str]:
        if name == MISSING:
            raise ImageNotFound(name)
        return {"Id": name}

    return SimpleNamespace(
        inspect_image=image,
        containers=lambda **_: [{"Id": user, "Labels": {"zhub.user": user}} for user in servers],
        inspect_container=found.__getitem__,
    )


def test_a_server_is_old_if_a_new_one_of_its_profile_gets_another_image() -> None:
    settings = read_guard(
        {
            "ZHUB_PREFIX": "site",
            "ZHUB_NOTEBOOK_IMAGE": NOTEBOOK,
            "ZHUB_PROFILES": json.dumps([described("small"), described("models")]),
            "ZHUB_PROFILE_IMAGES": json.dumps({"models": MODELS}),
        }
    )
    servers = {
        "new": (NOTEBOOK, "small"),
        "old": (OLD, "small"),
        "models": (MODELS, "models"),
        "before-models-had-its-own": (NOTEBOOK, "models"),
        "before-profiles": (NOTEBOOK, ""),
        "of-a-profile-that-is-gone": (MODELS, "gone"),
    }
    found = running(engine(servers), settings)
    assert {user for user, server in found.items() if server.old} == {
        "old",
        "before-models-had-its-own",
        "of-a-profile-that-is-gone",
    }


def test_users_are_listed_while_an_image_is_missing() -> None:
    """There is nothing newer than the servers that run."""
    settings = read_guard({"ZHUB_PREFIX": "site", "ZHUB_NOTEBOOK_IMAGE": MISSING})
    found = running(engine({"alice": (OLD, "")}), settings)
    assert [(user, server.old) for user, server in found.items()] == [("alice", False)]
