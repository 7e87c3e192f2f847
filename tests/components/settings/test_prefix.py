"""What names on the engine begin with: the setting, the stack's name, what is up already."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components.settings import prefix
from components.settings.deployed import Deployed
from tests.components.recorder import run
from tests.components.stack_config import DEMO, SITE, read

#: What the state of a stack has, by URN, as Pulumi's own provider tells it.
ROOT = "urn:pulumi:prod::zhub::pulumi:pulumi:Stack::zhub-prod"
STATE = "urn:pulumi:prod::zhub::zhub:hub:Hub$docker:index/volume:Volume::state"
CERTS = "urn:pulumi:prod::zhub::zhub:hub:Hub$docker:index/volume:Volume::certs"
NETWORK = "urn:pulumi:prod::zhub::zhub:hub:Hub$docker:index/network:Network::hub"
HUB = "urn:pulumi:prod::zhub::zhub:hub:Hub$docker:index/container:Container::hub"


def volume(name: str) -> dict[str, Any]:
    return {"type": "docker:index/volume:Volume", "outputs": {"name": name}}


def network(name: str) -> dict[str, Any]:
    return {"type": "docker:index/network:Network", "outputs": {"name": name}}


#: A stack of release 0db4f5d: no output says the prefix.
OLD = {
    ROOT: {"type": "pulumi:pulumi:Stack", "outputs": {"container": "zhub-dev-hub"}},
    HUB: {"type": "docker:index/container:Container", "outputs": {"name": "zhub-dev-hub"}},
    STATE: volume("zhub-dev-state"),
    NETWORK: network("zhub-dev-hub"),
}


def test_the_default_is_of_the_stacks_name() -> None:
    assert read(SITE, stack="prod")[0].prefix == "zhub-prod"
    assert read(SITE | {"zhub:prefix": "zhub-dev"}, stack="prod")[0].prefix == "zhub-dev"


@pytest.mark.parametrize(
    ("stack", "instead"),
    [
        ("Prod", "zhub-prod"),
        ("my_stack", "zhub-my-stack"),
        ("my.stack", "zhub-my-stack"),
        ("a-", "zhub-a"),
        ("a" * 33, f"zhub-{'a' * 32}"),
        ("dev-home", "zhub-dev-homes"),
        ("user", "zhub-users"),
        ("a-user-b", "zhub-a-users-b"),
    ],
)
def test_a_stack_with_any_name_gets_a_prefix(stack: str, instead: str) -> None:
    [problem] = read(SITE, stack=stack)[1].problems
    assert f"names on the engine begin with zhub-{stack}, which" in str(problem)
    assert problem.commands == (f"pulumi config set prefix {instead}",)
    # Whoever has users there would lose their homes by either.
    assert "rename" not in str(problem)
    assert ("see CHANGELOG.md" in str(problem)) == bool({"home", "user"} & set(stack.split("-")))
    found, config = read(SITE | {"zhub:prefix": instead}, stack=stack)
    assert not config.problems
    assert found.prefix == instead


@pytest.mark.parametrize(
    "text", ["Zhub", "a_b", "-a", "a-", "a.b", "a b", "a" * 38, "user", "x-home"]
)
def test_a_prefix_that_names_cannot_begin_with_is_refused(text: str) -> None:
    config = read(SITE | {"zhub:prefix": text})[1]
    [problem] = config.problems
    assert problem.subject == f'prefix is "{text}"'
    [command] = problem.commands
    assert prefix.parse(command.rpartition(" ")[2])


def problems(config: dict[str, str], deployed: dict[str, Any], stack: str = "prod") -> list[str]:
    found, declared = read(SITE | config, stack=stack)
    state = Deployed({urn: (one["type"], one["outputs"]) for urn, one in deployed.items()})
    prefix.refuse_another(declared, found.prefix, state)
    return [str(problem) for problem in declared.problems]


def test_a_renamed_stack_is_told_to_keep_its_prefix() -> None:
    [problem] = problems({}, OLD)
    assert "begin with zhub-dev now and would begin with zhub-prod" in problem
    assert "renamed keeps its prefix" in problem
    assert problem.endswith("    pulumi config set prefix zhub-dev")
    assert problems({"zhub:prefix": "zhub-dev"}, OLD) == []
    assert problems({}, OLD, stack="dev") == []


def test_another_prefix_for_a_stack_that_is_up_is_refused() -> None:
    [problem] = problems({"zhub:prefix": "site"}, OLD, stack="dev")
    assert "begin with zhub-dev now and would begin with site" in problem
    assert problem.endswith("    pulumi config set prefix zhub-dev")


@pytest.mark.parametrize(
    "state",
    [
        {STATE: volume("zhub-dev-state")},
        {NETWORK: network("zhub-dev-hub")},
        # Half renamed by a release that did not refuse it: the database decides.
        {NETWORK: network("zhub-prod-hub"), STATE: volume("zhub-dev-state")},
        {
            STATE: volume("zhub-dev-state"),
            STATE.replace("state", "certs"): volume("zhub-prod-certs"),
        },
    ],
)
def test_what_an_up_that_failed_has_made_counts(state: dict[str, Any]) -> None:
    [problem] = problems({}, state)
    assert problem.endswith("    pulumi config set prefix zhub-dev")


def test_a_stack_that_was_never_up_takes_any() -> None:
    assert problems({"zhub:prefix": "site"}, {}) == []
    only_keys = {"urn:k": {"type": "tls:index/privateKey:PrivateKey", "outputs": {}}}
    assert problems({"zhub:prefix": "site"}, only_keys) == []


def test_a_prefix_that_is_wrong_is_told_once() -> None:
    assert len(problems({"zhub:prefix": "Site"}, OLD)) == 1


def test_what_an_old_release_took_leads_to_no_command_that_is_refused_too() -> None:
    old = {STATE: volume("zhub-dev-home-state")}
    [problem] = problems({"zhub:prefix": "zhub-dev-homes"}, old, stack="dev-home")
    assert "see CHANGELOG.md" in problem
    assert "pulumi config set" not in problem


@pytest.mark.parametrize("preview", [True, False])
def test_the_program_declares_nothing_then(*, preview: bool) -> None:
    with pytest.raises(pulumi.RunError, match="pulumi config set prefix zhub-dev"):
        run(DEMO, stack="prod", preview=preview, deployed=OLD)
    kept = run(DEMO | {"zhub:prefix": "zhub-dev"}, stack="prod", preview=preview, deployed=OLD)
    assert kept.one("Volume", "state").inputs["name"] == "zhub-dev-state"
    assert kept.outputs["prefix"]["value"] == "zhub-dev"
