"""Containers that another run is creating, or has left half made, on a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.plugins.docker_tools import TINY, tiny_context
from tests.toolchain.conftest import Project
from toolchain import runs, stack
from toolchain.console import Problem

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ADDRESS = "unix:///var/run/docker.sock"

#: With a check that always fails, Pulumi waits for the container while it exists already.
PROGRAM = """
import pulumi_docker as docker
docker.Container(
    "waiting",
    name={name!r},
    image={image!r},
    command=["sleep", "600"],
    stop_signal="SIGKILL",
    wait=True,
    wait_timeout=300,
    labels=[docker.ContainerLabelArgs(label="zhub.stack", value={name!r})],
    healthcheck=docker.ContainerHealthcheckArgs(
        tests=["CMD", {check!r}], interval="1s", retries=300
    ),
)
"""


@dataclass(frozen=True)
class Waiting:
    """A stack whose only container is never healthy, and the run that waits for it."""

    project: Project
    engine: docker.DockerClient
    name: str
    run: subprocess.Popen[str]

    def containers(self) -> list[Container]:
        """The stack's containers on the engine."""
        found: list[Container] = self.engine.containers.list(
            all=True, filters={"label": f"zhub.stack={self.name}"}, ignore_removed=True
        )
        return found

    def kill(self) -> None:
        """Kill the run and its plugins."""
        os.killpg(self.run.pid, signal.SIGKILL)
        self.run.wait()

    def clean_up(self) -> None:
        """Do what `make up` does before it changes anything."""
        runs.unlock("test")
        runs.half_made("test", self.name, stack.docker_options("test"))


@pytest.fixture
def waiting(
    driven: Project, engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Waiting]:
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    (tmp_path / "tiny").mkdir()
    context = tiny_context(tmp_path / "tiny")
    subprocess.run(["docker", "build", "--quiet", "--tag", TINY, context], check=True)
    file = driven.folder / "Pulumi.test.yaml"
    salt = file.read_text()
    file.write_text(f"{salt}config:\n  docker:host: {ADDRESS}\n")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")  # the stack's own address counts
    driven.write(PROGRAM.format(name=name, image=TINY, check="false"))
    process = driven.start("up", "--yes", "--skip-preview")
    one = Waiting(driven, engine, name, process)
    try:
        end = time.monotonic() + 60
        while not one.containers():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.1)
        yield one
    finally:
        if process.poll() is None:
            one.kill()
        for container in one.containers():
            container.remove(force=True)


def test_a_container_of_a_living_run_is_not_removed(
    waiting: Waiting, capfd: pytest.CaptureFixture[str]
) -> None:
    [before] = waiting.containers()
    with pytest.raises(Problem, match="currently locked by 1 lock"):
        waiting.clean_up()
    assert [one.id for one in waiting.containers()] == [before.id]
    assert "interrupted" not in capfd.readouterr().err
    assert waiting.run.poll() is None


def test_a_container_of_a_killed_run_is_removed_from_the_stacks_engine(waiting: Waiting) -> None:
    waiting.kill()
    waiting.clean_up()
    assert waiting.containers() == []
    waiting.project.write(PROGRAM.format(name=waiting.name, image=TINY, check="true"))
    waiting.project.pulumi("up", "--yes", "--skip-preview")

    # The run before had ended by the time this one looks again: what it made is in the state.
    [made] = waiting.containers()
    [file] = (waiting.project.state / ".pulumi/stacks/zhub").glob("test.json")
    state = json.loads(file.read_text())
    latest = state["checkpoint"]["latest"]
    [resource] = [one for one in latest["resources"] if one["type"] in runs.HALF_MADE]
    latest["pending_operations"] = [{"resource": resource, "type": "creating"}]
    file.write_text(json.dumps(state))
    waiting.clean_up()
    assert [one.id for one in waiting.containers()] == [made.id]
    waiting.project.pulumi("destroy", "--yes", "--skip-preview")


def test_an_engine_that_does_not_answer_is_named_before_anything_is_forgotten(
    waiting: Waiting,
) -> None:
    waiting.kill()
    runs.unlock("test")
    with pytest.raises(Problem, match=f"left a container {waiting.name}, but .* does not answer"):
        runs.half_made("test", waiting.name, ["--host", "unix:///nowhere"])
    waiting.clean_up()
    assert waiting.containers() == []
