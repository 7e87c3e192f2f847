"""The clean-up of `pulumi destroy`, alone: it ends well whatever ends at the same time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from components.hub import REMOVE_NOTEBOOKS
from tests.engine.conftest import CONFIG, remove_leftovers

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

PREFIX = "zhub-clean-up"
COUNT = 12


@pytest.fixture
def servers(engine: docker.DockerClient) -> Iterator[list[str]]:
    """Names of containers with a network each, as the hub makes them for users."""
    remove_leftovers(engine, PREFIX)
    names = [f"{PREFIX}-user-{number}" for number in range(COUNT)]
    for name in names:
        labels = {"zhub.stack": PREFIX, "zhub.role": "user-network"}
        engine.networks.create(name, labels=labels, internal=True)
        engine.containers.run(
            CONFIG["buildImage"],
            ["sleep", "600"],
            name=name,
            network=name,
            labels={"zhub.stack": PREFIX, "zhub.role": "notebook"},
            detach=True,
        )
    yield names
    remove_leftovers(engine, PREFIX)


def clean_up(**environment: str) -> subprocess.Popen[str]:
    """Start the clean-up."""
    return subprocess.Popen(
        ["/bin/sh", "-c", REMOVE_NOTEBOOKS.read_text()],
        env={**os.environ, "ZHUB_PREFIX": PREFIX, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_ends_at_the_same_moment_is_no_error(
    engine: docker.DockerClient, servers: list[str]
) -> None:
    removals = [subprocess.Popen(["docker", "rm", "-f", name]) for name in servers]
    script = clean_up()
    _, error = script.communicate(timeout=120)
    assert script.returncode == 0, error
    for removal in removals:
        removal.wait()
    ours: dict[str, Any] = {"label": f"zhub.stack={PREFIX}"}
    assert not engine.containers.list(all=True, filters=ours)
    assert not engine.networks.list(filters=ours)


def test_an_engine_that_does_not_answer_is_an_error() -> None:
    script = clean_up(DOCKER_HOST="unix:///nowhere/engine.sock")
    _, error = script.communicate(timeout=60)
    assert script.returncode
    assert "unix:///nowhere/engine.sock" in error
