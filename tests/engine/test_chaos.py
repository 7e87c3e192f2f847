"""Parts of a stack are killed at any moment while people are at work: nothing wrong comes of it.

A short one is `test_whatever_is_struck_is_back_by_itself` in test_separate_proxy.py. With another
`dockerd` in ZHUB_SECOND_DOCKERD, the last test runs on that version.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import docker
import pytest
import requests

from tests.built import bridge_address, healthy, wait_until
from tests.engine import chaos
from tests.engine.conftest import native, running_stack
from tests.engine.own_engine import MORE_USERS, Site, seconds_until
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import LoginRefused
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

SECONDS = 120
"""For which parts are killed."""

PARTS = ("hub", "guard", "directory")

LONG = int(os.environ.get("ZHUB_CHAOS_SECONDS", "1200"))
"""Seconds for which parts of a stack with ten users at work are stopped and killed."""

TEN = ("alice", "bob", "carol", "grace", *MORE_USERS)

COMERS = 2
"""How many of the ten stop and start their servers again and again; the others keep theirs."""

SOON = 60
"""Seconds after the last fault in which all is healthy, and everybody gets in."""

HANG = 120
"""Seconds that it takes until a process that hangs is ended and its container works again."""

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


def knock(site: Site, blows: chaos.Blows) -> None:
    """Strike for as long as it takes: the stack's parts, and now and then the engine."""
    chance, begin = blows.chance, time.monotonic()
    while (passed := time.monotonic() - begin) < LONG:
        what = chance.choices(
            ("hub", "proxy", "guard", "directory", "front", "engine", "hang"),
            (5, 5, 5, 2, 1, 2, 1),
        )[0]
        if what == "engine":
            kill, containerd = chance.choice(((False, False), (True, False), (True, True)))
            blows.note(f"restart the engine, {kill=}, {containerd=}")
            site.second.restart(kill=kill, containerd=containerd)
        elif what == "front":
            blows.note("restart front")
            # It may be starting already; and one that cannot start, the guard starts.
            with suppress(docker.errors.APIError):
                site.second.client.containers.get(f"{site.stack.prefix}-front").restart(timeout=1)
        elif what == "hang":
            if passed < LONG - HANG:
                blows.hang(chance.choice(("hub", "proxy", "guard")))
        else:
            blows.strike(what)
        time.sleep(chance.uniform(0, 12))


@contextmanager
def kept(
    site: Site, blows: chaos.Blows, workers: dict[str, chaos.Worker], seed: int
) -> Iterator[None]:
    """Keep what was done and what came of it, in the folder of this test."""
    folder = site.stack.folder / "log"
    folder.mkdir()
    try:
        yield
    finally:
        blows.note("the end")
        for name, worker in workers.items():
            blows.note(f"{name}: {worker.served} times served, {len(worker.failed)} times not")
            for line in (*worker.failed[-30:], *worker.wrong):
                blows.note(f"{name}: {line}")
        (folder / "chaos.log").write_text("\n".join([f"{seed=}", *blows.log]))
        for container in site.containers():
            if container.attrs["HostConfig"]["LogConfig"]["Type"] != "none":
                (folder / f"{container.name}.log").write_bytes(container.logs())
        print(f"the log is in {folder}")


def test_ten_at_work_lose_nothing(own_site: Site) -> None:
    site, seed = own_site, time.time_ns()
    site.live_restore(on=True)
    workers = {
        name: chaos.Worker(
            site.second.machine,
            lambda name=name: site.browser(name),  # type: ignore[misc]
            keeps=number >= COMERS,
        )
        for number, name in enumerate(TEN)
    }
    chance = random.Random(seed)  # noqa: S311 - nothing secret comes of it
    blows = chaos.Blows(lambda: site.second.client, site.stack.prefix, chance)
    with kept(site, blows, workers, seed):
        with site.second.machine():
            for worker in workers.values():
                worker.begin()
        began = time.time()
        with chaos.at_work(workers):
            knock(site, blows)
            last = time.monotonic()
            seconds = seconds_until(site.all_healthy, 2 * SOON, last)
            print(f"{seed=}: all is healthy {seconds:.1f} s after the last fault")
        with site.second.machine():
            for worker in workers.values():
                # A hub that has just started may still look whether their servers run.
                seconds_until(worker.get_in, max(0, last + SOON - time.monotonic()))
                worker.check()
            known = {
                name for name, worker in workers.items() if worker.user and worker.user.server()
            }
        assert known == set(TEN)
        assert [wrong for worker in workers.values() for wrong in worker.wrong] == []
        assert chaos.orphans(site.second.client, site.stack.prefix, known) == []
        assert site.tracebacks(began) == {}
        assert seconds < SOON
        # Some came through, and some met what had been struck: or nothing was tried here.
        assert all(worker.served and worker.failed for worker in workers.values())
