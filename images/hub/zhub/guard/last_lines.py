"""Keeps the last lines of a user's server, whose log goes with its container.

They are what tells why a server ended by itself, hours after its start. The hub cannot read them:
the guard lets it read no log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, NotFound

from zhub.contract import USER
from zhub.logs import printable

KEPT = 15
"""Lines that are kept."""

LENGTH = 300
"""Characters of a line that are kept."""

log = logging.getLogger(__name__)


def keep(client: docker.APIClient, server: Mapping[str, Any]) -> None:
    """Log the last lines of a server that is about to be removed.

    A log that cannot be read keeps no server from being removed: some log drivers only write. On a
    swarm, the managers fetch the lines from the server's machine, if that answers.

    Args:
        client: the engine's.
        server: as the engine describes its container.
    """
    user = server["Config"]["Labels"][USER]
    try:
        output: bytes = client.logs(server["Id"], tail=KEPT)
    except NotFound:
        return
    except (APIError, requests.exceptions.RequestException) as error:
        log.info("the last lines of the server of %s cannot be read: %s", user, error)
        return
    for line in output.decode(errors="replace").splitlines()[-KEPT:]:
        log.info("server of %s: %s", user, printable(line[:LENGTH]))
