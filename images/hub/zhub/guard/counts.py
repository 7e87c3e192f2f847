"""How many servers, networks and homes a stack may have: each is memory or disk of the machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import docker

from zhub.contract import Role, labelled
from zhub.settings import ServerSettings

HOMES = 10
"""Homes for each server: a home stays when its user's server ends."""


class Full(Exception):
    """There are as many as there may be; the text is for users."""


class Count:
    """Counts by name, without asking the engine each time.

    Nobody but the guard makes what is counted, so the names it has seen are at least those there
    are. Only when they are too many is the engine asked which ones are left.
    """

    def __init__(self, limit: int, listed: Callable[[], Iterable[str]], message: str) -> None:
        """Prepare to count.

        Args:
            limit: the most there may be.
            listed: asks the engine for the names there are.
            message: what users are told when it is full; {limit} stands for the number.
        """
        self._limit = limit
        self._listed = listed
        self._message = message.format(limit=limit)
        self._lock = threading.Lock()
        self._seen: set[str] | None = None
        self._under_way: list[str] = []

    @contextmanager
    def one_more(self, name: str) -> Iterator[None]:
        """Make one within this, and no other thread takes its place.

        Raises:
            Full: when there are as many as there may be.
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
                # Also if it failed: it may be there all the same.
                self._seen.add(name)

    def _too_many(self, name: str) -> bool:
        there = (self._seen or set()).union(self._under_way)
        return name not in there and len(there) >= self._limit


class Counts:
    """What is counted of one stack."""

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
