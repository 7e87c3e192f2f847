"""Guard and hub are healthy only when they work."""

from __future__ import annotations

import time

import docker
import pytest

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
def test_a_guard_that_hangs_is_unhealthy_and_so_is_its_hub(
    stack: Stack, engine: docker.DockerClient
) -> None:
    hub, guard = (engine.containers.get(f"{stack.prefix}-{role}") for role in ("hub", "guard"))
    guard.kill("SIGSTOP")
    try:
        assert becomes(engine, str(guard.name), "unhealthy")
        assert becomes(engine, str(hub.name), "unhealthy")
    finally:
        guard.kill("SIGCONT")
    assert becomes(engine, str(hub.name), "healthy")
    assert becomes(engine, str(guard.name), "healthy")
