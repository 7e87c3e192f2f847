"""The diff of a container, property by property, compared with the official plugin's.

`recorded/docker-container-diffs.json` holds two containers as pulumi-docker 5.1.0 stored them, one
with next to nothing set and one with nearly everything, and for each property the detailed diff
which that plugin answered with when it was added, changed, emptied and left out. `healthcheck` is
not among them: it replaces since 5.2. No container is made here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plugins.values import UNKNOWN
from tests.plugins.docker_tools import CONTAINER
from tests.plugins.plugin_driver import Plugin, Resource, changed

pytestmark = pytest.mark.engine

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "recorded" / "docker-container-diffs.json").read_text()
)
#: The official plugin calls it an update when these are left out; with all others it is a delete.
SHOWN_AS_UPDATES = {"memoryReservation", "stdinOpen", "tty"}
NAMES = {"None": "left-out", "[]": "emptied", "{}": "emptied"}
CASES: list[dict[str, Any]] = RECORDED["cases"]


def stored(state: str) -> Resource:
    """Return a container from a state of the official plugin."""
    recorded = RECORDED["states"][state]
    return Resource(CONTAINER, "it", "0" * 64, recorded["inputs"], recorded["outputs"])


@pytest.mark.parametrize("state", ["minimal", "full"])
def test_the_same_program_is_no_change(docker: Plugin, state: str) -> None:
    assert changed(docker.diff(stored(state), RECORDED["states"][state]["program"])) == {}


@pytest.mark.parametrize("state", ["minimal", "full"])
def test_inputs_are_stored_alike(docker: Plugin, state: str) -> None:
    recorded = RECORDED["states"][state]
    checked = docker.check(CONTAINER, recorded["program"])
    assert checked["__defaults"] == recorded["inputs"]["__defaults"]
    assert without_records(checked) == without_records(recorded["inputs"])


def without_records(value: Any) -> Any:
    """Return inputs without the record of defaults, which the official plugin also nests."""
    if isinstance(value, dict):
        return {k: without_records(v) for k, v in value.items() if k != "__defaults"}
    return [without_records(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=[f"{c['property']}-{NAMES.get(str(c['value']), 'set')}-{c['state']}" for c in CASES],
)
def test_a_change_is_as_recorded(docker: Plugin, case: dict[str, Any]) -> None:
    program = {**RECORDED["states"][case["state"]]["program"], case["property"]: case["value"]}
    answer = docker.diff(
        stored(case["state"]), {name: v for name, v in program.items() if v is not None}
    )
    found, expected = changed(answer), case["changes"]
    if case["property"] in SHOWN_AS_UPDATES and case["value"] is None:
        expected = {path: kind.replace("UPDATE", "DELETE") for path, kind in expected.items()}
    assert (found, answer.deleteBeforeReplace) == (expected, case["first"])
    replaces = {name.partition("[")[0] for name, kind in expected.items() if "REPLACE" in kind}
    assert {*answer.replaces} == {name.partition(".")[0] for name in replaces}


MOUNTS = RECORDED["states"]["full"]["program"]["mounts"]


@pytest.mark.parametrize(
    ("mounts", "changes"),
    [
        (
            [MOUNTS[0], {**MOUNTS[1], "source": UNKNOWN}, MOUNTS[2]],
            {"mounts[1].source": "UPDATE"},
        ),
        ([*MOUNTS, {**MOUNTS[1], "source": UNKNOWN}], {"mounts[3]": "ADD_REPLACE"}),
        ([MOUNTS[0], UNKNOWN, MOUNTS[2]], {"mounts": "UPDATE_REPLACE"}),
        (UNKNOWN, {"mounts": "UPDATE_REPLACE"}),
    ],
    ids=["source", "source-of-another", "mount", "all"],
)
def test_an_unknown_mount_is_as_recorded(
    docker: Plugin, mounts: Any, changes: dict[str, str]
) -> None:
    program = {**RECORDED["states"]["full"]["program"], "mounts": mounts}
    assert changed(docker.diff(stored("full"), program)) == changes
