"""Real faults of a stack, which alerts each has to make fire, and the runbook that ends them.

A fault is a generator: it causes what is wrong, waits at `yield` until the alerts have fired, and
then types what docs/ prints. Its order is that of a bad day.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import docker.errors
import pytest
import requests
from docker.models.containers import Container

from tests.built import healthy, wait_until
from tests.docs.commands import runs
from tests.engine.namespaces import entered
from tests.engine.operator import typed
from tests.engine.people import Entrance, served_pem
from tests.engine.prometheus import Prometheus
from tests.engine.second_engine import SecondEngine
from tests.engine.stack import Stack
from tests.hubclient import LoginRefused
from tests.pki import Identity

GIB = 1 << 30

PROMISED = "1G"
"""userMemory; two servers are all that usersMemory and maxServers allow."""

TAKEN = 600 << 20
"""Memory that a user's program takes."""

SLOW = 66
"""Seconds for which a server does not listen; the alert counts those above a minute."""

LATE = 4.5
"""Seconds until the directory answers: the alert counts those above three, the hub waits five."""

GUESSES = 25


@dataclass(frozen=True)
class Scene:
    """A stack on an engine of its own, and Prometheus."""

    engine: SecondEngine
    stack: Stack
    entrance: Entrance
    prometheus: Prometheus
    meminfo: Path
    """What the engine takes for /proc/meminfo."""

    def container(self, name: str) -> Container:
        return self.engine.client.containers.get(f"{self.stack.prefix}-{name}")

    def healthy(self, *names: str) -> None:
        """Wait until these answer."""
        wait_until(lambda: all(healthy(self.container(name)) for name in names), seconds=600)

    def typed(self, *blocks: str) -> str:
        """Type commands of a page."""
        return typed(self.stack, *blocks)


Fault = Callable[[Scene], Iterator[None]]


def certificate(stack: Stack, days: int) -> dict[str, str]:
    """Put a certificate of the site's own into two files; return the settings that name them."""
    made = Identity.create("localhost", "127.0.0.1", end=timedelta(days=days))
    made.write(stack.folder, "site")
    return {
        "tlsCertFile": str(stack.folder / "site.crt"),
        "tlsKeyFile": str(stack.folder / "site.key"),
    }


def from_the_first_day(scene: Scene) -> Iterator[None]:
    """The certificate ends in a week, and nobody has made a backup."""
    yield
    # All else is well, and no alert says otherwise.
    assert set(scene.prometheus.fired) == set(FAULTS[from_the_first_day])
    scene.typed(*runs("docs/operations.md", "Back up"))
    new = Path(certificate(scene.stack, 90)["tlsCertFile"]).read_text()
    scene.stack.up()
    wait_until(lambda: served_pem(scene.stack) == new, seconds=60)
    get_the_token(scene)
    the_token_is_exchanged(scene)


def the_token_is_exchanged(scene: Scene) -> None:
    """Prometheus scrapes meanwhile, and reads the new token: at most one scrape is refused."""
    scraped = f"timestamp(up) > {time.time()} and up == 1"
    wait_until(lambda: bool(scene.prometheus.query(scraped)), seconds=60)
    began = time.time()
    token = scene.stack.folder / f"{scene.stack.prefix}.token"
    before = token.read_text()
    _, exchange = runs("docs/monitoring.md", "Get the token")
    scene.stack.shell(exchange.replace("<stack>", scene.stack.name), scene.stack.folder)
    assert token.read_text() != before
    after = f"timestamp(up) > {time.time()} and up == 1"
    wait_until(lambda: bool(scene.prometheus.query(after)), seconds=60)
    span = f"up[{round(time.time() - began)}s]"
    [missed] = scene.prometheus.query(f"count_over_time({span}) - sum_over_time({span})")
    assert float(missed["value"][1]) <= 1


def get_the_token(scene: Scene) -> None:
    """Put token and certificate where Prometheus has them."""
    block, _ = runs("docs/monitoring.md", "Get the token")
    scene.stack.shell(block.replace("<stack>", scene.stack.name), scene.stack.folder)


def pause(container: Container) -> None:
    """Pause it; the kernel refuses this now and then, while processes begin or end."""

    def paused() -> bool:
        try:
            container.pause()
        except docker.errors.APIError as error:
            if "unable to freeze" not in str(error):
                raise
            return False
        return True

    wait_until(paused, seconds=30)


