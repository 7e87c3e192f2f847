"""What the guard says when it starts, without an engine."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from zhub import heartbeat, settings
from zhub.guard import service
from zhub.guard.keeping import EngineLostError
from zhub.guard.service import beyond, made_by
from zhub.guard.services import Swarm
from zhub.guard.swarm import Services

MACHINE: Any = SimpleNamespace(info=lambda: {"MemTotal": 24 << 30})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "500 servers may take 1000 GiB of memory together, and the engine's machine has 24"),
        ({"ZHUB_MAX_SERVERS": "12"}, ""),
        ({"ZHUB_MAX_SERVERS": "13"}, "13 servers may take 26 GiB"),
        ({"ZHUB_USERS_MEMORY": "100G"}, ""),
        # There are other machines as well.
        ({"ZHUB_SWARM": "true"}, ""),
    ],
    ids=str,
)
def test_more_memory_than_there_is(environment: dict[str, str], said: str) -> None:
    found = beyond(MACHINE, settings.read_guard(environment))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_on_a_swarm_servers_are_services_on_nodes_of_the_images_processor() -> None:
    client: Any = SimpleNamespace(
        api_version="1.54",
        info=lambda: {"Swarm": {"ControlAvailable": True}},
        inspect_image=lambda name: {"Architecture": name.removesuffix(":x")},
    )
    on_one = {"ZHUB_NOTEBOOK_IMAGE": "s390x:x"}
    assert made_by(client, settings.read_guard(on_one)) is client
    on_swarm = on_one | {"ZHUB_SWARM": "true", "ZHUB_SWARM_NODES": "zhub=servers"}
    made: Any = made_by(client, settings.read_guard(on_swarm))
    assert isinstance(made, Services)
    assert made._swarm == Swarm(label="zhub=servers", processor="s390x", grace=10, api=(1, 54))
    encrypted = on_swarm | {"ZHUB_SWARM_ENCRYPTION": "true"}
    made = made_by(client, settings.read_guard(encrypted))
    assert made._swarm.encrypted
    # All that is not about servers is the engine's.
    assert made.api_version == "1.54"


@pytest.mark.parametrize(
    ("manager", "api", "said"),
    [
        (False, "1.54", "swarm is set, but the engine manages no swarm"),
        (True, "1.43", "swarm is set, but this engine is older than 25"),
    ],
)
def test_an_engine_that_cannot_make_servers_as_services(
    manager: bool,  # noqa: FBT001
    api: str,
    said: str,
) -> None:
    client: Any = SimpleNamespace(
        api_version=api, info=lambda: {"Swarm": {"ControlAvailable": manager}}
    )
    with pytest.raises(settings.SettingsError, match=said):
        made_by(client, settings.read_guard({"ZHUB_SWARM": "true"}))


@pytest.mark.parametrize("label", ["zhub", "=x", "a==b", "a=b c"])
def test_a_label_of_nodes_that_is_none(label: str) -> None:
    with pytest.raises(settings.SettingsError, match="ZHUB_SWARM_NODES is"):
        settings.read_guard({"ZHUB_SWARM_NODES": label})


def test_the_guard_listens_before_it_looks_at_shared_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes a container: of a hundred folders, all starts would wait half a minute."""
    done: list[str] = []

    def look() -> None:
        done.append("look")
        raise EngineLostError("the end of the test")

    monkeypatch.setattr(service, "listen", lambda *_: done.append("listen"))
    beats = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(heartbeat, "of_guard", lambda _: beats)
    guard: Any = SimpleNamespace(sizes=None)
    confinement: Any = SimpleNamespace(watch=lambda: None, keep=lambda _: None)
    shared: Any = SimpleNamespace(look=look)
    assert not asyncio.run(service._serve(guard, confinement, shared, {}, lambda: None))
    assert done == ["listen", "look"]
