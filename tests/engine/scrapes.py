"""Scrapes of a stack's metrics."""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import urljoin

import docker
import requests

from tests.built import wait_until
from tests.engine.people import Entrance
from tests.engine.stack import Stack

#: A line of Prometheus' text format with a value, and a label in it.
LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """A value."""

    name: str
    labels: dict[str, str]
    value: float


def metrics_token(engine: docker.DockerClient, stack: Stack, *options: str) -> str:
    """Ask the hub for the token, as an operator does."""
    hub = engine.containers.get(f"{stack.prefix}-hub")
    code, output = hub.exec_run(["zhub", "metrics-token", *options])
    assert code == 0, output
    assert isinstance(output, bytes)
    return output.decode().strip()


def scrape(entrance: Entrance, token: str | None) -> requests.Response:
    """Scrape once."""
    outputs = entrance.outputs
    address = urljoin(outputs["url"], f"{outputs['basePath'].rstrip('/')}/hub/metrics")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(address, headers=headers, verify=str(entrance.authority), timeout=60)


def samples(text: str) -> list[Sample]:
    """Return all values of a scrape, each of which must be there once.

    The parser of prometheus_client renames counters whose names do not end in `_total`.
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    assert len(found) == len(lines)
    made = [Sample(m[1], dict(LABEL.findall(m[2] or "")), float(m[3])) for m in found]
    keys = [(sample.name, json.dumps(sample.labels, sort_keys=True)) for sample in made]
    assert len(set(keys)) == len(keys)
    return made


def with_servers(entrance: Entrance, token: str, user: str) -> list[Sample]:
    """Scrape until the numbers of a user's server and home are there, which come later."""
    found: list[Sample] = []

    def there() -> bool:
        answer = scrape(entrance, token)
        answer.raise_for_status()
        found[:] = samples(answer.text)
        of_user = {sample.name for sample in found if sample.labels.get("user") == user}
        return {"guard_server_memory_bytes", "guard_home_bytes"} <= of_user

    wait_until(there, seconds=60)
    return found
