"""A stack with image, network, volume and containers, with the real CLI, from up to destroy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker
import pytest
from pulumi import ResourceOptions

from components.service import LESS
from tests.plugins.docker_tools import TINY_DOCKERFILE
from tests.plugins.stacks import Program, Stack
from tests.ports import free_port

pytestmark = pytest.mark.engine

SECRET = "correct horse battery"


@pytest.fixture
def stack(tmp_path: Path, engine: Any) -> Iterator[Stack]:
    assert engine
    stack = Stack(tmp_path / "stack", environment={"DOCKER_HOST": ""})
    yield stack
    stack.destroy()


def declared(name: str, context: Path, **changes: Any) -> Program:
    """Return a program like a hub's: files in a volume, and a container that serves them."""

    def program() -> None:
        image = pulumi_docker.Image(
            "image",
            image_name=f"{name}:1",
            skip_push=True,
            build=pulumi_docker.DockerBuildArgs(
                context=str(context), platform="linux/amd64", args={"WHO": changes.get("who", "me")}
            ),
        )
        network = pulumi_docker.Network("network", name=name)
        volume = pulumi_docker.Volume("volume", name=name)
        files = pulumi_docker.Container(
            "files",
            name=f"{name}-files",
            image=image.repo_digest,
            start=False,
            must_run=False,
            volumes=[
                pulumi_docker.ContainerVolumeArgs(container_path="/certs", volume_name=volume.name)
            ],
            uploads=[
                pulumi_docker.ContainerUploadArgs(
                    file="/certs/hub.key",
                    content=pulumi.Output.secret(SECRET),
                    permissions="0600",
                    owner="1000",
                )
            ],
        )
        hub = pulumi_docker.Container(
            "hub",
            name=f"{name}-hub",
            image=image.repo_digest,
            user="1000",
            restart=changes.get("restart", "unless-stopped"),
            memory=64,
            memory_swap=64,
            read_only=True,
            networks_advanced=[
                pulumi_docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["hub"])
            ],
            volumes=[
                pulumi_docker.ContainerVolumeArgs(
                    container_path="/certs", volume_name=volume.name, read_only=True
                )
            ],
            ports=[
                pulumi_docker.ContainerPortArgs(
                    internal=80, external=changes["port"], ip="127.0.0.1"
                )
            ],
            healthcheck=pulumi_docker.ContainerHealthcheckArgs(
                tests=["CMD", "grep", "horse", "/certs/hub.key"], interval="1s"
            ),
            wait=True,
            opts=ResourceOptions(depends_on=[files]),
        )
        pulumi.export("hub", hub.id)

    return program


def test_a_whole_life(stack: Stack, engine: Any, name: str, context: Path) -> None:
    (context / "Dockerfile").write_text(f"{TINY_DOCKERFILE}ARG WHO\nRUN echo $WHO > /who\n")
    port = free_port()
    program = declared(name, context, port=port)
    everything = ["image", "network", "volume", "files", "hub"]

    preview = stack.preview(program)
    assert preview.code == 0, preview.text
    assert sorted(preview.steps()) == sorted(("create", item) for item in everything)
    assert not engine.networks(filters={"name": name})

    up = stack.up(program)
    assert up.code == 0, up.text
    assert (up.errors(), up.warnings()) == ([], [])
    assert engine.inspect_container(f"{name}-hub")["State"]["Health"]["Status"] == "healthy"
    for file in (stack.folder / "backend").rglob("*.json"):
        assert SECRET not in file.read_text()

    assert stack.up(program, "--expect-no-changes").code == 0
    assert stack.refresh(program, "--expect-no-changes").code == 0
    assert stack.preview(program, "--expect-no-changes").code == 0

    rebuilt = stack.preview(declared(name, context, port=port, who="you"))
    assert ("update", "image") in rebuilt.steps()
    assert ("replace", "hub") in rebuilt.steps()
    changed = stack.up(declared(name, context, port=port, restart="always"))
    assert changed.steps() == [("update", "hub")]

    # Somebody stops the hub: a refresh sees it, and the next up replaces it because of its ports.
    engine.stop(f"{name}-hub", timeout=0)
    stack.refresh(program)
    fixed = stack.up(declared(name, context, port=port, restart="always"))
    assert fixed.code == 0, fixed.text
    assert engine.inspect_container(f"{name}-hub")["State"]["Running"]
    # Somebody removes it: it is created again.
    engine.remove_container(f"{name}-hub", force=True)
    stack.refresh(program)
    assert stack.up(program).steps() == [("create", "hub")]

    stack.destroy()
    assert stack.state() == {}
    assert not engine.containers(all=True, filters={"name": name})
    assert not engine.networks(filters={"name": name})
    assert engine.inspect_image(f"{name}:1")


