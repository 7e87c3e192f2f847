"""What a hub with many servers costs: one more of them, their list, the periodic looks, a restart.

The servers are tiny stand-ins; spawner, guard, networks, filters and engine are the real ones. The
engine is one for this benchmark alone, so that its calls and its processor time can be counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import docker
import requests

from benchmarks import processes
from benchmarks.logins import session
from benchmarks.own_engine import PATIENCE, OwnEngine, Watch
from benchmarks.running import USER, Hub, Site
from benchmarks.rush import wait_for_server
from tests.hubclient import User

#: Starts that are measured with each number of servers; as many servers are stopped afterwards.
STARTS = 5

#: Starts at a time on the way to the next number.
AT_A_TIME = 4

#: Memory in MiB that a stand-in must find, with all that the engine runs for it.
EACH = 16

#: Seconds after a scrape in which the guard asks the engine for the numbers of the next one.
RENEWED = 5

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

PYTHON = "/opt/jupyter/bin/python3"

#: One round of the culler that stops nothing, and of the recheck: what the hub starts as services.
ROUNDS = {
    "cull": (
        f"timeout 5 {PYTHON} -I -m zhub.servers.culling 0 --timeout=1000000 --cull-every=100000"
    ),
    "recheck": f"""{PYTHON} -I -c '
import os
from zhub.api import Api
from zhub.login import recheck
from zhub.state import database
recheck.check(Api(os.environ), recheck.by_login(database.FILE))
'""",
}

DATABASE = "du -cb /srv/jupyterhub/jupyterhub.sqlite* | tail -n 1"


def stand_in(engine: docker.APIClient, image: str) -> str:
    """Make the stand-in's image from the notebook image; return its ID."""
    made = engine.create_container(image, ["true"], entrypoint=[])["Id"]
    try:
        escaped = STAND_IN.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        command = f'CMD ["{PYTHON}", "-I", "-S", "-c", "{escaped}"]'
        return str(engine.commit(made, changes=[command, "ENTRYPOINT []"])["Id"])
    finally:
        engine.remove_container(made, v=True)


@dataclass
class Growth:
    """What was measured with a number of servers; rows of the table, by their keys."""

    rows: dict[str, list[float]] = field(default_factory=dict)

    def spent(self, row: str, used: Mapping[str, float]) -> None:
        """Add the processor seconds of all parts together."""
        self.rows[row] = [sum(used.values())]


@dataclass(frozen=True)
class Stack:
    """The hub that is measured, with all around it."""

    own: OwnEngine
    hub: Hub
    site: Site
    containers: Callable[[], Mapping[str, str]]
    """Parts of the containers, by their IDs."""

    def start(self, name: str) -> User:
        """Log a user in and start the server."""
        user = User(self.hub.url, self.site.authority, timeout=PATIENCE)
        user.log_in(name, self.site.password)
        wait_for_server(user)
        return user

    def fill(self, names: Sequence[str]) -> None:
        """Start the servers of many users."""
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            list(threads.map(self.start, names))

    def used(self, work: Callable[[], object]) -> Counter[str]:
        """Processor seconds that some work takes, by part."""
        watch = Watch.of(self.own)
        work()
        return watch.seconds(self.containers())

    def run(self, command: str, token: str) -> str:
        """Run a command in the hub's container, as a service with a token."""
        environment = {
            "JUPYTERHUB_API_URL": "http://127.0.0.1:8081/hub/api",
            "JUPYTERHUB_API_TOKEN": token,
        }
        code, output = self.hub.container.exec_run(["sh", "-c", command], environment=environment)
        text = output.decode() if isinstance(output, bytes) else ""
        if code not in {0, 124}:  # timeout has ended it
            raise RuntimeError(f"{command} failed: {text[-500:]}")
        return text

    def measure(self, names: Sequence[str]) -> Growth:
        """Measure with the servers that run; `names` are users without one, who get one."""
        found = Growth()
        users = self._starts(names, found)
        admin = User(self.hub.url, self.site.authority, timeout=PATIENCE)
        admin.log_in(USER, self.site.password)
        self._looks(admin, found)
        memory = {**processes.memory(self.containers()), "engine": self.own.memory()}
        found.rows |= {f"memory-{part}": [value] for part, value in memory.items()}
        self._restart(users[-1], found)
        found.spent("stop-seconds", self.used(partial(_stop, users)))
        found.rows["stop-seconds"][0] /= len(users)
        return found

    def _starts(self, names: Sequence[str], found: Growth) -> list[User]:
        watch, starts, users = Watch.of(self.own), [], []
        calls: list[float] = []
        for name in names:
            begin, before = time.monotonic(), self.own.calls()
            users.append(self.start(name))
            starts.append(time.monotonic() - begin)
            calls.append(self.own.calls() - before)
        used = watch.seconds(self.containers())
        found.rows["calls"] = calls
        found.rows["start"] = starts
        found.rows["seconds"] = [sum(used.values()) / len(names)]
        for part, value in used.items():
            found.rows[f"seconds-{part}"] = [value / len(names)]
        return users

    def _looks(self, admin: User, found: Growth) -> None:
        made = admin.request("POST", f"hub/api/users/{USER}/tokens", json={"expires_in": 3600})
        made.raise_for_status()
        token = made.json()["token"]
        found.rows["users"] = [asked(admin) for _ in range(STARTS)]
        found.spent("admin-seconds", self.used(lambda: opened(admin)))

        def scraped() -> None:
            headers = {"Authorization": f"token {token}"}
            admin.request("GET", "hub/metrics", headers=headers).raise_for_status()
            time.sleep(RENEWED)

        found.spent("scrape-seconds", self.used(scraped))
        for row, command in ROUNDS.items():
            found.spent(f"{row}-seconds", self.used(partial(self.run, command, token)))
        found.rows["database"] = [int(self.run(DATABASE, token).split()[0]) / 1e6]

    def _restart(self, last: User, found: Growth) -> None:
        health, browser = f"{last.base}hub/health", session(self.site)
        watch, begin = Watch.of(self.own), time.monotonic()
        self.hub.container.restart()
        found.rows["restart"] = [_until(lambda: browser.get(health, timeout=10).ok, begin)]
        page = f"user/{last.name}/api"
        found.rows["routed"] = [_until(lambda: last.request("GET", page).ok, begin)]
        found.spent("restart-seconds", watch.seconds(self.containers()))


def _stop(users: Sequence[User]) -> None:
    for user in users:
        user.stop_server()


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


def opened(admin: User) -> None:
    """Open the page of administrators, with its first users."""
    users = "hub/api/users?include_stopped_servers=1&offset=0&limit=50"
    for path in ("hub/admin", users):
        admin.request("GET", path).raise_for_status()


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
