"""Services on a swarm of one engine, which is a second one on this machine, in its own network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from docker.errors import NotFound

from tests.engine.second_engine import able, second_engine
from tests.plugins.docker_tools import IMAGE, new_name, tiny_context
from tests.plugins.plugin_driver import Plugin, PluginError, Resource, changed, running, wait_until
from toolchain import runs

pytestmark = pytest.mark.engine

SERVICE = "docker:index/service:Service"


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plugin, Any, str, str]]:
    """The plugin on a manager, the engine's API, the tiny image by its ID, and the address."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    # A socket's path must be short.
    with TemporaryDirectory(prefix="zhub-") as short, second_engine(Path(short)) as engine:
        engine.client.swarm.init(advertise_addr=engine.apart.inner)
        with running("plugins.docker", {"host": engine.address}) as plugin:
            context = tiny_context(tmp_path_factory.mktemp("tiny"))
            made = plugin.create(
                IMAGE,
                {"imageName": "pdk-tiny:1", "skipPush": True, "build": {"context": str(context)}},
            )
            # By its ID, a task's image is not pulled.
            yield plugin, engine.client.api, made.outputs["repoDigest"], engine.address


@pytest.fixture
def plugin(swarm: tuple[Plugin, Any, str, str]) -> Plugin:
    return swarm[0]


@pytest.fixture
def engine(swarm: tuple[Plugin, Any, str, str]) -> Any:
    return swarm[1]


@pytest.fixture
def program(swarm: tuple[Plugin, Any, str, str]) -> dict[str, Any]:
    """A service that runs, with what the engine would otherwise fill into its parts."""
    return {
        "name": new_name(),
        "labels": [{"label": "role", "value": "test"}],
        "taskSpec": {
            "containerSpec": {
                "image": swarm[2],
                "labels": [{"label": "of", "value": "task"}],
                "env": {"WHO": "first"},
                "capDrops": ["ALL"],
                "readOnly": True,
                "stopGracePeriod": "10s",
                "mounts": [
                    {
                        "type": "tmpfs",
                        "target": "/data",
                        "tmpfsOptions": {"sizeBytes": 1048576, "mode": 0o700},
                    }
                ],
            },
            "resources": {"limits": {"memoryBytes": 16 << 20}},
            "restartPolicy": {
                "condition": "any",
                "delay": "1s",
                "maxAttempts": 0,
                "window": "0s",
            },
        },
        "mode": {"replicated": {"replicas": 1}},
        "endpointSpec": {"mode": "dnsrr"},
        "updateConfig": {"order": "stop-first", "monitor": "1s"},
        "convergeConfig": {"delay": "1s", "timeout": "1m"},
    }


def containers(engine: Any, service: Resource) -> list[dict[str, Any]]:
    found = engine.containers(filters={"label": f"com.docker.swarm.service.id={service.id}"})
    return [engine.inspect_container(one["Id"]) for one in found]


def test_a_whole_life(plugin: Plugin, engine: Any, program: dict[str, Any]) -> None:
    made = plugin.create(SERVICE, program)
    [first] = containers(engine, made)
    assert first["Config"]["Env"][0] == "WHO=first"
    assert first["Config"]["Labels"]["of"] == "task"
    assert first["HostConfig"]["CapDrop"] == ["ALL"]
    assert first["HostConfig"]["ReadonlyRootfs"]
    assert first["HostConfig"]["Memory"] == 16 << 20
    assert changed(plugin.diff(made, program)) == {}
    assert plugin.read(made) == made
    taken = f"the name {program['name']} is in use by service {made.id[:12]} .*docker service rm"
    with pytest.raises(PluginError, match=taken):
        plugin.create(SERVICE, program)
    program["taskSpec"]["containerSpec"]["env"] = {"WHO": "second"}
    assert changed(plugin.diff(made, program)) == {"taskSpec.containerSpec.env.WHO": "UPDATE"}
    made = plugin.update(made, program)
    [second] = containers(engine, made)
    assert second["Config"]["Env"][0] == "WHO=second"
    assert changed(plugin.diff(made, program)) == {}
    plugin.delete(made)
    with pytest.raises(NotFound):
        engine.inspect_service(made.id)
    with pytest.raises(NotFound):
        engine.inspect_container(second["Id"])
    plugin.delete(made)
    assert plugin.read(made) is None


