"""Less memory for the hub than it has: the engine cannot take it from a container that uses more.

Seen with Docker 20.10 and control groups of version 1: `docker update` fails with "unable to set
memory limit to … (current usage: …)". With version 2, the kernel ends what does not fit.
"""

from __future__ import annotations

from typing import Any

import pytest

from components.settings import hub
from components.settings.deployed import Deployed
from tests.components.recorder import run
from tests.components.stacks import SITE

LESS = {"memory", "memorySwap"}


def deployed(memory: int, name: str = "hub") -> dict[str, Any]:
    """The state of a stack whose hub may take so many MiB."""
    outputs = {"name": "zhub-test-hub", "memory": memory}
    urn = f"urn:pulumi:test::zhub::docker:index/container:Container::{name}"
    return {urn: {"type": "docker:index/container:Container", "outputs": outputs}}


def before(memory: int, name: str = "hub") -> Deployed:
    [(urn, found)] = deployed(memory, name).items()
    return Deployed({urn: (found["type"], found["outputs"])})


@pytest.mark.parametrize("name", ["hub", "hub-beside-proxy"])
def test_only_less_is_said(name: str) -> None:
    [said] = hub.changes(512, before(1024, name))
    assert said.startswith(
        "hubMemory goes down from 1024M to 512M: the hub's container is replaced"
    )
    for memory in (1024, 2048):
        assert hub.changes(memory, before(1024, name)) == []
    assert hub.changes(512, Deployed()) == []
    assert hub.changes(512, before(0)) == [], "no limit is known"


@pytest.mark.parametrize(("memory", "replaced"), [(1024, True), (512, False), (256, False)])
def test_the_hub_is_replaced_where_it_gets_less(
    memory: int,
    replaced: bool,  # noqa: FBT001
) -> None:
    """Raised, the limit of the container that runs is changed."""
    recording = run(SITE, preview=True, deployed=deployed(memory))
    on = set(recording.one("Container", "hub").request.replaceOnChanges)
    assert (on >= LESS, not LESS & on) == (replaced, not replaced)
    for name in ("guard", "directory", "proxy"):
        for one in recording.all("Container"):
            assert one.name != name or not LESS & set(one.request.replaceOnChanges)
    said = [text for text in recording.warnings if text.startswith("hubMemory")]
    assert bool(said) is replaced
