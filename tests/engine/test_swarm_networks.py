"""What one more user costs a swarm that has many: network, service, and memory of the managers.

Prints a table for docs/swarm.md. The servers are tiny; the guard's calls and the swarm are real.
All three engines share this machine's processors.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from docker.errors import NotFound
from zhub.contract import addressing, hub_address
from zhub.guard.services import Swarm
from zhub.guard.swarm import Services

from benchmarks.processes import PAGE, TICKS, available
from components.settings.swarm_facts import ENGINE
from tests.built import wait_until
from tests.engine.second_engine import able
from tests.engine.swarm.engines import LABELS, NodeEngine, SwarmEngines, swarm_engines
from tests.images.hub.zhub.guard.test_swarm_manager import WAITS, tiny

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("swarm"), pytest.mark.timeout(3600)]

NUMBERS = (50, 100, 200, 400)
FEW = (6, 12)
MORE = 5
"""Users who come in addition to each of these numbers, and go again."""

SECONDS = 1500
"""How long filling may take: larger numbers are left out then."""

LEAST_MEMORY = 3 << 10
"""MiB that the machine must have left; larger numbers are left out otherwise."""

AT_A_TIME = 4

PATIENCE = 600
"""Seconds that one answer of the engine may take, such as that a container is in many networks."""

SAYS = ["/busybox", "sh", "-c", "echo served; exec /busybox sleep 3000"]
POOL = IPv4Network("10.64.0.0/16")
PREFIX = "growth"


@dataclass
class Growing:
    """A swarm with the networks and tiny servers of many users, and a container like the hub."""

    engines: SwarmEngines
    image: str
    hub: str
    client: Services
    subnets: Iterator[IPv4Network] = field(default_factory=lambda: POOL.subnets(new_prefix=28))

    @property
    def api(self) -> Any:
        return self.engines.manager.client.api

    def network(self, name: str) -> tuple[str, float, float]:
        """Make a user's network with the hub in it; return its ID, and the seconds of the two."""
        subnet = next(self.subnets)
        labels = {"zhub.stack": PREFIX, "zhub.role": "user-network", "zhub.user": name}
        began = time.monotonic()
        made = str(
            self.client.create_network(
                f"{PREFIX}-user-{name}",
                labels=labels,
                internal=True,
                check_duplicate=True,
                ipam=addressing(subnet),
            )["Id"]
        )
        then = time.monotonic()
        self.client.connect_container_to_network(
            self.hub, made, aliases=["hub"], ipv4_address=str(hub_address(subnet))
        )
        return made, then - began, time.monotonic() - then

    def server(self, name: str, network: str) -> str:
        """Make a tiny service in a user's network, with what places a user's server."""
        [(label, value)] = LABELS.items()
        task = {
            "ContainerSpec": {"Image": self.image, "Args": SAYS, "StopGracePeriod": 0},
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": [f"node.labels.{label}=={value}"]},
            "Networks": [{"Target": network}],
        }
        made = self.api.create_service(
            task,
            name=f"{PREFIX}-user-{name}",
            labels={"zhub.stack": PREFIX, "zhub.role": "notebook", "zhub.user": name},
            mode={"Replicated": {"Replicas": 1}},
            endpoint_spec={"Mode": "dnsrr"},
        )
        return str(made["ID"])

    def states(self, **filters: Any) -> list[str]:
        return [str(one["Status"]["State"]) for one in self.api.tasks(filters=filters)]

    def all_run(self, number: int) -> None:
        """Wait until this many users' servers run."""
        of = {"label": [f"zhub.stack={PREFIX}"]}
        wait_until(lambda: self.states(**of) == ["running"] * number, seconds=600)

    def user(self, name: str) -> None:
        """Somebody who has a server."""
        network, _, _ = self.network(name)
        self.server(name, network)

    def one_more(self, name: str) -> dict[str, float]:
        """Somebody comes, and goes again; return the seconds of each step."""
        network, made, joined = self.network(name)
        began = time.monotonic()
        service = self.server(name, network)
        own = {"label": [f"zhub.user={name}"]}
        wait_until(lambda: self.states(**own) == ["running"], seconds=120)
        runs = time.monotonic()
        self.api.remove_service(service)
        wait_until(lambda: not self.states(**own), seconds=120)
        ended = time.monotonic()
        self.client.disconnect_container_from_network(self.hub, network, force=True)
        self.client.remove_network(network)
        return {
            "network made": made,
            "hub in it": joined,
            "service made until it runs": runs - began,
            "service removed until it is gone": ended - runs,
            "hub out, network removed": time.monotonic() - ended,
        }

    @property
    def keeps_networks(self) -> bool:
        """Whether a container in many overlays comes back from a quick restart.

        On 20.10 it does not: "network … not found", of one that is there. Nor are such engines
        taken for users' servers.
        """
        version = self.engines.manager.client.version()["Version"]
        return int(version.partition(".")[0]) >= ENGINE[0]

    def restarted(self) -> float:
        """Seconds that the hub's container takes to start again, in all its networks."""
        began = time.monotonic()
        self.engines.manager.client.containers.get(self.hub).restart(timeout=0)
        return time.monotonic() - began

    def placed(self) -> Counter[str]:
        """How many servers each machine has."""
        names = {one.id: one.attrs["Description"]["Hostname"] for one in self.engines.listed()}
        tasks = self.api.tasks(filters={"label": [f"zhub.stack={PREFIX}"]})
        return Counter(names[one["NodeID"]] for one in tasks)

    def reaches(self, name: str) -> bool:
        """Whether the hub's place reaches a server, on whichever machine, by its name."""
        hub = self.engines.manager.client.containers.get(self.hub)
        ping = ["/busybox", "ping", "-c", "1", "-W", "5", name]
        return bool(hub.exec_run(ping).exit_code == 0)


