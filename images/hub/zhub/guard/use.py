"""Prints what users' servers use: `zhub use`, in the guard's container.

For `make users` and `make sizes` on a swarm, where the engine that they reach does not know it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

import docker
from docker.errors import DockerException

from zhub import engine, privileges, settings
from zhub.contract import USER, Role, labelled
from zhub.guard.measures import of_server
from zhub.guard.service import made_by
from zhub.settings import SettingsError


def run(arguments: Sequence[str]) -> None:
    """Print a list in JSON for each server: whose it is, and its bytes.

    These are memory in use, memory that it may use, and what it has written outside its home; null
    if that is not known.

    Raises:
        SettingsError: when there are arguments, this is no guard's container, or its engine does
            not answer.
    """
    if arguments:
        raise SettingsError([f"use takes no arguments, but got {' '.join(arguments)}"])
    found = settings.read_guard(os.environ)
    if os.geteuid() == 0:
        privileges.drop(engine.SOCKET, privileges.GUARD_USER)
    try:
        for row in rows(made_by(engine.connect(), found), found.prefix):
            print(json.dumps(row))
    except DockerException as error:
        raise SettingsError([str(error)]) from None


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
