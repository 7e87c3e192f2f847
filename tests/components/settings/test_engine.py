"""Which engine a stack goes to, and that it is the one that the stack is on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.settings import engine as engines
from components.settings.engine import Engine
from tests.components.recorder import Recording, run
from tests.components.settings.engines import ID, local, on_this_machine, stack_on
from tests.components.stacks import DEMO

# Most of these run the whole program, some of them twice.
pytestmark = pytest.mark.slow

OLD = "ssh://admin@old.example.com"
NEW = "ssh://admin@new.example.com"


def moved(tmp_path: Path, state: dict[str, Any], **config: str) -> Recording:
    settings = {f"zhub:{key}": value for key, value in config.items()}
    to = {"docker:host": NEW} | settings
    return run(local(tmp_path, 18443) | to, preview=True, deployed=state)


def test_the_program_refuses_a_docker_context(
    tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images would be built on one engine and containers run on another."""
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    run(local(tmp_path, free))
    monkeypatch.setenv("DOCKER_CONTEXT", "mainframe")
    with pytest.raises(pulumi.RunError, match="DOCKER_CONTEXT is mainframe") as raised:
        run(local(tmp_path, free))
    assert "    unset DOCKER_CONTEXT" in str(raised.value)


def test_without_docker_host_it_is_this_machines_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert engines.host("") == "tcp://192.0.2.1:2375"
    assert engines.host("ssh://z.example.com") == "ssh://z.example.com"
    monkeypatch.delenv("DOCKER_HOST")
    paths = (tmp_path / "docker.sock", tmp_path / "desktop.sock")
    monkeypatch.setattr(engines, "LOCAL_SOCKETS", paths)
    assert engines.host("") == f"unix://{paths[0]}"
    paths[1].touch()
    assert engines.host("") == f"unix://{paths[1]}"
    paths[0].touch()
    assert engines.host("") == f"unix://{paths[0]}"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(stack_on(OLD, provider=OLD), id="up"),
        pytest.param(stack_on(OLD, provider=NEW), id="an up towards the new one has failed"),
        pytest.param(stack_on(None, provider=OLD), id="the first up has failed halfway"),
    ],
)
def test_another_engine_is_refused_with_both_addresses_and_the_ways(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        moved(tmp_path, state, userMemory="lots")
    said = str(raised.value)
    assert (
        f"docker:host: the last `pulumi up` went to the engine at {OLD},"
        f" and this run would go to {NEW}. `pulumi up` moves nothing" in said
    )
    assert "docs/operations.md, Move to another machine" in said
    assert f"\n    pulumi config set docker:host {OLD}\n" in said
    assert f"\n    pulumi config set sameEngineAs {OLD}\n    pulumi config rm sameEngineAs" in said
    assert "the third after the `pulumi up`" in said
    assert "userMemory is" in said, "all mistakes at once, this one too"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({}, id="never up"),
        pytest.param(stack_on(None, provider=OLD, things=False), id="nothing was made there"),
        pytest.param(stack_on(NEW, provider=OLD), id="moved already"),
        pytest.param(
            stack_on("ssh://admin@NEW.example.com:22/", provider=NEW), id="spelt otherwise"
        ),
    ],
)
def test_a_stack_that_has_nothing_elsewhere_may_go_there(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    assert moved(tmp_path, state).declared


def test_another_address_of_the_same_engine_is_a_way_through_and_only_for_that_one(
    tmp_path: Path,
) -> None:
    assert moved(tmp_path, stack_on(OLD, provider=OLD), sameEngineAs=OLD).declared
    with pytest.raises(pulumi.RunError, match="`pulumi up` went to the engine at tcp://third:2376"):
        moved(tmp_path, stack_on("tcp://third:2376", provider=OLD), sameEngineAs=OLD)


def test_an_address_from_the_environment_is_another_engine_too(
    tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", NEW)
    config = local(tmp_path, free) | {"docker:host": ""}
    with pytest.raises(pulumi.RunError, match=r"would go to ssh://.*new.*, from DOCKER_HOST"):
        run(config, deployed=stack_on(OLD, provider=OLD))


def test_a_link_to_the_socket_is_the_same_engine(
    tmp_path: Path, engine_with: Callable[..., Engine], free: int
) -> None:
    there = engine_with().host.removeprefix("unix://")
    (tmp_path / "link.sock").symlink_to(there)
    config = local(tmp_path, free) | {"docker:host": f"unix://{there}"}
    linked = f"unix://{tmp_path}/link.sock"
    assert run(config, deployed=stack_on(linked, provider=linked)).declared


def test_the_same_socket_on_another_machine_is_another_engine(
    engine_with: Callable[..., Engine], free: int
) -> None:
    """With a shared state, a colleague's `up` would make the hub anew, with an empty database."""
    engine = engine_with()
    config = on_this_machine(engine, free)
    first = run(config)
    assert first.outputs["engineId"]["value"] == ID
    state = stack_on(engine.host, provider=engine.host)
    state["urn:stack"]["outputs"]["engineId"] = ID
    assert run(config, deployed=state).declared

    state["urn:stack"]["outputs"]["engineId"] = "RTNM:V36G"
    with pytest.raises(pulumi.RunError) as raised:
        run(config, deployed=state)
    said = str(raised.value)
    assert f"the engine at {engine.host} is not the one that the last `pulumi up` went to" in said
    assert f"its ID is {ID}, and was RTNM:V36G" in said
    assert "\n    pulumi config set docker:host ssh://" in said
    line = f"pulumi config set sameEngineAs {engine.host}"
    assert f"\n    {line}\n    pulumi config rm sameEngineAs" in said
    assert "Run the third after the `pulumi up`" in said
    # Docker was installed anew.
    again = run(config | {"zhub:sameEngineAs": engine.host}, deployed=state)
    assert again.outputs["engineId"]["value"] == ID
    assert not any("sameEngineAs" in text for text in again.warnings), "it is needed"


def emptied(address: str, id: str) -> dict[str, Any]:
    """The state after a refresh that found nothing of the stack on an engine."""
    state = stack_on(address, provider=address, things=False)
    state["urn:stack"]["outputs"]["engineId"] = id
    return state


def test_a_state_emptied_on_another_machine_makes_no_second_hub_there(
    engine_with: Callable[..., Engine], free: int
) -> None:
    engine = engine_with()
    config = on_this_machine(engine, free)
    with pytest.raises(pulumi.RunError) as raised:
        run(config, deployed=emptied(engine.host, "RTNM:V36G"))
    said = str(raised.value)
    assert f"its ID is {ID}, and was RTNM:V36G" in said
    assert "The state has nothing on any engine, as after a refresh on a machine" in said
    assert "docs/more-than-one.md, Backups of the state" in said
    assert said.endswith("\n    pulumi destroy")
    # All was removed where the stack is, or Docker was installed anew there.
    assert run(config, deployed=emptied(engine.host, ID)).declared
    excused = config | {"zhub:sameEngineAs": engine.host}
    assert run(excused, deployed=emptied(engine.host, "RTNM:V36G")).declared


def test_after_all_was_removed_another_address_is_no_other_engine(tmp_path: Path) -> None:
    """As after a destroy that failed at its end. The one at the new address is not asked."""
    assert moved(tmp_path, emptied("unix:///var/run/docker.sock", ID)).declared


DONE = "sameEngineAs has done its work, and is for one `pulumi up` only: pulumi config rm sameEng"


def test_an_address_of_the_same_engine_is_to_be_removed_after_the_up(tmp_path: Path) -> None:
    def warned(last: str) -> list[str]:
        recording = moved(tmp_path, stack_on(last, provider=last), sameEngineAs=OLD)
        return [text[: len(DONE)] for text in recording.warnings if "sameEngineAs" in text]

    assert warned(OLD) == [], "it is needed"
    assert warned(NEW) == [DONE]


@pytest.mark.parametrize("id", [ID, None])
def test_the_address_of_a_docker_installed_anew_is_to_be_removed_after_the_up(
    engine_with: Callable[..., Engine], free: int, id: str | None
) -> None:
    """It would have the same socket on another machine taken for the same engine for good."""
    engine = engine_with()
    state = stack_on(engine.host, provider=engine.host)
    state["urn:stack"]["outputs"] |= {"engineId": id} if id else {}
    recording = run(on_this_machine(engine, free, sameEngineAs=engine.host), deployed=state)
    assert [text[: len(DONE)] for text in recording.warnings if "sameEngineAs" in text] == [DONE]
    assert not any("sameEngineAs" in text for text in run(on_this_machine(engine, free)).warnings)


def test_a_stack_of_a_release_without_the_engines_id_goes_on(
    engine_with: Callable[..., Engine], free: int
) -> None:
    engine = engine_with()
    state = stack_on(engine.host, provider=engine.host)
    assert run(on_this_machine(engine, free), deployed=state).outputs["engineId"]["value"] == ID


def test_an_engine_that_is_not_asked_has_no_id(tmp_path: Path, free: int) -> None:
    assert "engineId" not in run(DEMO).outputs
    assert "engineId" not in run(local(tmp_path, free)).outputs