def all_is_slow(scene: Scene) -> Iterator[None]:
    """A server starts on a busy machine, the directory is slow, and somebody guesses passwords."""
    alice = scene.entrance.logged_in("alice")

    def start() -> None:
        with entered(scene.engine.apart.name):
            alice.start_server()

    def log_in(name: str) -> None:
        # On a busy machine the directory may be too late, which is slow as well.
        with entered(scene.engine.apart.name), suppress(LoginRefused):
            scene.entrance.logged_in(name)

    def there() -> bool:
        try:
            server = scene.container("user-alice")
        except docker.errors.NotFound:
            return False
        return server.status == "running"

    with ThreadPoolExecutor() as threads:
        started = threads.submit(start)
        wait_until(there, seconds=60)
        server, began = scene.container("user-alice"), time.monotonic()
        pause(server)
        directory = scene.container("directory")
        pause(directory)
        # As many as it takes: the alert is about the mean of all, also of Alice's quick login.
        logins = [threads.submit(log_in, name) for name in ("bob", "carol", "grace", "mallory")]
        time.sleep(LATE)
        directory.unpause()
        for login in logins:
            login.result()
        # Wrong guesses are answered quickly, and count as well.
        scene.prometheus.wait_for(frozenset({"DirectorySlow"}), seconds=90)
        stranger = scene.entrance.browser()
        stranger.open_login_form()
        for _ in range(GUESSES):
            # After the fifth, the hub has them wait.
            with pytest.raises((LoginRefused, requests.HTTPError)):
                stranger.send_password("nobody", "a guess")
        time.sleep(max(began + SLOW - time.monotonic(), 0))
        server.unpause()
        started.result()
    yield


def parts_are_stopped(scene: Scene) -> Iterator[None]:
    """Somebody stops the directory, and then the hub."""
    bob = scene.entrance.browser()
    scene.container("directory").stop()
    with pytest.raises(requests.HTTPError, match="503"):
        bob.log_in("bob", scene.entrance.password("bob"))
    scene.prometheus.wait_for(frozenset({"DirectoryDown", "DirectoryServerDown"}), seconds=120)
    [doctor] = runs("docs/monitoring.md", "Alerts", "make doctor")
    assert "FAILED" in scene.typed(f"{doctor} || true")
    scene.container("hub").stop()
    yield
    shown, start = runs(
        "docs/monitoring.md", "Alerts", "docker ps", "docker start zhub-<stack>-hub"
    )
    assert f"{scene.stack.prefix}-hub: Exited" in scene.typed(shown)
    scene.typed(start)
    scene.container("directory").start()
    scene.healthy("hub", "directory")
    assert "allowed, with the name alice" in scene.typed(doctor)


def the_engine_hangs(scene: Scene) -> Iterator[None]:
    """It is there and says nothing."""
    os.kill(scene.engine.process.pid, signal.SIGSTOP)
    yield
    scene.engine.restart(kill=True)
    scene.healthy("directory", "guard", "hub")


def users_take_all(scene: Scene) -> Iterator[None]:
    """A home was made by hand; servers take memory, disk and places; somebody stops the guard."""
    scene.engine.client.volumes.create(f"{scene.stack.prefix}-home-carol")
    carol = scene.entrance.logged_in("carol")
    with pytest.raises(requests.HTTPError):
        carol.start_server()
    scene.prometheus.wait_for(frozenset({"GuardRefuses", "StartsFail"}), seconds=120)
    [copy] = runs("docs/operations.md", "Somebody's server does not start")
    scene.typed(copy.replace("alice", "carol"))
    carol = scene.entrance.logged_in("carol")
    carol.start_server()
    bob = scene.entrance.logged_in("bob")
    bob.start_server()
    grace = scene.entrance.logged_in("grace")
    full = grace.request("POST", "hub/api/users/grace/server")
    assert full.status_code == requests.codes.service_unavailable
    kernel = carol.start_kernel()
    kernel.run(f"held = b'x' * {TAKEN}")
    # As if the machine had hardly more than that.
    scene.meminfo.write_text(f"MemTotal: {TAKEN * 10 // 9 >> 10} kB\n")
    bob.run("import subprocess as s; s.run(['fallocate', '-l', '11G', '/tmp/much'], check=True)")
    disk = scene.engine.folder / "data"
    rest = shutil.disk_usage(disk).free - shutil.disk_usage(disk).total // 20
    bob.run(f"import subprocess as s; s.run(['fallocate', '-l', '{rest}', 'much'], check=True)")
    scene.container("guard").stop()
    scene.prometheus.wait_for(frozenset({"PartDown"}), seconds=120)
    # What servers have written is measured when the guard starts, and then every ten minutes.
    scene.typed(
        *runs("docs/monitoring.md", "Alerts", "docker logs", "docker start zhub-<stack>-guard")
    )
    yield
    [sizes] = runs("docs/homes.md", "How large the homes are")
    assert "bob" in scene.typed(sizes)
    [stop] = runs("docs/people.md", "Stop a server")
    for name in ("bob", "carol"):
        scene.typed(stop.replace("anna.maier", name))
    [limit] = runs("docs/homes.md", "A limit for homes")
    scene.typed(limit)


#: The alerts that each fault must make fire.
FAULTS: dict[Fault, tuple[str, ...]] = {
    from_the_first_day: ("BackupOld", "CertificateEnds"),
    all_is_slow: ("DirectorySlow", "LoginsFail", "StartsSlow"),
    parts_are_stopped: ("DirectoryDown", "DirectoryServerDown", "HubDown"),
    the_engine_hangs: ("EngineDown",),
    users_take_all: (
        "DiskFills",
        "GuardRefuses",
        "HomeFull",
        "MemoryNearlySoldOut",
        "PartDown",
        "ServersNearlySoldOut",
        "ServerWritesMuch",
        "StartsFail",
        "UsersMemoryNearlySoldOut",
    ),
}
