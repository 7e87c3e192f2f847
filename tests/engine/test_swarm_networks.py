"""Many users' networks on a swarm: where servers run, that the hub reaches them, their last lines.

The servers are tiny; the guard's calls and the swarm are real. What one more user costs beside
hundreds is measured by `benchmarks/swarm_networks.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from docker.errors import NotFound

from benchmarks.swarm_networks import PREFIX, Growing, grow, growing
from tests.built import wait_until
from tests.engine.second_engine import able
from tests.engine.swarm.engines import SwarmEngines, swarm_engines

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("swarm"), pytest.mark.timeout(3600)]

FEW = (6, 12)


@pytest.fixture(scope="module")
def engines() -> Iterator[SwarmEngines]:
    """A swarm of the machine's own engine, or of ZHUB_SWARM_DOCKERD: no walls are needed here."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    with TemporaryDirectory(prefix="zhub-") as folder, swarm_engines(Path(folder)) as found:
        yield found


def test_servers_are_spread_over_three_machines_and_the_hub_reaches_them(
    engines: SwarmEngines,
) -> None:
    with growing(engines) as swarm:
        for there, number in pairwise((0, *FEW)):
            grow(swarm, there, number, more=1)
        where = swarm.placed()
        print(where)
        assert sum(where.values()) == FEW[-1]
        workers = [where[node.name] for node in engines.nodes[1:]]
        assert max(workers) - min(workers) <= 1
        # There the hub is in each user's network, which counts as a task.
        assert not where[engines.manager.name]
        assert all(swarm.reaches(f"{PREFIX}-user-u{n}") for n in range(FEW[-1]))
        assert not swarm.reaches(f"{PREFIX}-user-nobody")
        last_lines(swarm)


def last_lines(swarm: Growing) -> None:
    """The managers fetch them from each machine, also of a server that has ended by itself."""
    names = [f"{PREFIX}-user-u{n}" for n in range(FEW[-1])]
    assert {swarm.client.logs(name, tail=5) for name in names} == {b"served\n"}
    here: dict[str, Any] = {"label": f"com.docker.swarm.service.name={names[0]}"}
    there = [node for node in swarm.engines.nodes if node.client.containers.list(filters=here)]
    [container] = there[0].client.containers.list(filters=here)
    container.kill()
    own = {"label": ["zhub.user=u0"]}
    wait_until(lambda: swarm.states(**own) == ["failed"], seconds=30)
    assert swarm.client.logs(names[0], tail=5) == b"served\n"
    # One that never had a container would have the managers wait for its log.
    network, _, _ = swarm.network("none")
    swarm.image = "sha256:" + "0" * 64
    swarm.server("none", network)
    wait_until(lambda: swarm.states(label=["zhub.user=none"]) == ["rejected"], seconds=30)
    began = time.monotonic()
    with pytest.raises(NotFound):
        swarm.client.logs(f"{PREFIX}-user-none", tail=5)
    assert time.monotonic() - began < 5
