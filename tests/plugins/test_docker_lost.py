"""What an engine has made, where the connection to it is lost right after.

It must be in the state or be gone: otherwise its name is in use in the next run, and nothing says
why. The engine here is one that answers what it is told to, and drops the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker
import pytest

from plugins.calls import Cancelled, InitError, ResourceError
from plugins.docker import service as services
from plugins.docker.container import Container
from plugins.docker.network import Network
from plugins.docker.service import Service
from plugins.resource import Resource
from tests.plugins.stacks import Stack
from tests.plugins.told_engine import LOST, Answers, Tell

ID = "0123456789abcdef"

SERVICE = {"name": "it", "taskSpec": {"containerSpec": {"image": f"sha256:{'0' * 64}"}}}
MADE = {"ID": ID, "Spec": {"Name": "it", "EndpointSpec": {"Mode": "dnsrr"}}, "Endpoint": {}}
NETWORK = {
    "Id": ID,
    "Name": "it",
    "Labels": {"a": "b"},
    "Driver": "bridge",
    "Scope": "local",
    "Options": None,
    "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "10.1.2.0/24"}]},
    **dict.fromkeys(("Internal", "Attachable", "Ingress"), False),
}
PENDING = MADE | {"Spec": {"Name": "it"}}
"""The engine has not chosen yet how the service is reached."""


def service(**answers: list[object]) -> Answers:
    """What an engine answers that makes a service, which is as inspected; it can be removed."""
    return {
        f"GET /distribution/sha256:{'0' * 64}/json": [(403, {"message": "denied"})],
        "POST /services/create": [{"ID": ID}],
        f"GET /services/{ID}": answers["inspected"],
        f"DELETE /services/{ID}": answers.get("removed", [None]),
        "GET /tasks": [[]],
    }


@pytest.mark.parametrize("inspected", [[LOST], [MADE, LOST]], ids=["settling", "read"])
def test_a_service_is_removed_again(tell: Tell, inspected: list[object]) -> None:
    told = tell(service(inspected=inspected))
    resource, inputs, call = told.call(Service, SERVICE)
    with pytest.raises(ResourceError, match=r"the connection to the engine .* was lost") as failure:
        resource.create(inputs, call)
    assert not isinstance(failure.value, InitError)
    assert told.asked[f"DELETE /services/{ID}"] == 1


def test_a_service_is_removed_again_at_ctrl_c(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tell(service(inspected=[PENDING]))
    resource, inputs, call = told.call(Service, SERVICE)
    monkeypatch.setattr(services, "PAUSE", 60)
    told.provider.cancelled.set()
    with pytest.raises(Cancelled):
        resource.create(inputs, call)
    assert told.asked[f"DELETE /services/{ID}"] == 1


def test_a_service_that_cannot_be_removed_stays_in_the_state(tell: Tell) -> None:
    told = tell(service(inspected=[LOST], removed=[LOST]))
    resource, inputs, call = told.call(Service, SERVICE)
    with pytest.raises(InitError, match="cannot create service it: the connection") as failure:
        resource.create(inputs, call)
    assert failure.value.resource_id == ID
    # The next run updates it, and its own inputs are no change.
    assert resource.diff([], {}, inputs, failure.value.outputs) == []


def test_a_network_stays_in_the_state_and_the_next_run_reads_it(tell: Tell) -> None:
    told = tell(
        {
            "POST /networks/create": [{"Id": ID}],
            f"GET /networks/{ID}": [LOST, NETWORK, (404, {"message": "network it not found"})],
        }
    )
    labels = [{"label": "a", "value": "b"}]
    resource, inputs, call = told.call(Network, {"name": "it", "labels": labels})
    with pytest.raises(InitError, match="the connection to the engine") as failure:
        resource.create(inputs, call)
    assert failure.value.resource_id == ID
    state = failure.value.outputs
    assert resource.diff([], {}, inputs, state) == []
    outputs = resource.update(ID, state, inputs, call)
    assert outputs["ipamConfigs"][0]["subnet"] == "10.1.2.0/24"
    assert resource.diff([], {}, inputs, outputs) == []
    with pytest.raises(ResourceError, match=r"network it is gone. Run: pulumi up --refresh"):
        resource.update(ID, state, inputs, call)


@pytest.mark.slow
def test_pulumi_continues_with_such_a_network(tell: Tell, tmp_path: Path) -> None:
    told = tell(
        {"POST /networks/create": [{"Id": ID}], f"GET /networks/{ID}": [LOST, NETWORK]},
    )

    def program() -> None:
        engine = pulumi_docker.Provider("engine", host=told.provider.engine.host)
        labels = [pulumi_docker.NetworkLabelArgs(label="a", value="b")]
        pulumi_docker.Network(
            "it", name="it", labels=labels, opts=pulumi.ResourceOptions(provider=engine)
        )

    stack = Stack(tmp_path / "stack")
    assert stack.up(program).code != 0
    assert stack.state()["it"]["id"] == ID
    up = stack.up(program)
    assert (up.code, up.steps()) == (0, [("update", "it")]), up.text
    assert told.asked["POST /networks/create"] == 1
    assert stack.preview(program, "--expect-no-changes").code == 0


def test_a_container_stays_in_the_state(tell: Tell) -> None:
    told = tell(
        {
            "GET /images/tiny/json": [{"Id": "sha256:1"}],
            "POST /containers/create": [{"Id": ID}],
            f"POST /containers/{ID}/start": [None],
            f"GET /containers/{ID}/json": [LOST],
        }
    )
    resource, inputs, call = told.call(Container, {"name": "it", "image": "tiny"})
    with pytest.raises(InitError, match=r"cannot read container .*the connection") as failure:
        resource.create(inputs, call)
    assert failure.value.resource_id == ID
    assert told.asked[f"POST /containers/{ID}/start"] == 1


@dataclass(frozen=True)
class Taken:
    """A name in use: what the engine says of it, and what the operator is told."""

    kind: type[Resource]
    what: str
    said: str
    holder: dict[str, Any]
    about: str


TAKEN = [
    Taken(
        Network,
        "network",
        "network with name it already exists",
        {"Id": ID, "Driver": "bridge"},
        "driver bridge",
    ),
    Taken(
        Service,
        "service",
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service it"
        " already exists",
        {"ID": ID, "Spec": {"TaskTemplate": {"ContainerSpec": {"Image": "hub@sha256:1"}}}},
        "image hub@sha256:1",
    ),
]


@pytest.mark.parametrize("taken", TAKEN, ids=lambda taken: taken.what)
def test_the_error_of_a_name_in_use_has_the_command_that_frees_it(tell: Tell, taken: Taken) -> None:
    told = tell(
        service(inspected=[MADE])
        | {
            f"POST /{taken.what}s/create": [(409, {"message": taken.said})],
            f"GET /{taken.what}s/it": [taken.holder, (404, {"message": "gone"})],
        }
    )
    program = SERVICE if taken.kind is Service else {"name": "it"}
    resource, inputs, call = told.call(taken.kind, program)
    with pytest.raises(ResourceError) as failure:
        resource.create(inputs, call)
    assert str(failure.value) == (
        f"cannot create {taken.what} it: the name it is in use by {taken.what} {ID[:12]}"
        f" ({taken.about}). Remove it (docker {taken.what} rm it) and run: pulumi up --refresh. Or,"
        " if it is not a resource of this stack, import it: pulumi import"
        f" {taken.kind.token} <name> {ID}"
    )
    # Who had it is gone by now: the engine's own words.
    with pytest.raises(ResourceError, match=f"cannot create {taken.what} it: {taken.said}$"):
        resource.create(inputs, call)
