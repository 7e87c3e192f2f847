"""Limits a stack's servers, networks and homes: each takes memory or disk of the machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import docker

from zhub.contract import Role, labelled
from zhub.settings import ServerSettings

HOMES = 10
"""Homes allowed for each server allowed: a home stays when its user's server ends."""


class Full(Exception):
    """The limit is reached; the text is for users."""


class Count:
    """Limits the objects of one kind, without asking the engine each time.

    Only the guard creates these objects, so the names it has seen include all that exist. It asks
    the engine which of them are left only when there are too many.
    """

    def __init__(self, limit: int, listed: Callable[[], Iterable[str]], message: str) -> None:
        """Prepare to count.

        Args:
            limit: how many objects are allowed.
            listed: asks the engine for the names of those that exist.
            message: for users, when the limit is reached; {limit} stands for the number.
        """
        self._limit = limit
        self._listed = listed
        self._message = message.format(limit=limit)
        self._lock = threading.Lock()
        self._seen: set[str] | None = None
        self._under_way: list[str] = []

    @contextmanager
    def one_more(self, name: str) -> Iterator[None]:
        """Reserve a place for one object while the caller creates it.

        Raises:
            Full: when the limit is reached.
        """
        with self._lock:
            if self._seen is None or self._too_many(name):
                self._seen = set(self._listed())
                if self._too_many(name):
                    raise Full(self._message)
            self._under_way.append(name)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(name)
                # Also after an error: the object may exist all the same.
                self._seen.add(name)

    def _too_many(self, name: str) -> bool:
        there = (self._seen or set()).union(self._under_way)
        return name not in there and len(there) >= self._limit


class Counts:
    """The limits of one stack."""

    def __init__(self, client: docker.APIClient, settings: ServerSettings) -> None:
        most = settings.most_servers

        def servers() -> Iterable[str]:
            found = client.containers(all=True, filters=labelled(settings.prefix, Role.SERVER))
            return (name.removeprefix("/") for each in found for name in each["Names"])

        def networks() -> Iterable[str]:
            return (
                each["Name"]
                for each in client.networks(filters=labelled(settings.prefix, Role.NETWORK))
            )

        def homes() -> Iterable[str]:
            found = client.volumes(filters=labelled(settings.prefix, Role.HOME))
            return (each["Name"] for each in found["Volumes"] or ())

        self.servers = Count(
            most, servers, "The hub is full: {limit} of {limit} servers run. Try again later."
        )
        self.networks = Count(
            most,
            networks,
            "The hub is full: {limit} of {limit} networks of servers are in use. Try again later.",
        )
        self.homes = Count(
            most * HOMES,
            homes,
            "The hub is full: {limit} of {limit} homes are there. An administrator has to remove"
            " those of users who have left.",
        )
