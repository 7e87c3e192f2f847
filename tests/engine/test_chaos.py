"""Parts of a stack are killed at any moment while people log in: nothing wrong comes of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest
import requests

from tests.built import bridge_address, healthy, wait_until
from tests.engine.conftest import native, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import LoginRefused
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

SECONDS = 120
"""For which parts are killed."""

PARTS = ("hub", "guard", "directory")

#: Tries to reach the engine's machine, which the packet filter forbids. Without a filter, a port
#: that nobody listens on would refuse.
CONNECT = """
import errno, socket
try:
    socket.create_connection(({host!r}, 9), timeout=5)
except OSError as error:
    print(errno.errorcode.get(error.errno))
"""


@pytest.fixture
def chaos_stack(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {"port": free_port()}
    yield from running_stack(engine, "e2e-chaos", tmp_path_factory.mktemp("chaos"), config)


def log_in_until(over: threading.Event, entrance: Entrance, name: str) -> tuple[int, int]:
    """Log a user in again and again; return how often the stack let them in, and how often not."""
    let_in = failed = 0
    while not over.wait(1):
        try:
            user = entrance.logged_in(name)
            answer = user.request("GET", "hub/api/user")
            answer.raise_for_status()
        except (LoginRefused, requests.RequestException):
            failed += 1
        else:
            assert answer.json()["name"] == name
            let_in += 1
    return let_in, failed


def test_who_is_killed_comes_back_and_nobody_is_let_in_meanwhile(
    chaos_stack: Stack, engine: docker.DockerClient
) -> None:
    stack = chaos_stack
    seed = time.time_ns()
    print(f"{seed=}")
    chance = random.Random(seed)  # noqa: S311 - nothing secret comes of it
    entrance = Entrance.of(stack)
    alice = entrance.logged_in("alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    parts = {part: engine.containers.get(f"{stack.prefix}-{part}") for part in PARTS}

    over = threading.Event()
    with ThreadPoolExecutor() as threads:
        logins = {
            name: threads.submit(log_in_until, over, entrance, name)
            for name in ("bob", "carol", "mallory")
        }
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                part = chance.choice(PARTS)
                parts[part].kill()
                time.sleep(chance.uniform(0, 4))
                parts[part].start()
                time.sleep(chance.uniform(0, 12))
        finally:
            over.set()
        results = {name: future.result() for name, future in logins.items()}
    print(results)
    # Some came through, and some met what had been killed: or nothing was tried here.
    assert results["bob"][0]
    assert results["bob"][1]
    assert not results["mallory"][0], "the directory knows Mallory, who is in no group of the hub's"

    wait_until(lambda: all(map(healthy, parts.values())), seconds=180)
    assert kernel.run("print(answer)") == "42\n"
    for name in ("alice", "bob"):
        user = entrance.logged_in(name)
        if name == "bob":
            user.start_server()
        user.open_lab()
        said = user.run(CONNECT.format(host=bridge_address(engine.api)))
        assert said == "EHOSTUNREACH\n"
        user.stop_server()
    stack.up("--expect-no-changes")
