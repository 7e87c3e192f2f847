"""Names as transitions: a second stack's `up`, a rename, pruning, with users in it.

Two stacks for this machine's own platform, without emulation, on one engine.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from tests.engine.conftest import native, running_stack
from tests.engine.people import logged_in
from tests.engine.stack import PulumiError, Stack, checkout
from tests.ports import free_port
from toolchain.places import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: By this label of their images and containers, what is pruned is the tests' own.
SOURCE = "https://git.example.com/test-names"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose files tests may change."""
    return checkout(tmp_path_factory.mktemp("names") / "project")


@pytest.fixture(scope="module")
def one(
    engine: docker.DockerClient, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = config_of(engine, "python3-yaml")
    yield from running_stack(engine, "names-one", tmp_path_factory.mktemp("one"), config, project)


@pytest.fixture(scope="module")
def two(
    engine: docker.DockerClient, one: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack that comes up after the other one."""
    config = config_of(engine, "python3-toml")
    yield from running_stack(
        engine, "names-two", tmp_path_factory.mktemp("two"), config, one.project
    )


def config_of(engine: docker.DockerClient, package: str) -> dict[str, Any]:
    """Config of a stack whose users get one package."""
    own = {"port": free_port(), "imageSource": SOURCE, "notebookPackages": [package]}
    return native(engine) | own


@contextmanager
def changed_hub(stack: Stack) -> Iterator[None]:
    """A change in `images/hub` alone."""
    file = stack.project / "images/hub/zhub/heartbeat.py"
    before = file.read_text()
    file.write_text(f"{before}\n# changed by a test\n")
    try:
        yield
    finally:
        file.write_text(before)


def layers(engine: docker.DockerClient, image: str) -> list[str]:
    found: list[str] = engine.images.get(image).attrs["RootFS"]["Layers"]
    return found


def built_from(engine: docker.DockerClient, stack: Stack) -> bool:
    """Whether the hub that runs is made from the notebook image that its users get."""
    outputs = stack.outputs()
    hub = engine.containers.get(outputs["container"]).attrs["Image"]
    notebook = layers(engine, outputs["notebookDigest"])
    return layers(engine, hub)[: len(notebook)] == notebook


def import_in(stack: Stack, engine: docker.DockerClient, module: str) -> bool:
    """Whether the hub that runs has a Python package."""
    hub = engine.containers.get(f"{stack.prefix}-hub")
    done = hub.exec_run(["/opt/jupyter/bin/python3", "-c", f"import {module}"])
    return done.exit_code == 0


def test_a_hub_is_built_from_its_own_stacks_notebook(
    one: Stack, two: Stack, engine: docker.DockerClient
) -> None:
    """A goes up, B goes up, `images/hub` changes, A goes up again: F6, H4."""
    digests = [stack.outputs()["notebookDigest"] for stack in (one, two)]
    assert digests[0] != digests[1]
    before = one.outputs()["hubDigest"]
    with changed_hub(one):
        one.up()
        assert one.outputs()["hubDigest"] != before
        assert built_from(engine, one)
        assert import_in(one, engine, "yaml")
        assert not import_in(one, engine, "toml")
    one.up()
    assert one.outputs()["notebookDigest"] == digests[0]


def test_the_documented_names_are_there_for_use_by_hand(
    one: Stack, two: Stack, engine: docker.DockerClient
) -> None:
    architecture = engine.images.get(two.outputs()["hubDigest"]).attrs["Architecture"]
    for image in ("notebook", "hub"):
        documented = engine.images.get(f"jupyter_{image}_{architecture}:latest").id
        assert documented in {stack.outputs()[f"{image}Digest"] for stack in (one, two)}


@pytest.mark.long
def test_no_hub_is_built_from_a_tag_that_somebody_moved(
    one: Stack, two: Stack, engine: docker.DockerClient
) -> None:
    outputs = one.outputs()
    own, other = (engine.images.get(s.outputs()["notebookDigest"]) for s in (one, two))
    repository = f"jupyter_notebook_{own.attrs['Architecture']}"
    other.tag(repository, one.prefix)
    with changed_hub(one):
        with pytest.raises(PulumiError, match="is not the notebook image that this stack has"):
            one.up()
        assert engine.containers.get(outputs["container"]).attrs["Image"] == outputs["hubDigest"]
        [urn] = [r["urn"] for r in state(one) if r["urn"].endswith("image:Image::notebook")]
        one.up("--target-replace", urn, "--target-dependents")
        one.up()
        assert built_from(engine, one)
    one.up()


def state(stack: Stack) -> list[dict[str, Any]]:
    """Resources in the stack's state."""
    found: list[dict[str, Any]] = json.loads(
        stack.pulumi("stack", "export", "--stack", stack.name)
    )["deployment"]["resources"]
    return found


def prune(engine: docker.DockerClient) -> None:
    """What `docker system prune -a` does, as far as it concerns the tests' own."""
    label = f"org.opencontainers.image.source={SOURCE}"
    engine.containers.prune(filters={"label": label})
    engine.images.prune(filters={"label": label, "dangling": False})


def test_who_prunes_the_engine_breaks_nothing(
    one: Stack, two: Stack, engine: docker.DockerClient
) -> None:
    """With nobody logged in, and after another stack's `up`."""
    for stack in (one, two):
        assert not engine.containers.list(filters=stack.labelled("notebook"))
    # What nothing runs from does go.
    build = f"FROM {one.outputs()['notebookDigest']}\nLABEL unused=1\n"
    unused, _ = engine.images.build(fileobj=io.BytesIO(build.encode()), tag="zhub-test:unused")
    prune(engine)
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(str(unused.id))
    alice = logged_in(one, "alice")
    alice.start_server()
    alice.stop_server()
    # The container that never runs is gone. It comes back, and nothing else changes.
    before = running(engine, one.prefix)
    one.up("--refresh")
    assert engine.containers.get(f"{one.prefix}-files")
    assert running(engine, one.prefix) == before


def running(engine: docker.DockerClient, prefix: str) -> dict[str, str]:
    """Ids of a stack's containers by name."""
    found = engine.containers.list(filters={"label": f"zhub.stack={prefix}"})
    return {str(one.name): str(one.id) for one in found}


def test_a_stack_that_is_renamed_keeps_everything(one: Stack, engine: docker.DockerClient) -> None:
    alice = logged_in(one, "alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("x = 41")
    alice.save("kept.txt", "kept")
    before = running(engine, one.prefix)

    policies = ("--policy-pack", str(ROOT / "policy"))
    renamed = replace(one, name="names-new")
    # As the command does it to a stack file in the project.
    one.config_file.rename(renamed.config_file)
    one.pulumi("stack", "rename", renamed.name, "--stack", one.name)
    try:
        for command in (("preview",), ("up", "--yes")):
            with pytest.raises(PulumiError) as refusal:
                renamed.on_stack(*command)
            said = str(refusal.value)
            assert f"begin with {one.prefix} now and would begin with {renamed.prefix}" in said
            assert f"pulumi config set prefix {one.prefix}" in said
        renamed.configure({"prefix": one.prefix})
        shown = renamed.on_stack("preview", "--expect-no-changes", *policies)
        assert "zhub@v1.0.0" in shown
        renamed.up(*policies)
        assert running(engine, one.prefix) == before
        assert kernel.run("print(x + 1)").strip() == "42"
        assert alice.read("kept.txt") == "kept"
    finally:
        alice.stop_server()
        renamed.on_stack("config rm", "zhub:prefix")
        renamed.config_file.rename(one.config_file)
        renamed.pulumi("stack", "rename", one.name, "--stack", renamed.name)
