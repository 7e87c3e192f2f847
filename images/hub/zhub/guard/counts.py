"""Limits a stack's servers, their memory, networks and homes: each takes some of the machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import docker
from docker.errors import NotFound
from docker.utils import parse_bytes

from zhub.contract import Role, labelled
from zhub.settings import GuardSettings

HOMES = 10
"""Homes allowed for each server allowed: a home stays when its user's server ends."""


class Full(Exception):
    """The limit is reached; the text is for users."""


class Count:
    """Limits the objects of one kind, or what they take, without asking the engine each time.

    Only the guard creates these objects, so the names it has seen include all that exist. It asks
    the engine which of them are left only when there are too many.
    """

    def __init__(self, limit: int, listed: Callable[[], Mapping[str, int]], message: str) -> None:
        """Prepare to count.

        Args:
            limit: how many objects are allowed, or how much they may take together.
            listed: asks the engine for the names of those that exist, and what each takes: 1 where
                objects are counted.
            message: for users, when the limit is reached; {limit} stands for it, and {taken} for
                what is taken of it.
        """
        self._limit = limit
        self._listed = listed
        self._message = message
        self._lock = threading.Lock()
        self._seen: dict[str, int] | None = None
        self._under_way: list[tuple[str, int]] = []

    @contextmanager
    def one_more(self, name: str, takes: int = 1) -> Iterator[None]:
        """Reserve a place for one object while the caller creates it.

        Raises:
            Full: when the limit is reached.
        """
        one = name, takes
        with self._lock:
            if self._seen is None or self._too_many(*one):
                self._seen = dict(self._listed())
                if self._too_many(*one):
                    taken = sum(self._there().values())
                    raise Full(self._message.format(limit=self._limit, taken=taken))
            self._under_way.append(one)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(one)
                # Also after an error: the object may exist all the same. Not less than was known:
                # the engine may have refused this one, as there is a larger one of the name.
                self._seen[name] = max(takes, self._seen.get(name, 0))

    def _too_many(self, name: str, takes: int) -> bool:
        there = self._there()
        # What is there already is there once; the engine refuses to make it again.
        if there.pop(name, 0) >= takes:
            return False
        return sum(there.values()) + takes > self._limit

    def _there(self) -> dict[str, int]:
        there = dict(self._seen or {})
        for name, takes in self._under_way:
            there[name] = max(takes, there.get(name, 0))
        return there


class Counts:
    """The limits of one stack."""

    def __init__(self, client: docker.APIClient, settings: GuardSettings) -> None:
        self._client = client
        self._prefix = settings.prefix
        self._known: dict[str, int] = {}
        most = settings.most_servers

        def servers() -> Mapping[str, int]:
            return _each(name for name, _ in self._servers())

        def networks() -> Mapping[str, int]:
            found = client.networks(filters=labelled(settings.prefix, Role.NETWORK))
            return _each(one["Name"] for one in found)

        def homes() -> Mapping[str, int]:
            found = client.volumes(filters=labelled(settings.prefix, Role.HOME))
            return _each(one["Name"] for one in found["Volumes"] or ())

        self.servers = Count(
            most, servers, "The hub is full: {limit} of {limit} servers run. Try again later."
        )
        self.memory: Count | None = None
        if settings.users_memory:
            self.memory = Count(
                _mebibytes(int(parse_bytes(settings.users_memory))),
                self._memory,
                "The hub is full: servers may take {limit} MiB of memory together, and {taken} of"
                " them are taken. Try again later.",
            )
        self.networks = Count(
            most,
            networks,
            "The hub is full: {limit} of {limit} networks of servers are in use. Try again later.",
        )
        self.homes = Count(
            most * HOMES,
            homes,
            "The hub is full: {limit} of {limit} homes exist. An administrator has to remove"
            " those of users who have left.",
        )

    @contextmanager
    def server(self, name: str, memory: int) -> Iterator[None]:
        """Reserve a place for one server, and its memory (bytes).

        Raises:
            Full: when there is none.
        """
        with self.servers.one_more(name):
            if not self.memory:
                yield
                return
            with self.memory.one_more(name, _mebibytes(memory)):
                yield

    def _servers(self) -> Iterable[tuple[str, str]]:
        """Name and ID of each server that there is."""
        filters = labelled(self._prefix, Role.SERVER)
        for found in self._client.containers(all=True, filters=filters):
            for name in found["Names"]:
                yield name.removeprefix("/"), found["Id"]

    def _memory(self) -> Mapping[str, int]:
        """Return the MiB that each server may take: asked for once, as no list has them."""
        found = list(self._servers())
        self._known = {one: self._known[one] for _, one in found if one in self._known}
        for _, one in found:
            if one not in self._known:
                self._known[one] = self._limit_of(one)
        return {name: self._known[one] for name, one in found}

    def _limit_of(self, container: str) -> int:
        try:
            found = self._client.inspect_container(container)
        except NotFound:
            return 0
        return _mebibytes(found["HostConfig"]["Memory"])


def _each(names: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def _mebibytes(size: int) -> int:
    return -(-size >> 20)
