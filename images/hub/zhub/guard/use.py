"""Prints what users' servers use: `zhub use`, in the guard's container.

For `make users` and `make sizes` on a swarm, where the engine that they reach does not know it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import docker

from zhub import engine
from zhub.contract import USER, Role, labelled
from zhub.guard import look_command
from zhub.guard.measures import of_server
from zhub.guard.service import made_by
from zhub.settings import GuardSettings


def run(arguments: Sequence[str]) -> None:
    """Print a list in JSON for each server: whose it is, and its bytes.

    These are memory in use, memory that it may use, and what it has written outside its home; null
    if that is not known. Raises as `look_command.printed`.
    """
    look_command.printed("use", arguments, _lines)


def _lines(found: GuardSettings) -> Iterator[str]:
    return map(json.dumps, rows(made_by(engine.connect(), found), found.prefix))


def rows(client: docker.APIClient, stack: str) -> Iterator[tuple[str, int, int, int | None]]:
    """Yield what each server uses, of those of which it is known."""
    filters = labelled(stack, Role.SERVER)
    sizes = {
        one["Id"]: one.get("SizeRw", 0) for one in client.containers(size=True, filters=filters)
    }
    for server in client.containers(filters=filters):
        if numbers := of_server(client, server["Id"]):
            used, limit, _ = numbers
            yield server["Labels"][USER], used, limit, sizes.get(server["Id"])
