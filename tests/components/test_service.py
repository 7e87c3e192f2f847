"""What containers that keep running have in common."""

from __future__ import annotations

from dataclasses import replace

import pulumi
import pulumi_docker as docker
import pytest

from components.names import Names
from components.service import ServiceArgs, service
from components.settings.logs import Logs
from tests.components.recorder import Declared, Recording, environment, labels, run_alone

ARGS = ServiceArgs(
    names=Names("zhub-test"),
    image="sha256:0",
    logs=Logs(options={"max-size": "10m", "max-file": "3"}),
    memory=64,
    health=["true"],
    start_seconds=5,
)


def test_no_container_names_a_platform(demo: Recording) -> None:
    """The engine reports it without the processor: every `up` would replace the container."""
    assert [one for one in demo.all("Container") if "platform" in one.inputs] == []


@pytest.mark.parametrize("name", ["hub", "directory"])
def test_services_are_healthy_before_up_ends_and_replaced_when_they_were_not(
    demo: Recording, name: str
) -> None:
    container = demo.one("Container", name)
    inputs = container.inputs
    assert inputs["wait"] is True
    assert inputs["healthcheck"]["tests"][0] == "CMD"
    assert inputs["restart"] == "always"
    assert inputs["destroyGraceSeconds"] == 30
    assert set(container.request.replaceOnChanges) >= {"healthcheck", "tmpfs", "#initerror"}
    # Unset, these show a change in every preview or keep logs for ever.
    assert inputs["networkMode"] == "bridge"
    assert inputs["memorySwap"] == inputs["memory"]
    assert inputs["logOpts"] == {"max-size": "10m", "max-file": "3"}


def declared(args: ServiceArgs) -> Declared:
    recording = run_alone(lambda: service("lone", args, pulumi.ResourceOptions()))
    return recording.one("Container", "lone")


def test_a_service_has_no_network_but_those_it_is_given() -> None:
    alone = declared(ARGS).inputs
    assert (alone["networkMode"], alone["networksAdvanced"]) == ("none", [])
    among_others = declared(replace(ARGS, networks=["first", "second"])).inputs
    assert among_others["networkMode"] == "bridge"
    assert among_others["networksAdvanced"] == [
        {"name": "first", "aliases": ["lone"]},
        {"name": "second", "aliases": ["lone"]},
    ]


def test_a_service_has_no_capability_but_those_it_is_given() -> None:
    assert declared(ARGS).inputs["capabilities"] == {"drops": ["ALL"], "adds": []}
    container = declared(replace(ARGS, capabilities=["CAP_CHOWN"])).inputs
    assert container["capabilities"] == {"drops": ["ALL"], "adds": ["CAP_CHOWN"]}


def test_what_a_service_is_not_given_is_not_declared() -> None:
    """The provider would report even an empty list as a change of a container that is up."""
    given = {
        "name",
        "image",
        "labels",
        "restart",
        "destroyGraceSeconds",
        "networkMode",
        "networksAdvanced",
        "memory",
        "memorySwap",
        "logDriver",
        "logOpts",
        "capabilities",
        "securityOpts",
        "healthcheck",
        "wait",
        "waitTimeout",
    }
    assert declared(ARGS).inputs.keys() == given


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5s"), (60, "1m0s"), (90, "1m30s"), (3600, "60m0s")]
)
def test_how_long_a_start_may_take_is_written_as_the_provider_writes_it(
    seconds: int, text: str
) -> None:
    container = declared(replace(ARGS, start_seconds=seconds)).inputs
    assert container["healthcheck"]["startPeriod"] == text
    assert container["waitTimeout"] == seconds


def test_a_services_own_labels_come_beside_those_of_its_stack() -> None:
    assert labels(declared(replace(ARGS, labels={"zhub.certificate": "AB:CD"}))) == {
        "zhub.stack": "zhub-test",
        "zhub.role": "lone",
        "zhub.certificate": "AB:CD",
    }


def test_a_service_takes_values_of_other_resources_and_waits_for_what_it_depends_on() -> None:
    def program() -> None:
        network = docker.Network("network", name="of-two")
        volume = docker.Volume("volume", name="data")
        service(
            "lone",
            replace(ARGS, networks=[network.name], env={"ZHUB_NETWORK": network.name, "A": "b=c"}),
            pulumi.ResourceOptions(depends_on=[volume]),
        )

    recording = run_alone(program)
    container = recording.one("Container", "lone")
    assert environment(container) == {"ZHUB_NETWORK": "of-two", "A": "b=c"}
    assert container.inputs["networksAdvanced"][0]["name"] == "of-two"
    assert container.dependencies == {
        recording.one("Network", "network").urn,
        recording.one("Volume", "volume").urn,
    }
    assert container.request.deleteBeforeReplace, "the new container needs the name of the old one"
