"""The state these plugins write has the shape of the official plugins' states.

`recorded/` holds resources of real stacks under tls 5.6.2 and command 1.2.1: their inputs as
stored, and of their outputs the names, the types and which are secret. A private key among the
inputs is a placeholder. What the bridge keeps for itself to restore Terraform's state is left out;
the official plugins read states without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.values import Secret, reveal
from tests.plugins.plugin_driver import Plugin, running

pytestmark = pytest.mark.slow

RECORDED = {
    name: json.loads((Path(__file__).parent / "recorded" / f"{name}.json").read_text())
    for name in ("tls", "command")
}
RECORDS = [(name, record) for name, records in RECORDED.items() for record in records]


@pytest.fixture(scope="module")
def plugins() -> Iterator[dict[str, Plugin]]:
    with running("plugins.tls", {}) as tls, running("plugins.command", {}) as command:
        yield {"tls": tls, "command": command}


@pytest.fixture(scope="module")
def key(plugins: dict[str, Plugin]) -> str:
    made = plugins["tls"].create("tls:index/privateKey:PrivateKey", {"algorithm": "ED25519"})
    return str(reveal(made.outputs["privateKeyPem"]))


@pytest.mark.parametrize(
    ("name", "record"), RECORDS, ids=[f"{name}-{record['name']}" for name, record in RECORDS]
)
def test_inputs_and_outputs_are_as_recorded(
    plugins: dict[str, Plugin], key: str, name: str, record: dict[str, Any]
) -> None:
    inputs = marked(record["inputs"], key)
    made = plugins[name].create(record["type"], inputs, name=record["name"])
    assert made.inputs == inputs
    assert shape(made.outputs) == record["outputs"]


def marked(value: Any, key: str) -> Any:
    """Return a recorded value with its secrets marked and the private key put in."""
    if isinstance(value, dict):
        if set(value) == {"secret"}:
            return Secret(marked(value["secret"], key))
        return {name: marked(item, key) for name, item in value.items()}
    if isinstance(value, list):
        return [marked(item, key) for item in value]
    return key if value == "<private key>" else value


def shape(value: Any) -> Any:
    """Return names, types and secrets of a value; for a list, its elements' shapes."""
    if isinstance(value, Secret):
        return {"secret": shape(value.value)}
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for item in value:
            if shape(item) not in shapes:
                shapes.append(shape(item))
        return shapes
    return {bool: "boolean", int: "number", float: "number"}.get(type(value), "string")
