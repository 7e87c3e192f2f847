"""What the proxy says of the time of its certificate; Node runs the module."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.images.proxy.node import printed
from tests.pki import DAY, Identity, quick_key
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MODULE = ROOT / "images" / "proxy" / "certificate.mjs"

SCRIPT = """
import {{ follow }} from {module};
import {{ format }} from "node:util";
const said = [];
const say = (...words) => said.push(format(...words));
const served = [];
const server = {{ setSecureContext: () => served.push(1) }};
follow(server, {files}, {{}}, {{ info: () => {{}}, warn: say, error: say }});
console.log(JSON.stringify([served.length, said]));
process.exit();
"""


def served(folder: Path, begin: timedelta, end: timedelta) -> list[str]:
    """What the proxy warns of when it serves a certificate of this time, from now."""
    Identity.create("localhost", begin=begin, end=end, key=quick_key()).write(folder, "hub")
    files = {"key": str(folder / "hub.key"), "certificate": str(folder / "hub.crt")}
    script = SCRIPT.format(module=json.dumps(MODULE.as_uri()), files=json.dumps(files))
    times, said = json.loads(printed(script, seconds=20))
    assert times == 1, said
    return [str(line) for line in said]


@pytest.mark.parametrize(
    ("begin", "end", "warning"),
    [
        (-DAY, 31 * DAY, ""),
        (-DAY, 10 * DAY, "expires in 9 days"),
        (-2 * DAY, -DAY, "has expired"),
        (DAY, 60 * DAY, "is not valid before"),
    ],
)
def test_it_is_served_and_warned_of(
    tmp_path: Path, begin: timedelta, end: timedelta, warning: str
) -> None:
    said = served(tmp_path, begin, end)
    assert len(said) == bool(warning)
    assert all(warning in line for line in said)