def test_a_failure_is_one_message_and_the_next_run_goes_on(
    stack: Stack, engine: Any, name: str, tiny: str
) -> None:
    port = free_port()

    def program() -> None:
        pulumi_docker.Container(
            "hub",
            name=name,
            image=tiny,
            ports=[pulumi_docker.ContainerPortArgs(internal=80, external=port, ip="127.0.0.1")],
        )

    host = engine.create_host_config(port_bindings={80: ("127.0.0.1", port)})
    other = engine.create_container(tiny, name=f"{name}-other", ports=[80], host_config=host)
    engine.start(other)
    failed = stack.up(program)
    assert failed.code != 0
    assert "Traceback" not in failed.text
    message = next(text for resource, text in failed.errors() if resource == "hub")
    assert f"port {port} on 127.0.0.1 is taken: the container {name}-other has it" in message
    assert "hub" in stack.state()
    engine.remove_container(other, force=True)
    assert stack.up(program).code == 0
    assert engine.inspect_container(name)["State"]["Running"]
    assert stack.up(program, "--expect-no-changes").code == 0


def test_a_container_that_uses_more_is_replaced_where_it_gets_less_memory(
    stack: Stack, engine: Any, name: str, tiny: str
) -> None:
    """As components/service.py declares it; more is given to the one that runs."""

    def program(memory: int, *less: str) -> Program:
        def declare() -> None:
            pulumi_docker.Container(
                "hub",
                name=name,
                image=tiny,
                memory=memory,
                memory_swap=memory,
                opts=ResourceOptions(replace_on_changes=[*less], delete_before_replace=True),
            )

        return declare

    assert stack.up(program(64)).code == 0
    first = engine.inspect_container(name)["Id"]
    raised = stack.up(program(128))
    assert (raised.code, raised.steps()) == (0, [("update", "hub")])
    fill = engine.exec_create(name, ["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=48"])
    engine.exec_start(fill)
    assert engine.exec_inspect(fill)["ExitCode"] == 0
    assert ("replace", "hub") in stack.preview(program(32, *LESS)).steps()
    lowered = stack.up(program(32, *LESS))
    assert lowered.code == 0, lowered.text
    found = engine.inspect_container(name)
    assert (found["State"]["Running"], found["HostConfig"]["Memory"]) == (True, 32 << 20)
    assert found["Id"] != first


def test_an_import(stack: Stack, engine: Any, name: str, tiny: str) -> None:
    host = engine.create_host_config(network_mode="bridge", restart_policy={"Name": "no"})
    made = engine.create_container(tiny, name=name, labels={"by": "hand"}, host_config=host)["Id"]
    engine.start(made)
    stack.cli(
        *("import", "docker:index/container:Container", "found", made, "--yes", "--skip-preview"),
        *("--protect=false", "--generate-code=false"),
    )
    inputs = stack.state()["found"]["inputs"]
    assert (inputs["name"], inputs["image"]) == (name, tiny)

    def program() -> None:
        pulumi_docker.Container("found", name=name, image=tiny)

    assert stack.preview(program).steps() == []


def test_interrupting_a_build_ends_it(stack: Stack, engine: Any, name: str, context: Path) -> None:
    (context / "Dockerfile").write_text(f"{TINY_DOCKERFILE}RUN echo begun {name}; sleep 60\n")

    def program() -> None:
        pulumi_docker.Image(
            "image",
            image_name=f"{name}:1",
            skip_push=True,
            build=pulumi_docker.DockerBuildArgs(context=str(context)),
        )

    with stack.started("up", program, "--yes", "--skip-preview") as process:
        seen = threading.Event()
        lines: list[str] = []

        def follow() -> None:
            for line in process.stdout or ():
                lines.append(line)
                if f"begun {name}" in line and "echo" not in line:
                    seen.set()

        threading.Thread(target=follow, daemon=True).start()
        assert seen.wait(60), "".join(lines)
        process.send_signal(2)
        assert process.wait(30) != 0
    assert "Traceback" not in "".join(lines)
    assert not engine.images(name)
    assert json.dumps(stack.state()).count("docker:index/image:Image") == 0
