"""Waits until the managers of a swarm have found a place for a server."""

from __future__ import annotations

import logging
import time
from typing import Any

from zhub.guard import services
from zhub.guard.counts import Full
from zhub.guard.helpers import UnusableError
from zhub.guard.placement import node_of

SECONDS = 20
"""How long managers may take. They know at once where a server fits, but a server that has just
been stopped counts until its container is gone, which takes up to twelve seconds. Less than the
time that a start may keep its turn (`LONGEST` of servers/turns.py): few start at a time, and where
many come to a full swarm, each waits for those before."""

PAUSE = 0.2

FULL = "insufficient resources"
"""What managers say of machines that have less left than a server reserves (`ResourceFilter` of
swarmkit's manager/scheduler)."""

log = logging.getLogger(__name__)


def wait(client: Any, service: str) -> dict[str, Any]:
    """Wait until a server has an address, by which the hub reaches it, and a machine.

    One that gets none is removed: it would wait for room without an end, and nobody would know.

    Args:
        client: of a manager.
        service: the server's ID.

    Returns:
        Its task, which runs or has ended; or which its machine still prepares, after a while.

    Raises:
        Full: no machine has room for it.
        UnusableError: it has no address or no machine, for another reason.
        docker.errors.DockerException: the managers do not answer.
    """
    end = time.monotonic() + SECONDS
    while True:
        task = services.newest(client.tasks(filters={"service": service}))
        over = time.monotonic() > end
        if task and services.addresses(task) and node_of(task):
            if over or services.begun(task):
                return task
        elif over:
            break
        time.sleep(PAUSE)
    client.remove_service(service)
    said = task["Status"].get("Err", "") if task else ""
    if FULL in said:
        log.warning("no machine has room for another server: %s", said)
        raise Full(
            "The hub is full: no machine of the swarm has room for your server. Try again later."
        )
    lacks = "machine" if services.addresses(task) else "address"
    raise UnusableError(
        f"The swarm gives your server no {lacks}. Please try again. If it lasts, tell your"
        f" administrator: {said or 'the managers do not say why'}"
    )
