"""Many users at once: each logs in, waits for the server as a browser does, and uses its API."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urljoin

import docker

from benchmarks import processes
from benchmarks.health import health_of
from benchmarks.images import tag
from benchmarks.running import LABEL, PATIENCE, Hub, Site, until_it_answers
from tests.hubclient import User

#: Seconds within which they all send the login form, by the ends of the rows' keys.
WITHIN = {"": 1.0, "-minute": 60.0}

#: Memory in MiB that a server must find, by whose it is: more than it takes, so that the machine
#: never swaps.
EACH = {"project": 100, "seed": 160}

#: Bare containers that start at a time; the quicker of them counts.
AT_A_TIME = (4, 8)


def users(number: int) -> list[str]:
    """Names of users; the first administers the hub."""
    return ["alice", *(f"user{n}" for n in range(1, number))]


@dataclass
class Rush:
    """What was measured while everybody logged in.

    Attributes:
        login: seconds from login form to answer, of each user.
        ready: seconds from login form to the first answer of the server's API, of each user.
        health: seconds of each health check meanwhile.
        seconds: processor seconds of each part.
        memory: MiB of each part afterwards.
        taken: MiB by which the machine's available memory has gone down.
        failed: what went wrong for users who got no server.
    """

    login: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    seconds: Counter[str] = field(default_factory=Counter)
    memory: Counter[str] = field(default_factory=Counter)
    taken: float = 0
    failed: list[str] = field(default_factory=list)


def wait_for_server(user: User) -> None:
    """Ask for the user's server and follow its progress, as the hub's page does.

    Raises:
        RuntimeError: when the start fails.
    """
    page = user.request("GET", "hub/spawn")
    page.raise_for_status()
    if "/spawn-pending/" in page.url:
        path = f"hub/api/users/{user.name}/server/progress"
        with user.request("GET", path, stream=True) as events:
            events.raise_for_status()
            for line in events.iter_lines():
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line.removeprefix(b"data:"))
                if event.get("failed"):
                    raise RuntimeError(event.get("message"))
                if event.get("ready"):
                    break
    user.request("GET", urljoin(user.home, "api")).raise_for_status()


def come(hub: Hub, site: Site, name: str, delay: float, found: Rush) -> None:
    """One user: opens the page, logs in after a delay, and waits for the server."""
    user = User(hub.url, site.authority, timeout=PATIENCE)
    try:
        user.open_login_form()
        time.sleep(delay)
        begin = time.monotonic()
        user.send_password(name, site.password)
        found.login.append(time.monotonic() - begin)
        wait_for_server(user)
        found.ready.append(time.monotonic() - begin)
    except Exception as error:  # noqa: BLE001 - it is a result
        found.failed.append(f"{name}: {error}"[:200])


def rush(
    hub: Hub,
    site: Site,
    names: Sequence[str],
    containers: Callable[[], Mapping[str, str]],
    within: float = WITHIN[""],
) -> Rush:
    """Everybody logs in within some seconds; returns when all have their server."""
    found = Rush()
    before, watch = processes.available(), processes.Watch()
    with (
        health_of(hub.url, site.authority, found.health),
        ThreadPoolExecutor(len(names)) as threads,
    ):
        for number, name in enumerate(names):
            threads.submit(come, hub, site, name, within * number / len(names), found)
    found.taken = before - processes.available()
    found.seconds = watch.seconds(containers())
    found.memory = processes.memory(containers())
    return found


@dataclass(frozen=True)
class Bare:
    """Bare containers of the notebook image, started by a number of threads."""

    ready: list[float]
    """Seconds since all began, of each container."""
    seconds: float
    """Processor seconds of engine, shims and containers, of each container."""


def bare(
    engine: docker.DockerClient, subject: str, platform: str, number: int, at_a_time: int
) -> Bare:
    """Start containers of a notebook image until each answers; remove them."""
    command = ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
    ready: list[float] = []
    made = []
    begin = time.monotonic()

    def start(_: int) -> None:
        container = engine.containers.run(
            tag("notebook", subject, platform), command, detach=True, labels=LABEL
        )
        made.append(container)
        container.reload()
        [network] = container.attrs["NetworkSettings"]["Networks"].values()
        until_it_answers(f"http://{network['IPAddress']}:8888/api", container)
        ready.append(time.monotonic() - begin)

    watch = processes.Watch()
    try:
        with ThreadPoolExecutor(at_a_time) as threads:
            list(threads.map(start, range(number)))
        used = watch.seconds({str(one.id): "servers" for one in made})
    finally:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda one: one.remove(force=True, v=True), made))
    parts = ("servers", "engine", "shims")
    return Bare(ready, sum(used[name] for name in parts) / number)


def best(engine: docker.DockerClient, subject: str, platform: str, number: int) -> Bare:
    """The quickest of some numbers of containers that start at a time."""
    tried = map(partial(bare, engine, subject, platform, number), AT_A_TIME)
    return min(tried, key=lambda one: max(one.ready))
