"""Prints which networks of the site and of the stack overlap: `zhub check-networks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zhub import engine
from zhub.guard import look_command
from zhub.guard.helpers import Helpers
from zhub.guard.machine import Directory
from zhub.guard.sight import Sight
from zhub.settings import GuardSettings


def run(arguments: Sequence[str]) -> None:
    """Print a line for each overlap; raises as `look_command.run`."""
    look_command.run("check-networks", arguments, _overlaps)


def _overlaps(found: GuardSettings) -> Iterator[tuple[str, str]]:
    client = engine.connect()
    helpers = Helpers(client, found.filter_image, found.prefix)
    directory = Directory(helpers, found.directory_servers, found.directory_network)
    sight = Sight.seen(client, helpers, directory, found)
    for overlap in (*sight.overlaps(found), *sight.room(found)):
        yield overlap.text, overlap.fix
