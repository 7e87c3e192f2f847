"""What one more user costs a swarm that has many: network, service, and memory of the managers.

The servers are tiny; the guard's calls and the swarm are real. All three engines share this
machine's processors.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from docker.errors import APIError
from zhub.contract import HUB_ALIAS, Role, addressing, hub_address
from zhub.guard.namespace import PERIOD, Namespace
from zhub.guard.services import Swarm
from zhub.guard.swarm import Services

from benchmarks.crowds import Time
from benchmarks.measured import OVERLAYS
from benchmarks.processes import PAGE, TICKS, available
from tests.built import wait_until
from tests.engine.swarm.engines import LABELS, NodeEngine, SwarmEngines, fit, swarm_engines
from toolchain.console import say

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench

MORE = 5
"""Users who come in addition to each number of them, and go again."""

LEAST_MEMORY = 3 << 10
"""MiB that the machine must have left; larger numbers are left out otherwise."""

AT_A_TIME = 4

PATIENCE = 600
"""Seconds that one answer of the engine may take, such as that a container is in many networks."""

SAYS = ["/busybox", "sh", "-c", "echo served; exec /busybox sleep 10000"]
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
            self.hub, made, aliases=[HUB_ALIAS], ipv4_address=str(hub_address(subnet))
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
            "made": made,
            "joined": joined,
            "runs": runs - began,
            "gone": ended - runs,
            "removed": time.monotonic() - ended,
        }

    def restarted(self) -> tuple[float, int]:
        """Restart the hub's container in all its networks, with the guard's help.

        Returns:
            Seconds until it runs, and how often it was started.

        Raises:
            TimeoutError: it could not be started.
        """
        guard = Namespace(self.api, PREFIX, separate_proxy=False)
        began, starts = time.monotonic(), 1
        # Beside dozens of networks, the managers are too slow for the engine.
        with suppress(APIError):
            self.api.restart(self.hub, timeout=0)
        while not self.api.inspect_container(self.hub)["State"]["Running"]:
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"the hub's container does not run after {PATIENCE} s")
            time.sleep(PERIOD)
            guard.look()
            starts += 1
        return time.monotonic() - began, starts

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
    image = engines.manager.tiny_image()
    packed = b"".join(engines.manager.client.images.get(image).save())
    for node in engines.nodes[1:]:
        node.client.images.load(packed)
    hub: Any = engines.manager.client.containers.run(
        image, SAYS, name=f"{PREFIX}-{Role.HUB}", detach=True
    )
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


def grow(swarm: Growing, there: int, number: int, *, more: int) -> dict[str, list[float]]:
    """Let users come until there is a number of them; measure what one more costs.

    Args:
        swarm: where users are.
        there: how many.
        number: how many are to be there.
        more: how many come in addition, and go again.

    Returns:
        What was measured, by rows of the table.
    """
    rows: dict[str, list[float]] = defaultdict(list)
    filling = time.monotonic()
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(swarm.user, (f"u{n}" for n in range(there, number))))
    swarm.all_run(number)
    rows["pace"] = [(number - there) / (time.monotonic() - filling)]
    spent = processor(swarm.engines)
    for n in range(more):
        for step, seconds in swarm.one_more(f"m{number}-{n}").items():
            rows[step].append(seconds)
    rows["seconds"] = [(processor(swarm.engines) - spent) / more]
    manager, worker, *_ = swarm.engines.nodes
    rows["memory-manager"] = [memory(manager)]
    rows["memory-worker"] = [memory(worker)]
    return rows


def measure(bench: Bench, subject: str, platform: str) -> None:
    """Let more and more users come; keep what was measured beside each number of them."""
    if reason := fit():
        say("bench", f"not measured: {reason}")
        return
    left = Time(bench.minutes)
    with (
        TemporaryDirectory(prefix="zhub-") as folder,
        swarm_engines(Path(folder)) as engines,
        growing(engines) as swarm,
    ):
        there = 0
        for number in OVERLAYS.numbers:
            few = available() < LEAST_MEMORY
            need = f"less than {LEAST_MEMORY} MiB of memory were left" if few else ""
            if why := need or left.too_short(number - there):
                bench.keep(OVERLAYS.key("made", number), subject, platform, [], why)
                continue
            for row, values in grow(swarm, there, number, more=MORE).items():
                bench.keep(OVERLAYS.key(row, number), subject, platform, values)
            try:
                seconds, starts = swarm.restarted()
            except TimeoutError as error:
                bench.keep(OVERLAYS.key("restart", number), subject, platform, [], str(error))
                break
            bench.keep(OVERLAYS.key("restart", number), subject, platform, [seconds])
            bench.keep(OVERLAYS.key("starts", number), subject, platform, [starts])
            left.done(number - there)
            there = number
