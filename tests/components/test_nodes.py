"""What runs on every node of a swarm."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from components.names import Names
from components.nodes import Nodes, NodesArgs
from components.settings.swarm import Swarm
from tests.components.recorder import SECRET, SIGNATURE, Recording, environment, run, run_alone
from tests.components.stack_config import DEMO, SITE, read

DIGEST = "registry.example.com/{}@sha256:" + "0" * 64


@cache
def nodes(label: str | None = None) -> Recording:
    settings, _ = read(DEMO | {"zhub:userAllowedNetworks": '["10.20.30.0/24"]'})

    def declare() -> None:
        Nodes(
            "nodes",
            NodesArgs(
                names=Names("zhub-test"),
                swarm=Swarm(label=label),
                platform=settings.build.platform,
                engine_socket="/run/docker.sock",
                image=DIGEST.format("hub"),
                notebook_image=DIGEST.format("notebook"),
                filter_image=DIGEST.format("filter"),
                profile_images={"large-models": DIGEST.format("profile")},
                registry=None,
                users=settings.users,
                logs=settings.logs,
            ),
        )

    return run_alone(declare)


def task(name: str, label: str | None = None) -> Any:
    return nodes(label).one("Service", name).inputs["taskSpec"]


@pytest.mark.parametrize("name", ["nodeguard", "nodefilter", "nodenotebook"])
def test_each_node_has_one(name: str) -> None:
    service = nodes().one("Service", name)
    assert service.inputs["name"] == f"zhub-test-{name}"
    assert service.inputs["mode"] == {"global": True}
    # The engine replaces the tasks of a service that changes; only its name is taken.
    assert service.request.deleteBeforeReplace
    spec = task(name)["containerSpec"]
    own = [
        {"label": "zhub.stack", "value": "zhub-test"},
        {"label": "zhub.role", "value": name},
    ]
    assert service.inputs["labels"] == spec["labels"] == own
    assert (spec["capDrops"], spec["readOnly"], spec["init"]) == (["ALL"], True, False)
    assert task(name)["resources"]["limits"]["memoryBytes"] > 0
    assert "networksAdvanceds" not in task(name)
    assert "endpointSpec" not in service.inputs


def test_the_guard_there_has_the_nodes_socket_and_nothing_else() -> None:
    spec = task("nodeguard")["containerSpec"]
    socket, memory = spec["mounts"]
    assert socket == {
        "type": "bind",
        "source": "/run/docker.sock",
        "target": "/var/run/docker.sock",
    }
    assert (memory["type"], memory["target"]) == ("tmpfs", "/run/guard")
    assert spec["capAdds"] == ["CAP_SETGID", "CAP_SETUID"]
    assert spec["commands"][:2] == ["/usr/bin/setpriv", "--no-new-privs"]
    assert spec["healthcheck"]["tests"][1:3] == spec["commands"][:2]
    assert spec["env"]["ZHUB_USER_ALLOWED_NETWORKS"] == '["10.20.30.0/24"]'
    assert spec["env"]["ZHUB_FILTER_IMAGE"] == DIGEST.format("filter")


def test_images_are_kept_where_servers_run() -> None:
    for name in ("filter", "notebook"):
        spec = task(f"node{name}")["containerSpec"]
        assert spec["image"] == DIGEST.format(name)
        assert spec["commands"] == ["sleep", "infinity"]
        assert "mounts" not in spec


def test_a_profiles_own_image_is_kept_as_well() -> None:
    spec = task("nodeprofile_large_models")["containerSpec"]
    assert spec["image"] == DIGEST.format("profile")
    assert spec["commands"] == ["sleep", "infinity"]


def test_only_nodes_with_the_label_and_of_the_images_platform() -> None:
    platform = [{"architecture": "s390x", "os": "linux"}]
    assert task("nodeguard")["placement"] == {"constraints": [], "platforms": platform}
    assert task("nodeguard", "zhub=servers")["placement"] == {
        "constraints": ["node.labels.zhub==servers"],
        "platforms": platform,
    }


ON_SWARM = SITE | {
    "zhub:swarm": "true",
    "zhub:swarmNodes": "zhub=servers",
    "zhub:registry": "registry.example.com:5000/jupyter",
    "zhub:homesPath": "/srv/homes/zhub",
}


def test_nodes_log_in_to_a_registry_that_wants_a_password() -> None:
    known = {"zhub:registryUsername": "builder", "zhub:registryPassword": "correct horse"}
    recording = run(ON_SWARM | known)
    services = recording.all("Service")
    assert len(services) == 3
    for one in services:
        assert one.inputs["auth"] == {
            "serverAddress": "registry.example.com:5000",
            "username": "builder",
            "password": "correct horse",
        }
        assert one.raw["auth"]["password"][SIGNATURE] == SECRET
    # What the guard makes needs none: the image is on each node.
    assert "correct horse" not in str(recording.one("Container", "guard").inputs)


def test_the_program_has_them_and_tells_the_guard() -> None:
    recording = run(ON_SWARM)
    services = {one.name: one for one in recording.all("Service")}
    assert services.keys() == {"nodeguard", "nodefilter", "nodenotebook"}
    images = {"nodeguard": "hub", "nodefilter": "filter", "nodenotebook": "notebook"}
    for name, one in services.items():
        made = recording.outputs[f"{images[name]}Digest"]["value"]
        assert one.inputs["taskSpec"]["containerSpec"]["image"] == made
    of_guard = environment(recording.one("Container", "guard"))
    assert of_guard["ZHUB_SWARM_NODES"] == "zhub=servers"
    # What filters depend on is the same beside the hub and on the nodes.
    of_nodes = services["nodeguard"].inputs["taskSpec"]["containerSpec"]["env"]
    assert of_nodes.items() <= of_guard.items()
    assert all("auth" not in one.inputs for one in services.values())
    assert run(SITE).all("Service") == []
