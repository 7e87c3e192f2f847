"""Sixty users come to a swarm at once, which has one, two or three machines for them.

The three engines are in network namespaces of this machine and share its processors: more of them
are not quicker here. What is seen is where the swarm puts servers, what a start takes beside a bare
service of the same image, and that nobody's start fails.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import docker
from zhub.guard.services import RESERVED_CPUS

from benchmarks.measured import SWARM
from benchmarks.rush import wait_for_server
from benchmarks.swarm_networks import processor
from tests.built import wait_until
from tests.engine.conftest import CONFIG
from tests.engine.people import Entrance
from tests.engine.stack import Stack, equipped
from tests.engine.swarm.conftest import await_ready, config, stack_on
from tests.engine.swarm.engines import NodeEngine, SwarmEngines, fit, swarm_engines
from tests.hubclient import User
from tests.ports import free_port
from toolchain.console import say

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench

CROWD = tuple(f"user{number}" for number in range(60))
"""Who is in the demo directory besides its own users."""

USER_MEMORY = "320M"
"""What each server reserves: one machine has room for the whole crowd."""

CPUS = (os.cpu_count() or 1) * RESERVED_CPUS * 10 // len(CROWD) / 10
"""Processors of each server, of which it reserves a part, for the same reason."""

AT_A_TIME = 8
"""Servers that are stopped at a time."""

PATIENCE = 600
"""Seconds that a user waits for an answer."""

BARE = "bare"
"""Label of the service that is no user's."""


@contextmanager
def stack_with_a_crowd(folder: Path, engines: SwarmEngines) -> Iterator[Stack]:
    """Bring the stack up, with the crowd in its directory; take it down."""
    project = equipped(folder / "project")
    with (project / "components" / "directory.py").open("a") as code:
        code.write(f"\nUSERS |= dict.fromkeys({CROWD!r}, MAY)\n")
    settings = config(engines) | {"userMemory": USER_MEMORY}
    with stack_on(engines, "bench-swarm", project, settings) as stack:
        yield stack


@dataclass
class Crowd:
    """What was measured while everybody came.

    Attributes:
        ready: seconds from login form to the first answer of the server's API, of each user.
        failed: what went wrong for users who got no server.
    """

    ready: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def come(self, user: User, name: str, password: str) -> None:
        """One user: logs in and waits for the server."""
        began = time.monotonic()
        try:
            user.send_password(name, password)
            wait_for_server(user)
            self.ready.append(time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - it is a result
            self.failed.append(f"{name}: {error}"[:200])


def crowd(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, machines: int
) -> dict[str, list[float]]:
    """Let everybody come at once, and go again; return what was measured, by rows of the table."""
    # The manager's machine last: it has the hub.
    chosen = [*engines.nodes[1:], engines.manager][:machines]
    users = [User(entrance.outputs["url"], entrance.authority, timeout=PATIENCE) for _ in CROWD]
    for user in users:
        user.open_login_form()
    found = Crowd()
    with engines.only(*chosen), ThreadPoolExecutor(len(CROWD)) as threads:
        began, before = time.monotonic(), processor(engines)
        list(threads.map(found.come, users, CROWD, map(entrance.password, CROWD)))
        took = time.monotonic() - began
        spent = processor(engines) - before
    for failure in found.failed:
        say("bench", failure)
    where = placed(engines, stack)
    began = time.monotonic()
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(User.stop_server, users))
    wait_until(lambda: not left(engines, stack), seconds=300)
    hub, first, second = (float(where[node.name]) for node in engines.nodes)
    return {
        "ready": found.ready,
        "pace": [len(found.ready) / took],
        "seconds": [spent / len(CROWD)],
        "hub": [hub],
        "first": [first],
        "second": [second],
        "failed": [len(found.failed)],
        "gone": [time.monotonic() - began],
    }


def placed(engines: SwarmEngines, stack: Stack) -> Counter[str]:
    """How many servers of the crowd each machine has."""
    return Counter(
        node.name
        for node in engines.nodes
        for one in node.client.containers.list(filters=stack.labelled("notebook"))
        if one.labels["zhub.user"] in CROWD
    )


def left(engines: SwarmEngines, stack: Stack) -> list[str]:
    """What is left of the crowd's servers on any machine."""
    servers, networks = stack.labelled("notebook"), stack.labelled("user-network")
    found = [str(one.name) for one in engines.manager.client.services.list(filters=servers)]
    for node in engines.nodes:
        there = node.client.containers.list(all=True, filters=servers, ignore_removed=True)
        found += [str(one.labels["zhub.user"]) for one in there]
        found += [str(one.name) for one in node.client.networks.list(filters=networks)]
    return [name for name in found if name.rpartition("-")[2] in CROWD]


def one_by_one(
    engines: SwarmEngines, stack: Stack, entrance: Entrance, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of starts on a worker, and of bare services of the same image there, in turn."""
    node = engines.nodes[1]
    user = entrance.logged_in(CROWD[0])
    ours, bare = [], []
    with engines.only(node):
        for _ in range(repeats):
            began = time.monotonic()
            user.ask_for_server()
            ours.append(time.monotonic() - began)
            user.stop_server()
            wait_until(lambda: not left(engines, stack), seconds=120)
            bare.append(_bare(node, engines, entrance.outputs["notebookDigest"]))
    return ours, bare


def _bare(node: NodeEngine, engines: SwarmEngines, image: str) -> float:
    """Seconds from the making of a service of the notebook image to JupyterLab's first answer."""
    api: Any = engines.manager.client.api
    port = free_port()
    task = {
        "ContainerSpec": {
            "Image": image,
            "Args": ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"],
        },
        "Placement": {"Constraints": [f"node.hostname=={node.name}"]},
        "RestartPolicy": {"Condition": "none"},
    }
    published = {"TargetPort": 8888, "PublishedPort": port, "PublishMode": "host"}
    began = time.monotonic()
    made = api.create_service(
        task, labels={"zhub.role": BARE}, endpoint_spec={"Mode": "dnsrr", "Ports": [published]}
    )
    try:
        wait_until(lambda: _answers(f"http://{node.apart.inner}:{port}/api"), seconds=60)
        return time.monotonic() - began
    finally:
        api.remove_service(made["ID"])
        of = {"label": [f"zhub.role={BARE}"]}
        wait_until(lambda: not api.tasks(filters=of), seconds=60)


def _answers(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def measure(bench: Bench, subject: str, platform: str) -> None:
    """Bring a stack up on a swarm; keep what one start takes, and what sixty at once."""
    if reason := fit():
        say("bench", f"not measured: {reason}")
        return
    with (
        TemporaryDirectory(prefix="zhub-") as short,
        TemporaryDirectory() as folder,
        swarm_engines(Path(short)) as engines,
        # Reach the hub at the loopback of its machine.
        engines.manager.machine(),
    ):
        engines.manager.take(docker.from_env().images.get(CONFIG["buildImage"]))
        with stack_with_a_crowd(Path(folder), engines) as stack:
            entrance = Entrance.of(stack)
            ours, bare = one_by_one(engines, stack, entrance, bench.repeats)
            bench.keep("swarm-bare", subject, platform, bare)
            bench.keep("swarm-start", subject, platform, ours)
            stack.on_stack("config set", "zhub:userCpus", str(CPUS))
            stack.up()
            await_ready(engines, stack)
            for number in SWARM.numbers:
                for row, values in crowd(engines, stack, entrance, number).items():
                    bench.keep(SWARM.key(row, number), subject, platform, values)
