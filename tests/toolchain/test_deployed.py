"""The engine that a stack is on: asked by its own address, and refused on another machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.toolchain.conftest import Docker
from toolchain import deployed, runs
from toolchain.console import Problem
from toolchain.places import ROOT

HERE = "CUJR:PUOR"
ADDRESS = "unix:///var/run/docker.sock"


def state_on(address: str | None, id: str | None, *, things: bool = True) -> dict[str, Any]:
    """The state of a stack with an interrupted container."""
    outputs = {"url": "https://hub.example.com"} | ({"engineId": id} if id else {})
    inputs = {"host": address} if address else {}
    container = {
        "urn": "urn:pulumi:site::zhub::docker:index/container:Container::hub",
        "type": "docker:index/container:Container",
        "inputs": {"name": "zhub-site-hub"},
    }
    network = {"type": "docker:index/network:Network", "id": "1"}
    return {
        "resources": [
            {"type": "pulumi:pulumi:Stack", "outputs": outputs},
            {"type": "pulumi:providers:docker", "inputs": inputs},
            *([network] if things else []),
        ],
        "pending_operations": [{"type": "creating", "resource": container}],
    }


def test_another_machines_stack_is_refused_with_where_it_is_and_what_to_do(
    asked_docker: Docker,
) -> None:
    asked_docker.answers(HERE)
    with pytest.raises(Problem) as raised:
        deployed.refuse_elsewhere("site", state_on(ADDRESS, "RTNM:V36G"))
    said = str(raised.value)
    assert f"stack site is not on this machine: the engine at {ADDRESS} has the ID {HERE}," in said
    assert "the last `pulumi up` went to RTNM:V36G" in said
    assert "Nothing was changed" in said
    assert "The hub is at https://hub.example.com: run the same command on that machine" in said
    assert f"\n  pulumi config set sameEngineAs {ADDRESS} && pulumi up --refresh\n" in said
    assert said.endswith("\n  pulumi config rm sameEngineAs")
    assert asked_docker.asked() == [f"--host {ADDRESS} info --format {{{{.ID}}}}"]


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({}, id="never up"),
        pytest.param(state_on(ADDRESS, HERE), id="on this machine"),
        pytest.param(state_on(ADDRESS, None), id="up with a release that noted no ID"),
        pytest.param(state_on(ADDRESS, "RTNM:V36G", things=False), id="has nothing to forget"),
        pytest.param(state_on("ssh://z.example.com", "RTNM:V36G"), id="one address, one engine"),
    ],
)
def test_any_other_stack_is_not_refused(asked_docker: Docker, state: dict[str, Any]) -> None:
    asked_docker.answers(HERE)
    deployed.refuse_elsewhere("site", state)


def test_an_engine_that_does_not_answer_is_left_to_pulumi(asked_docker: Docker) -> None:
    asked_docker.answers(None)
    deployed.refuse_elsewhere("site", state_on(ADDRESS, "RTNM:V36G"))
    assert asked_docker.asked()


def test_the_engine_of_the_state_is_asked_with_its_files_for_tls() -> None:
    state = state_on("tcp://z.example.com:2376", None)
    state["resources"][1]["inputs"]["certPath"] = "tls"
    host, address, *tls = deployed.docker_options(state)
    assert (host, address) == ("--host", "tcp://z.example.com:2376")
    assert tls == [
        "--tlsverify",
        f"--tlscacert={ROOT}/tls/ca.pem",
        f"--tlscert={ROOT}/tls/cert.pem",
        f"--tlskey={ROOT}/tls/key.pem",
    ]
    assert deployed.docker_options({}) == []


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch, asked_docker: Docker) -> list[str]:
    """The commands of `pulumi` so far, each by its verb; a shell and a file name other engines."""
    verbs: list[str] = []

    def run(_: str, verb: str, *__: str, quiet: bool) -> str:
        assert quiet
        verbs.append(verb)
        return json.dumps({"deployment": state_on(ADDRESS, "RTNM:V36G")})

    monkeypatch.setattr(runs, "pulumi", run)
    monkeypatch.setattr(runs, "client", lambda: str(asked_docker.file))
    monkeypatch.setenv("DOCKER_HOST", "ssh://elsewhere.example.com")
    return verbs


def test_nothing_is_forgotten_by_the_clean_up_on_another_machine(
    pulumi: list[str], asked_docker: Docker
) -> None:
    asked_docker.answers(HERE)
    with pytest.raises(Problem, match="stack site is not on this machine"):
        runs.half_made("site", "zhub-site")
    assert pulumi == ["stack"]


def test_what_is_half_made_is_looked_for_where_the_refresh_asks(
    pulumi: list[str], asked_docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_docker.answers("RTNM:V36G")
    removed: list[list[str]] = []
    monkeypatch.setattr(runs, "run", lambda _, command: removed.append(command))
    runs.half_made("site", "zhub-site")
    assert pulumi == ["stack", "refresh", "stack"]
    assert all(line.startswith(f"--host {ADDRESS} ") for line in asked_docker.asked())
    assert [line.split()[2:4] for line in asked_docker.asked()] == [
        ["info", "--format"],
        ["container", "ls"],
    ]
    # The answer to every question; here it is the container's ID.
    last = ["--host", ADDRESS, "container", "rm", "--force", "RTNM:V36G"]
    assert removed == [[str(asked_docker.file), *last]]
