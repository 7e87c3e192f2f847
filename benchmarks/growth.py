"""What a hub with many servers costs: one more start, a list of users, a restart of the hub.

The servers are tiny stand-ins; spawner, guard, networks, filters and engine are the real ones.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import docker
import requests
from docker.models.containers import Container

from benchmarks import processes
from benchmarks.logins import session
from benchmarks.running import PATIENCE, USER, Hub, Site
from benchmarks.rush import wait_for_server
from tests.hubclient import User

#: Starts that are measured with each number of servers.
STARTS = 5

#: Starts at a time on the way to the next number.
AT_A_TIME = 4

#: Answers every request on the server's port, with as little memory as Python takes.
STAND_IN = """
import socket
listener = socket.create_server(("0.0.0.0", 8888), backlog=100)
while True:
    with listener.accept()[0] as connection:
        connection.settimeout(5)
        try:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n{}")
        except OSError:
            pass
"""


def stand_in(engine: docker.APIClient, image: str) -> str:
    """Make the stand-in's image from the notebook image; return its ID."""
    made = engine.create_container(image, ["true"], entrypoint=[])["Id"]
    try:
        escaped = STAND_IN.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        command = f'CMD ["/opt/jupyter/bin/python3", "-I", "-S", "-c", "{escaped}"]'
        return str(engine.commit(made, changes=[command, "ENTRYPOINT []"])["Id"])
    finally:
        engine.remove_container(made, v=True)


@dataclass(frozen=True)
class Growth:
    """What was measured with a number of servers.

    Attributes:
        start: seconds of each of some further starts.
        seconds: processor seconds of one of them, by part.
        users: seconds of each answer with all users and their servers.
        restart: seconds until the restarted hub answers.
        routed: seconds until the last server is reached through the proxy again.
        restart_seconds: processor seconds of the hub until then.
        memory: MiB of each part, before the restart.
    """

    start: list[float]
    seconds: dict[str, float]
    users: list[float]
    restart: float
    routed: float
    restart_seconds: float
    memory: Counter[str]


def start(hub: Hub, site: Site, name: str) -> User:
    """Log a user in and start the server."""
    user = User(hub.url, site.authority, timeout=PATIENCE)
    user.log_in(name, site.password)
    wait_for_server(user)
    return user


def fill(hub: Hub, site: Site, names: Sequence[str]) -> None:
    """Start the servers of many users."""
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(lambda name: start(hub, site, name), names))


def asked(admin: User) -> float:
    """Seconds that the hub takes to list all users with their servers."""
    begin = time.monotonic()
    offset = 0
    while True:
        page = admin.request("GET", f"hub/api/users?state=ready&offset={offset}")
        page.raise_for_status()
        if len(page.json()) < 50:
            return time.monotonic() - begin
        offset += len(page.json())


def measure(
    hub: Hub, site: Site, names: Sequence[str], containers: Callable[[], Mapping[str, str]]
) -> Growth:
    """Measure with the servers that run; `names` are users without one, who get one."""
    container: Container = hub.container
    starts = []
    watch = processes.Watch()
    for name in names:
        begin = time.monotonic()
        last = start(hub, site, name)
        starts.append(time.monotonic() - begin)
    used = watch.seconds(containers())
    admin = User(hub.url, site.authority, timeout=PATIENCE)
    admin.log_in(USER, site.password)
    users = [asked(admin) for _ in range(STARTS)]
    memory = processes.memory(containers())

    begin = time.monotonic()
    container.restart()
    health = f"{admin.base}hub/health"
    browser = session(site)
    restart = _until(lambda: browser.get(health, timeout=10).ok, begin)
    routed = _until(lambda: last.request("GET", f"user/{last.name}/api").ok, begin)
    known = containers()
    seconds = sum(
        process.seconds
        for _, process in processes.running()
        if processes.part(process, known) == "hub"
    )
    return Growth(
        starts,
        {part: value / len(names) for part, value in used.items()},
        users,
        restart,
        routed,
        seconds,
        memory,
    )


def _until(done: Callable[[], bool], begin: float) -> float:
    """Seconds since a moment until something answers."""
    while True:
        try:
            if done():
                return time.monotonic() - begin
        except requests.RequestException:
            pass
        if time.monotonic() - begin > PATIENCE:
            raise RuntimeError(f"no answer after {PATIENCE} s")
        time.sleep(0.1)
