"""What containers that keep running have in common."""

from __future__ import annotations

import pytest

from tests.components.recorder import Recording


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
    assert inputs["restart"] == "unless-stopped"
    assert inputs["destroyGraceSeconds"] == 30
    assert set(container.request.replaceOnChanges) >= {"healthcheck", "tmpfs", "#initerror"}
    # Unset, these show a change in every preview or keep logs for ever.
    assert inputs["networkMode"] == "bridge"
    assert inputs["memorySwap"] == inputs["memory"]
    assert inputs["logOpts"] == {"max-size": "10m", "max-file": "3"}
