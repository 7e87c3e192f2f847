"""A whole stack lives through restarts of its engine, with and without live-restore.

With another `dockerd` in ZHUB_SECOND_DOCKERD, on that version. Run with `-s`, it prints seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.built import wait_until
from tests.engine.own_engine import LIVE, Site, at_work, seconds_until
from tests.hubclient import User

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: Seconds in which servers can be started again after a restart with live-restore.
SOON = 15

#: What happens to the engine: the arguments of `SecondEngine.restart`.
RESTARTS = {
    "stopped": {"kill": False},
    "killed": {"kill": True},
    "killed with containerd": {"kill": True, "containerd": True},
}

restarts = pytest.mark.parametrize("how", RESTARTS)


@pytest.fixture(scope="module")
def site(own_site: Site) -> Site:
    return own_site


@pytest.fixture(scope="module")
def users(site: Site) -> list[User]:
    """Two who work, and one who starts a server in the end."""
    with site.second.machine():
        return [site.browser(name) for name in ("alice", "carol", "bob")]


@contextmanager
def unharmed(site: Site) -> Iterator[dict[str, float]]:
    """Check that all is healthy in the end, and that no log has a traceback."""
    begin, seconds = time.time(), dict[str, float]()
    yield seconds
    seconds["all healthy after"] = seconds_until(
        site.all_healthy, 60, seconds.pop("since", time.monotonic())
    )
    assert site.tracebacks(begin) == {}


def say(site: Site, how: str, seconds: dict[str, float]) -> None:
    live = "with" if LIVE in site.second.options else "without"
    version = site.second.client.version()["Version"]
    said = ", ".join(f"{what} {number:.1f} s" for what, number in seconds.items())
    print(f"\nDocker {version} {live} live-restore, {how}: {said}")


@restarts
def test_without_live_restore_all_is_back_by_itself(
    site: Site, users: list[User], how: str
) -> None:
    alice, carol, bob = users
    site.live_restore(on=False)
    with site.second.machine():
        for user in (alice, carol):
            at_work(user)
            user.save("kept.txt", f"of {user.name}")
    before = site.started()
    with unharmed(site) as seconds:
        site.second.restart(**RESTARTS[how])
        seconds["since"] = site.second.began
        with site.second.machine():
            seconds["servers start after"] = seconds_until(
                alice.start_server, 90, site.second.began
            )
            for user in (carol, bob):
                user.start_server()
            for user in (alice, carol):
                assert user.read("kept.txt") == f"of {user.name}"
            bob.stop_server()
    after = site.started()
    say(site, how, seconds)
    assert set(after) == set(before)
    assert all(before[name] != after[name] for name in after), "all were started again"


@restarts
def test_with_live_restore_no_kernel_is_lost(site: Site, users: list[User], how: str) -> None:
    alice, carol, bob = users
    site.live_restore(on=True)
    with site.second.machine():
        kernels = [at_work(user) for user in (alice, carol)]
    before = site.started()
    with unharmed(site) as seconds:
        site.second.restart(**RESTARTS[how])
        seconds["since"] = site.second.began
        with site.second.machine():
            assert [kernel.run("print(answer)") for kernel in kernels] == 2 * ["42\n"]
            seconds["servers start after"] = seconds_until(bob.start_server, 30, site.second.began)
            bob.stop_server()
            assert [kernel.run("print(answer)") for kernel in kernels] == 2 * ["42\n"]
    after = site.started()
    say(site, how, seconds)
    assert seconds["servers start after"] < SOON
    restarted = {name for name in after if before.get(name) != after[name]}
    assert restarted == {f"{site.stack.prefix}-guard"}


def test_no_kernel_is_lost_with_containerd_alone(site: Site, users: list[User]) -> None:
    """The engine starts it again."""
    alice, _, bob = users
    site.live_restore(on=True)
    with site.second.machine():
        kernel = at_work(alice)
    with unharmed(site) as seconds:
        os.kill(site.second.containerd, signal.SIGKILL)
        begin = time.monotonic()
        with site.second.machine():
            seconds["servers start after"] = seconds_until(bob.start_server, 60, begin)
            bob.stop_server()
            assert kernel.run("print(answer)") == "42\n"
    say(site, "containerd alone killed", seconds)


@pytest.mark.parametrize("role", ["guard", "hub", "proxy"])
def test_a_process_that_hangs_is_restarted_without_a_hand(
    site: Site, users: list[User], role: str
) -> None:
    """The whole process, with all its threads."""
    alice = users[0]
    with site.second.machine():
        kernel = at_work(alice)
    container = site.second.client.containers.get(f"{site.stack.prefix}-{role}")
    began = container.attrs["State"]["StartedAt"]
    processes = container.top()["Processes"]
    # Who watches is left alone, which is the parent of the one that works.
    parents = [line[2] for line in processes]
    watcher = str(container.attrs["State"]["Pid"])
    working = [line[1] for line in processes if line[2] == watcher] or [watcher]
    if role == "hub":
        # Below tini.
        working = [line[1] for line in processes if line[2] == working[0]]
    assert len(working) == 1, (processes, parents)
    os.kill(int(working[0]), signal.SIGSTOP)
    begin = time.monotonic()

    def restarted() -> bool:
        found = site.second.client.containers.get(str(container.id)).attrs["State"]
        return bool(found["Running"] and found["StartedAt"] != began)

    wait_until(restarted, seconds=150)
    seconds = {"restarted after": time.monotonic() - begin}
    seconds["all healthy after"] = seconds_until(site.all_healthy, 60, begin)
    with site.second.machine():
        assert seconds_until(lambda: kernel.run("print(answer)"), 30)
        assert kernel.run("print(answer)") == "42\n"
    say(site, f"{role} hangs", seconds)