@pytest.mark.long
def test_what_the_engine_chooses_stays(
    plugin: Plugin, engine: Any, program: dict[str, Any]
) -> None:
    minimal = {
        "name": program["name"],
        "taskSpec": {"containerSpec": {"image": program["taskSpec"]["containerSpec"]["image"]}},
        # Kernels without IPVS cannot have the other one.
        "endpointSpec": {"mode": "dnsrr"},
    }
    made = plugin.create(SERVICE, minimal)
    assert made.outputs["mode"]["replicated"] == {"replicas": 1}
    assert changed(plugin.diff(made, minimal)) == {}
    before = engine.inspect_service(made.id)["Spec"]
    minimal["taskSpec"]["containerSpec"]["hostname"] = "other"
    made = plugin.update(made, minimal)
    after = engine.inspect_service(made.id)["Spec"]
    after["TaskTemplate"]["ContainerSpec"].pop("Hostname")
    # Here the official plugin puts zeros for what the engine left out; a program that says them has
    # its own.
    for policy in (one["TaskTemplate"].pop("RestartPolicy") for one in (before, after)):
        assert (policy["Condition"], policy["MaxAttempts"]) == ("any", 0)
    assert after == before
    plugin.delete(made)


@pytest.mark.long
def test_on_every_node(plugin: Plugin, engine: Any, program: dict[str, Any]) -> None:
    del program["convergeConfig"]
    program["mode"] = {"global": True}
    made = plugin.create(SERVICE, program)
    assert made.outputs["mode"] == {"global": True}
    wait_until(lambda: containers(engine, made))
    assert changed(plugin.diff(made, program)) == {}
    plugin.delete(made)


@pytest.mark.long
def test_one_that_does_not_run_says_why_and_is_not_left(
    plugin: Plugin, engine: Any, program: dict[str, Any]
) -> None:
    program["taskSpec"]["containerSpec"]["commands"] = ["sh", "-c", "exit 3"]
    program["taskSpec"]["restartPolicy"]["condition"] = "none"
    program["convergeConfig"]["timeout"] = "4s"
    with pytest.raises(PluginError) as failure:
        plugin.create(SERVICE, program)
    said = str(failure.value)
    assert said.startswith(f"service {program['name']} did not run within 4s")
    assert "task: non-zero exit (3)" in said
    assert [one for one in engine.services() if one["Spec"]["Name"] == program["name"]] == []


@pytest.mark.long
def test_an_import(plugin: Plugin, program: dict[str, Any]) -> None:
    made = plugin.create(SERVICE, program)
    imported = plugin.read(Resource(SERVICE, "it", made.id, {}, {}))
    assert imported is not None
    del program["convergeConfig"]
    assert changed(plugin.diff(imported, program)) == {}
    plugin.delete(made)


@pytest.mark.parametrize("recorded", [False, True])
def test_one_that_a_killed_run_has_left_is_removed(
    swarm: tuple[Plugin, Any, str, str],
    program: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    recorded: bool,
) -> None:
    """By `make up`, which asks with the docker command."""
    plugin, engine, _, address = swarm
    program["labels"] = [{"label": "zhub.stack", "value": "pdk"}]
    made = plugin.create(SERVICE, program)
    more = plugin.create(SERVICE, {**program, "name": f"{program['name']}-more"})
    inputs = {"name": program["name"]}
    operation = {"type": "creating", "resource": {"type": SERVICE, "urn": "it", "inputs": inputs}}
    provider = {"type": "pulumi:providers:docker", "inputs": {"host": address}}
    own = [{"type": SERVICE, "id": made.id}] if recorded else []
    state = {"pending_operations": [operation], "resources": [provider, *own]}
    monkeypatch.setattr(runs, "_state", lambda _: state)
    monkeypatch.setattr(runs, "pulumi", lambda *_, **__: "")
    runs.half_made("test", "pdk")
    assert {one["ID"] for one in engine.services()} == {more.id, *([made.id] if recorded else [])}
    for one in (made, more):
        plugin.delete(one)


def test_an_engine_in_no_swarm(program: dict[str, Any]) -> None:
    with running("plugins.docker", {}) as plugin, pytest.raises(PluginError) as failure:
        plugin.create(SERVICE, program)
    assert "not a swarm manager" in str(failure.value)
