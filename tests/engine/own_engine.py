"""A whole stack on an engine of its own, which tests may stop, kill and start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
import pytest
import requests
import websocket

from tests.engine.conftest import native
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.engine.stack import Stack, checkout
from tests.hubclient import Kernel, User
from tests.pki import Identity
from tests.ports import free_port

#: What asking a hub raises that is just restarting.
AWAY = (requests.RequestException, OSError, websocket.WebSocketException, KeyError, AssertionError)

LIVE = "--live-restore"

#: Who is in the demo directory besides its own users, so that ten may log in.
MORE_USERS = tuple(f"user{number}" for number in range(6))

#: Roles with a health check.
WORKING = ("directory", "guard", "proxy", "hub")


@dataclass
class Site:
    """The stack on its engine."""

    second: SecondEngine
    stack: Stack
    authority: Path
    """What the hub's certificate is verified with."""
    url: str
    passwords: dict[str, str]

    def browser(self, name: str) -> User:
        """A user's browser, logged in; on the engine's machine only."""
        user = User(self.url, self.authority)
        user.log_in(name, self.passwords[name])
        return user

    def live_restore(self, *, on: bool) -> None:
        """Have the engine keep its containers while it restarts, or not, from now on."""
        options = (LIVE,) if on else ()
        if self.second.options != options:
            self.second.options = options
            self.second.restart()
            seconds_until(self.all_healthy, 120)

    def containers(self) -> list[Any]:
        """All containers of the stack that run."""
        ours: dict[str, Any] = {"label": f"zhub.stack={self.stack.prefix}"}
        return list(self.second.client.containers.list(filters=ours))

    def started(self) -> dict[str, str]:
        """When each container of the stack was started, by its name; without helpers."""
        return {
            str(one.name): one.attrs["State"]["StartedAt"]
            for one in self.containers()
            if str(one.name).startswith(self.stack.prefix)
        }

    def health(self) -> dict[str, str]:
        """The health of each container that has a check, by its role.

        As the engine says, or as the check says now: of what ran while it was restarted, Docker
        20.10 goes on saying what it said before, also that it is just starting.
        """
        found = {}
        for role in WORKING:
            container = self.second.client.containers.get(f"{self.stack.prefix}-{role}")
            state = container.attrs["State"]
            found[role] = state["Health"]["Status"] if state["Running"] else state["Status"]
            if found[role] in {"starting", "unhealthy"} and not state["Paused"]:
                _, *check = container.attrs["Config"]["Healthcheck"]["Test"]
                code, said = container.exec_run(check)
                assert isinstance(said, bytes)
                found[role] = f"{found[role]}: {said.decode()}" if code else "healthy"
        return found

    def all_healthy(self) -> None:
        """Check that all are; raises AssertionError otherwise."""
        found = self.health()
        assert set(found.values()) == {"healthy"}, found

    def tracebacks(self, since: float) -> dict[str, str]:
        """What the stack's own containers have logged of errors that nobody expected."""
        found = {}
        for role in WORKING:
            container = self.second.client.containers.get(f"{self.stack.prefix}-{role}")
            log = container.logs(since=int(since)).decode(errors="replace")
            first = min(
                (log.find(sign) for sign in ("Traceback", "    at ") if sign in log), default=-1
            )
            if first >= 0:
                found[role] = log[max(0, first - 500) : first + 6000]
        return found


@contextmanager
def own_engine_site(engine: docker.DockerClient, folder: Path, name: str) -> Iterator[Site]:
    """Bring a stack up on an engine of its own, natively, with a separate proxy and ten users."""
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    authority = Identity.create("Test authority", authority=True)
    authority.write(folder, "authority")
    Identity.create("localhost", issuer=authority).write(folder, "hub")
    project = checkout(folder / "project")
    with (project / "components" / "directory.py").open("a") as code:
        code.write(f"\nUSERS |= dict.fromkeys({MORE_USERS!r}, MAY)\n")
    with TemporaryDirectory(prefix="zhub-") as short, second_engine(Path(short)) as own:
        config = native(engine) | {
            "port": free_port(),
            "tlsCertFile": str(folder / "hub.crt"),
            "tlsKeyFile": str(folder / "hub.key"),
            "separateProxy": True,
            "notebookPackages": ["python3-six"],
            "engineSocket": str(own.socket),
        }
        own.take(engine.images.get(config["buildImage"]))
        stack = Stack(name, folder, project=project)
        stack.init(config)
        stack.on_stack("config set", "docker:host", own.address)
        stack.up()
        outputs = stack.outputs()
        made = Site(own, stack, folder / "authority.crt", outputs["url"], outputs["demoUsers"])
        try:
            yield made
        finally:
            # They would run on without their engine; all else goes with its folder.
            for container in own.client.containers.list(all=True):
                container.remove(force=True)


def at_work(user: User) -> Kernel:
    """A kernel of the user with a variable, in a server that is started if there is none."""
    if not user.server():
        user.ask_for_server()
    user.open_lab()
    kernel = user.start_kernel()
    kernel.run("answer = 6 * 7")
    return kernel


def seconds_until(done: Callable[[], object], most: float, since: float | None = None) -> float:
    """Try until it works; returns the seconds since then, or since now."""
    begin = time.monotonic()
    while True:
        try:
            done()
        except AWAY:
            if time.monotonic() - begin > most:
                raise
            time.sleep(0.2)
        else:
            return time.monotonic() - (begin if since is None else since)
