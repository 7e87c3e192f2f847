"""The kinds of servers that a stack offers. The hub decides who gets which; the guard knows all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zhub.settings import parsing

EXPECTED = (
    'a JSON list of profiles, such as [{"name": "large", "description": "", "groups": [],'
    ' "memory": "4G", "sharedMemory": "1G", "cpus": "2.0", "pids": 512, "idleTimeout": 3600,'
    ' "environment": {}, "devices": []}]'
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One kind of server."""

    name: str
    """Empty for the only kind, in a stack without profiles."""
    description: str = ""
    groups: tuple[str, ...] = ()
    """DNs of the groups whose members may choose it; none for everybody. The guard has none."""
    image: str
    memory: str
    """Bytes, with an optional K, M, G or T (powers of 1024), as the next."""
    shared_memory: str
    cpus: float
    pids: int
    idle_timeout: int
    """Seconds; 0 for never."""
    environment: Mapping[str, str]
    devices: tuple[str, ...] = ()
    """Devices of the engine's machine, as below /dev."""

    def open_to(self, groups: Collection[str]) -> bool:
        """Return whether a member of these groups may choose it."""
        return not self.groups or not set(groups).isdisjoint(self.groups)


def parser(image: str, images: Mapping[str, str] | None = None) -> Any:
    """Return the parser of ZHUB_PROFILES; it raises ValueError.

    Args:
        image: that servers run from, of profiles without one of their own.
        images: of the others, by the profiles' names.
    """

    def parse(text: str) -> tuple[Profile, ...]:
        given = parsing.elements(text)
        if not all(isinstance(each, dict) for each in given):
            raise ValueError(text)
        try:
            found = tuple(_profile(each, (images or {}).get(each["name"], image)) for each in given)
        except (KeyError, TypeError, AttributeError):
            raise ValueError(text) from None
        if len({profile.name for profile in found}) != len(found):
            raise ValueError(text)
        return found

    return parse


def _profile(given: Mapping[str, Any], image: str) -> Profile:
    device = parsing.matching(_DEVICE)
    return Profile(
        name=parsing.matching(_NAME)(given["name"]),
        description=str(given["description"]),
        groups=parsing.strings(given.get("groups", [])),
        image=image,
        memory=parsing.size(given["memory"]),
        shared_memory=parsing.size(given["sharedMemory"]),
        cpus=parsing.processors(given["cpus"]),
        pids=parsing.number(64, 1 << 22)(str(given["pids"])),
        idle_timeout=parsing.number_or_0(360)(str(given["idleTimeout"])),
        environment=parsing.variables(json.dumps(given["environment"])),
        devices=tuple(map(device, given["devices"])),
    )


def named(profiles: Iterable[Profile], name: str | None) -> Profile | None:
    """Return the profile of that name; None if there is none."""
    return next((profile for profile in profiles if profile.name == name), None)
