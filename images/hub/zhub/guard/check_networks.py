"""Prints which networks of the site and of the stack overlap: `zhub check-networks`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from docker.errors import DockerException

from zhub import engine, privileges, settings
from zhub.guard.helpers import Helpers
from zhub.guard.machine import Directory
from zhub.guard.sight import Sight
from zhub.settings import SettingsError


def run(arguments: Sequence[str]) -> None:
    """Print a line for each overlap: what it is, a tab, and what to do. In the guard's container.

    Raises:
        SettingsError: when this is not a guard's container, or its engine does not answer.
    """
    if arguments:
        raise SettingsError([f"check-networks takes no arguments, but got {' '.join(arguments)}"])
    found = settings.read_guard(os.environ)
    if os.geteuid() == 0:
        privileges.drop(engine.SOCKET, privileges.GUARD_USER)
    client = engine.connect()
    helpers = Helpers(client, found.filter_image, found.prefix)
    directory = Directory(helpers, found.directory_servers, found.directory_network)
    try:
        sight = Sight.seen(client, helpers, directory, found)
    except (RuntimeError, DockerException) as error:
        raise SettingsError([str(error)]) from None
    for overlap in (*sight.overlaps(found), *sight.room(found)):
        print(f"{overlap.text}\t{overlap.fix}")
