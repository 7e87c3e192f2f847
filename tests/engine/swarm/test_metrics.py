"""What servers use on all machines, in the hub's metrics and in operators' commands."""

from __future__ import annotations

import pytest

from tests.built import wait_until
from tests.engine.people import Entrance
from tests.engine.scrapes import Sample, metrics_token, samples, scrape
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import SwarmTenant
from tests.engine.swarm.engines import SwarmEngines
from toolchain.backup.engine import Engine
from toolchain.engine import client

pytestmark = [pytest.mark.engine, pytest.mark.long]

TAKEN = 150 << 20
WRITTEN = 3_000_000

Seen = dict[tuple[str, str], Sample]


def test_numbers_of_servers_are_those_of_their_machines(
    engines: SwarmEngines,
    stack: Stack,
    entrance: Entrance,
    alice: SwarmTenant,
    mallory: SwarmTenant,
) -> None:
    kernel = alice.user.start_kernel()
    kernel.run(f"taken = bytes(range(256)) * ({TAKEN} // 256)")
    assert alice.shell(f"head -c {WRITTEN} /dev/urandom >/tmp/random")[0] == 0
    # The next guard there adds up at once what servers have written; this one does it seldom.
    [guard] = alice.node.client.containers.list(filters=stack.labelled("nodeguard"))
    guard.kill()

    token = metrics_token(engines.manager.client, stack)
    found: Seen = {}

    def told() -> bool:
        found.clear()
        found.update(seen(entrance, token))
        memory = found.get(("guard_server_memory_bytes", "alice"))
        return bool(
            memory
            and memory.value > TAKEN
            and ("guard_server_memory_bytes", "bob") in found
            and ("guard_server_layer_bytes", "alice") in found
        )

    wait_until(told, seconds=240)
    for name in ("memory_bytes", "memory_limit_bytes", "cpu_seconds_total"):
        for tenant in (alice, mallory):
            sample = found[f"guard_server_{name}", tenant.user.name]
            assert sample.labels["node"] == tenant.node.name
    assert found["guard_server_memory_limit_bytes", "alice"].value == 512 << 20
    assert found["guard_server_cpu_seconds_total", "alice"].value > 1
    written = found["guard_server_layer_bytes", "alice"].value
    assert WRITTEN <= written < 10 * WRITTEN
    for node in engines.nodes:
        memory = found["guard_engine_memory_bytes", node.name]
        assert memory.value == node.client.info()["MemTotal"]

    listed = stack.make("users")
    assert listed.returncode == 0, listed.stdout
    [line] = [one for one in listed.stdout.splitlines() if one.startswith("alice ")]
    assert "MiB / 512MiB" in line
    hub = Engine((client(), "--host", engines.manager.address), stack.prefix)
    assert hub.written()["alice"] == written
    kernel.end()


def seen(entrance: Entrance, token: str) -> Seen:
    """Scrape; return the samples by their names, and by the users or machines that they are of."""
    answer = scrape(entrance, token)
    answer.raise_for_status()
    return {
        (one.name, one.labels.get("user") or one.labels.get("node") or ""): one
        for one in samples(answer.text)
    }
