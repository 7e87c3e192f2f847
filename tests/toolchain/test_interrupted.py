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
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.volumes import Volume

from tests.plugins.docker_tools import TINY, tiny_context
from tests.toolchain.conftest import Project
from toolchain import deployed, runs
from toolchain.console import Problem

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ADDRESS = "unix:///var/run/docker.sock"

#: With a check that always fails, Pulumi waits for the container while it exists already.
PROGRAM = """
import pulumi, pulumi_docker as docker
label = dict(label="zhub.stack", value={name!r})
there = docker.Volume("there", name={name!r}, labels=[docker.VolumeLabelArgs(**label)])
docker.Container(
    "waiting",
    name={name!r},
    image={image!r},
    command=["sleep", "600"],
    stop_signal="SIGKILL",
    wait=True,
    wait_timeout=300,
    labels=[docker.ContainerLabelArgs(**label)],
    healthcheck=docker.ContainerHealthcheckArgs(
        tests=["CMD", {check!r}], interval="1s", retries=300
    ),
    opts=pulumi.ResourceOptions(depends_on=[there]),
)
"""


@dataclass(frozen=True)
class Waiting:
    """A stack with a volume and a container that is never healthy, and the run that waits."""

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

    def volumes(self) -> list[Volume]:
        """The stack's volumes on the engine."""
        found: list[Volume] = self.engine.volumes.list(filters={"label": f"zhub.stack={self.name}"})
        return found

    def latest(self) -> dict[str, Any]:
        """What the state has: resources and pending operations."""
        latest: dict[str, Any] = json.loads(self._file.read_text())["checkpoint"]["latest"]
        return latest

    def write(self, latest: dict[str, Any]) -> None:
        """Have the state say that."""
        state = json.loads(self._file.read_text())
        state["checkpoint"]["latest"] = latest
        self._file.write_text(json.dumps(state))

    def up_on(self, id: str) -> None:
        """Have the state say that the last good `up` went to the engine with that ID."""
        latest = self.latest()
        of(latest, deployed.STACK)["outputs"] = {"engineId": id, "url": "https://hub.example.com"}
        self.write(latest)

    @property
    def _file(self) -> Path:
        [file] = (self.project.state / ".pulumi/stacks/zhub").glob("test.json")
        return file

    def kill(self) -> None:
        """Kill the run and its plugins."""
        os.killpg(self.run.pid, signal.SIGKILL)
        self.run.wait()

    def clean_up(self) -> None:
        """Do what `make up` does before it changes anything."""
        runs.unlock("test")
        runs.half_made("test", self.name)


def of(latest: dict[str, Any], kind: str) -> dict[str, Any]:
    """The one resource of that type."""
    [found] = [one for one in latest["resources"] if one["type"] == kind]
    resource: dict[str, Any] = found
    return resource


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
        for volume in one.volumes():
            volume.remove()


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
    latest = waiting.latest()
    [resource] = [one for one in latest["resources"] if one["type"] in runs.HALF_MADE]
    latest["pending_operations"] = [{"resource": resource, "type": "creating"}]
    waiting.write(latest)
    waiting.clean_up()
    assert [one.id for one in waiting.containers()] == [made.id]
    waiting.project.pulumi("destroy", "--yes", "--skip-preview")


def test_an_engine_that_does_not_answer_is_named_before_anything_is_forgotten(
    waiting: Waiting,
) -> None:
    waiting.kill()
    latest = waiting.latest()
    of(latest, deployed.PROVIDER)["inputs"]["host"] = "unix:///nowhere"
    waiting.write(latest)
    with pytest.raises(Problem, match=f"left a container {waiting.name}, but .* does not answer"):
        waiting.clean_up()
    assert waiting.latest() == latest
    of(latest, deployed.PROVIDER)["inputs"]["host"] = ADDRESS
    waiting.write(latest)
    waiting.clean_up()
    assert waiting.containers() == []


def test_on_another_machine_nothing_is_removed_or_forgotten(waiting: Waiting) -> None:
    """A shared state, and a colleague's machine with a socket of the same name."""
    waiting.kill()
    waiting.up_on("RTNM:V36G")
    before = waiting.latest()
    with pytest.raises(Problem, match="stack test is not on this machine"):
        waiting.clean_up()
    assert waiting.latest() == before
    assert len(waiting.containers()) == len(waiting.volumes()) == 1
    waiting.up_on(waiting.engine.info()["ID"])
    waiting.clean_up()
    assert waiting.containers() == []
    assert len(waiting.volumes()) == 1


def test_a_refresh_where_the_stack_is_not_forgets_all_but_the_engines_id(waiting: Waiting) -> None:
    """By which the program then refuses to make a second hub there."""
    waiting.kill()
    waiting.up_on("RTNM:V36G")
    runs.unlock("test")
    for container in waiting.containers():
        container.remove(force=True)
    for volume in waiting.volumes():
        volume.remove()
    asked = ("refresh", "--yes", "--skip-preview", "--clear-pending-creates")
    waiting.project.pulumi(*asked)
    after = waiting.latest()
    assert not any(one["type"].startswith("docker:") for one in after["resources"])
    assert of(after, deployed.STACK)["outputs"]["engineId"] == "RTNM:V36G"
