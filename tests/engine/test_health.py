"""Guard and hub are healthy only when they work."""

from __future__ import annotations

import os
import signal
import time

import docker
import pytest

from tests.built import wait_until
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

#: An answer is too old after 30 seconds, and three checks, 10 seconds apart, must fail.
SECONDS = 150


def becomes(engine: docker.DockerClient, name: str, wanted: str) -> bool:
    """Return whether a container's health becomes that in time."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if engine.containers.get(name).attrs["State"]["Health"]["Status"] == wanted:
            return True
        time.sleep(1)
    return False


def test_a_hub_without_its_guard_is_unhealthy_and_logs_one_line(
    stack: Stack, engine: docker.DockerClient
) -> None:
    hub, guard = (engine.containers.get(f"{stack.prefix}-{role}") for role in ("hub", "guard"))
    begin = int(time.time())
    guard.stop(timeout=1)
    try:
        assert becomes(engine, str(hub.name), "unhealthy")
    finally:
        guard.start()
    assert becomes(engine, str(hub.name), "healthy")
    assert becomes(engine, str(guard.name), "healthy")
    log = hub.logs(since=begin).decode()
    assert log.count(f"the guard (docker logs {guard.name})") == 2, "once lost, once back"
    assert "Traceback" not in log


@pytest.mark.long
@pytest.mark.parametrize("role", ["guard", "hub"])
def test_a_process_that_hangs_is_restarted_without_a_hand(
    stack: Stack, engine: docker.DockerClient, role: str
) -> None:
    container = engine.containers.get(f"{stack.prefix}-{role}")
    began = container.attrs["State"]["StartedAt"]
    # The process that works is the child of the one that watches it.
    ours = [line for line in container.top()["Processes"] if "-m zhub" in line[-1]]
    watched = [line for line in ours if line[2] in {other[1] for other in ours}]
    working = next(line for line in watched if "tini" not in line[-1])
    children = [line for line in watched if line[2] == working[1]]
    os.kill(int((children or [working])[0][1]), signal.SIGSTOP)
    wait_until(
        lambda: engine.containers.get(str(container.id)).attrs["State"]["StartedAt"] != began,
        seconds=SECONDS,
    )
    assert becomes(engine, str(container.name), "healthy")
    assert "hangs: no sign of life" in container.logs(tail=2000).decode()


@pytest.mark.long
def test_a_proxy_that_hangs_in_the_hubs_container_is_started_again(
    stack: Stack, engine: docker.DockerClient
) -> None:
    hub = engine.containers.get(f"{stack.prefix}-hub")

    def proxy() -> list[int]:
        return [int(line[1]) for line in hub.top()["Processes"] if "proxy.mjs" in line[-1]]

    [before] = proxy()
    os.kill(before, signal.SIGSTOP)
    wait_until(lambda: before not in proxy() and len(proxy()) == 1, seconds=SECONDS)
    assert becomes(engine, str(hub.name), "healthy")
    assert "the proxy hangs: no sign of life" in hub.logs(tail=2000).decode()
