"""What a killed run may have left on the engine: which commands find and remove it.

With a real engine: test_interrupted.py. Services need a swarm, which few engines are in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolchain import runs
from toolchain.console import Problem

SERVICE = "docker:index/service:Service"
PROVIDER = {"type": "pulumi:providers:docker", "inputs": {"host": "unix:///its.sock"}}

#: Replaces `docker`: records what it is asked, and has two services of the stack.
DOCKER = """#!/bin/sh
echo "$@" >> {asked}
case "$*" in *"service ls"*)
    echo abcdef012345 zhub-test-nodeguard
    echo 0123456789ab zhub-test-nodeguard2
esac
"""


def pending(type: str, name: str) -> dict[str, Any]:
    resource = {"type": type, "urn": f"urn:pulumi::{name}", "inputs": {"name": f"zhub-test-{name}"}}
    return {"type": "creating", "resource": resource}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with what `docker` was asked."""
    asked = tmp_path / "asked"
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(asked=asked))
    docker.chmod(0o755)
    monkeypatch.setattr(runs, "client", lambda: str(docker))
    monkeypatch.setattr(runs, "pulumi", lambda *_, **__: "")
    return asked


@pytest.mark.parametrize("recorded", [False, True])
def test_a_service_that_the_state_does_not_have_is_removed(
    asked: Path, monkeypatch: pytest.MonkeyPatch, *, recorded: bool
) -> None:
    # `docker service ls` has the beginning of an ID only.
    own = {"type": SERVICE, "id": "abcdef012345ghijklmnopqrs"}
    state = {
        "pending_operations": [pending(SERVICE, "nodeguard")],
        "resources": [PROVIDER, own] if recorded else [PROVIDER],
    }
    monkeypatch.setattr(runs, "_state", lambda _: state)
    runs.half_made("test", "zhub-test")
    listed, *removed = asked.read_text().splitlines()
    assert listed == (
        "--host unix:///its.sock service ls --format {{.ID}} {{.Name}} --filter"
        " label=zhub.stack=zhub-test"
    )
    gone = ["--host unix:///its.sock service rm abcdef012345"]
    assert removed == ([] if recorded else gone)


def test_an_engine_that_is_in_no_swarm_is_named(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (asked.parent / "docker").write_text("#!/bin/sh\nexit 1\n")
    state = {"pending_operations": [pending(SERVICE, "nodeguard")], "resources": [PROVIDER]}
    monkeypatch.setattr(runs, "_state", lambda _: state)
    with pytest.raises(Problem, match=r"left a service zhub-test-nodeguard.*service ls"):
        runs.half_made("test", "zhub-test")