def _processes(node: NodeEngine) -> tuple[int, int]:
    return node.process.pid, node.containerd


def processor(engines: SwarmEngines) -> float:
    """Seconds of all engines, without shims and containers."""
    stats = [
        Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        for node in engines.nodes
        for process in _processes(node)
    ]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS


def memory(node: NodeEngine) -> float:
    """Resident memory of an engine in MiB."""
    pages = Path(f"/proc/{node.process.pid}/statm").read_text().split()[1]
    return int(pages) * PAGE / (1 << 20)


@contextmanager
def growing(engines: SwarmEngines) -> Iterator[Growing]:
    api: Any = engines.manager.client.api
    api.timeout = PATIENCE
    image = tiny(engines.manager)
    packed = b"".join(engines.manager.client.images.get(image).save())
    for node in engines.nodes[1:]:
        node.client.images.load(packed)
    hub: Any = engines.manager.client.containers.run(image, WAITS, detach=True)
    client = Services(api, PREFIX, Swarm(processor="amd64", grace=10, api=(1, 44)))
    try:
        yield Growing(engines, image, hub.id, client)
    finally:
        of: dict[str, Any] = {"label": f"zhub.stack={PREFIX}"}
        for service in api.services(filters=of):
            api.remove_service(service["ID"])
        hub.remove(force=True)
        wait_until(lambda: not api.tasks(filters=of), seconds=600)
        for network in api.networks(filters=of):
            client.remove_network(network["Id"])


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
        grow(swarm, FEW, more=1)
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


@pytest.mark.long
def test_one_more_user_beside_hundreds(engines: SwarmEngines) -> None:
    with growing(engines) as swarm:
        rows = grow(swarm, NUMBERS, more=MORE)
        print(swarm.placed())
        print(f"\n| users | {' | '.join(map(str, NUMBERS))} |")
        for row, values in rows.items():
            print(f"| {row} | {' | '.join(values)} |")
    assert rows, "not even the first number of users"


def grow(swarm: Growing, numbers: Sequence[int], *, more: int) -> dict[str, list[str]]:
    """Let more and more users come; return what was measured beside each number of them.

    Args:
        swarm: where nobody is so far.
        numbers: of users, from small to large.
        more: how many come in addition, and go again.
    """
    rows: dict[str, list[str]] = {}

    def note(row: str, value: float) -> None:
        rows.setdefault(row, []).append(f"{value:.2f}" if value < 10 else f"{value:.0f}")

    began, there = time.monotonic(), 0
    for number in numbers:
        pace = (time.monotonic() - began) / max(there, 1)
        if time.monotonic() - began + pace * (number - there) > SECONDS:
            print(f"{number}: left out, it would have taken more than {SECONDS} s")
            break
        if available() < LEAST_MEMORY:
            print(f"{number}: left out, {available():.0f} MiB of memory are left")
            break
        filling = time.monotonic()
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            list(threads.map(swarm.user, (f"u{n}" for n in range(there, number))))
        swarm.all_run(number)
        note("users a second, 4 at a time", (number - there) / (time.monotonic() - filling))
        there = number
        spent = processor(swarm.engines)
        came = [swarm.one_more(f"m{number}-{n}") for n in range(more)]
        for step in came[0]:
            note(step, median(one[step] for one in came))
        each = (processor(swarm.engines) - spent) / more
        note("processor seconds of all engines for one", each)
        if swarm.keeps_networks:
            note("hub's container restarted", swarm.restarted())
        manager, worker, *_ = swarm.engines.nodes
        note("memory of the manager's engine, MiB", memory(manager))
        note("memory of a worker's engine, MiB", memory(worker))
    return rows
