"""A whole stack lives through restarts of its engine, with and without live-restore.

With another `dockerd` in ZHUB_SECOND_DOCKERD, on that version. Run with `-s`, it prints seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
import docker.errors
import pytest
import requests
import websocket

from tests.engine.conftest import native, remove_leftovers
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.engine.stack import Stack
from tests.hubclient import Kernel, User
from tests.pki import Identity
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

LIVE = "--live-restore"

#: What asking a hub raises that is just restarting.
AWAY = (requests.RequestException, OSError, websocket.WebSocketException, KeyError, AssertionError)


@dataclass
class Site:
    """The stack on its engine, with a user at work."""

    second: SecondEngine
    stack: Stack
    alice: User
    bob: User
    passwords: dict[str, str]

    def log_in(self) -> None:
        """Open both users' browsers."""
        for user, name in ((self.alice, "alice"), (self.bob, "bob")):
            user.log_in(name, self.passwords[name])

    def at_work(self) -> Kernel:
        """A kernel of alice's with a variable."""
        if not self.alice.server():
            self.alice.ask_for_server()
        self.alice.open_lab()
        kernel = self.alice.start_kernel()
        kernel.run("answer = 6 * 7")
        return kernel

    def started(self) -> dict[str, str]:
        """When each container of the stack was started, by its name."""
        ours: dict[str, Any] = {"label": f"zhub.stack={self.stack.prefix}"}
        found = self.second.client.containers.list(filters=ours)
        return {str(one.name): one.attrs["State"]["StartedAt"] for one in found}


@pytest.fixture(scope="module")
def site(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    folder = tmp_path_factory.mktemp("restarts")
    authority = Identity.create("Test authority", authority=True)
    authority.write(folder, "authority")
    Identity.create("localhost", issuer=authority).write(folder, "hub")
    with TemporaryDirectory(prefix="zhub-") as short, second_engine(Path(short)) as second:
        config = native(engine) | {
            "port": free_port(),
            "tlsCertFile": str(folder / "hub.crt"),
            "tlsKeyFile": str(folder / "hub.key"),
            "separateProxy": True,
            "notebookPackages": ["python3-six"],
            "engineSocket": str(second.socket),
        }
        base = engine.images.get(config["buildImage"])
        second.client.images.load(b"".join(base.save(named=True)))
        stack = Stack("e2e-restarts", folder)
        stack.init(config)
        stack.on_stack("config set", "docker:host", second.address)
        stack.up()
        outputs = stack.outputs()
        alice, bob = (User(outputs["url"], folder / "authority.crt") for _ in range(2))
        made = Site(second, stack, alice, bob, outputs["demoUsers"])
        try:
            with second.machine():
                made.log_in()
            yield made
        finally:
            # They would run on without their engine.
            remove_leftovers(second.client, stack.prefix)


def seconds_until(done: Callable[[], object], most: float) -> float:
    """Try until it works."""
    begin = time.monotonic()
    while True:
        try:
            done()
        except AWAY:
            if time.monotonic() - begin > most:
                raise
            time.sleep(0.2)
        else:
            return time.monotonic() - begin


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_without_live_restore_all_is_back_by_itself(site: Site, *, kill: bool) -> None:
    with site.second.machine():
        site.at_work()
        site.alice.save("kept.txt", "of alice")
    before = site.started()
    site.second.restart(kill=kill)
    with site.second.machine():
        back = seconds_until(site.alice.start_server, 90)
        assert site.alice.read("kept.txt") == "of alice"
        site.bob.start_server()
        site.bob.stop_server()
    after = site.started()
    print(f"\nwithout live-restore, {kill=}: a server starts after {back:.1f} s")
    assert set(after) == set(before)
    assert all(before[name] != after[name] for name in after), "all were started again"


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_with_live_restore_no_kernel_is_lost(site: Site, *, kill: bool) -> None:
    if LIVE not in site.second.options:
        site.second.options += (LIVE,)
        site.second.restart()
        with site.second.machine():
            seconds_until(site.alice.start_server, 90)
    with site.second.machine():
        kernel = site.at_work()
    before = site.started()
    site.second.restart(kill=kill)
    with site.second.machine():
        assert kernel.run("print(answer)") == "42\n"
        back = seconds_until(site.bob.start_server, 30)
        site.bob.stop_server()
        assert kernel.run("print(answer)") == "42\n"
    after = site.started()
    print(f"\nwith live-restore, {kill=}: a server starts after {back:.1f} s")
    assert back < 15
    restarted = {name for name in after if before.get(name) != after[name]}
    assert restarted == {f"{site.stack.prefix}-guard"}
