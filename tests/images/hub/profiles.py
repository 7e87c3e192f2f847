"""Profiles for tests."""

from __future__ import annotations

from zhub.settings.profiles import Profile


def profile(name: str, *groups: str, **other: object) -> Profile:
    """A small profile, which members of these groups may choose."""
    fields: dict[str, object] = {
        "image": "sha256:12",
        "memory": "1024M",
        "shared_memory": "256M",
        "cpus": 1.0,
        "pids": 100,
        "idle_timeout": 3600,
        "environment": {},
    }
    return Profile(name=name, groups=groups, **(fields | other))  # type: ignore[arg-type]


def described(name: str, **other: object) -> dict[str, object]:
    """A profile as the stack hands it to the guard."""
    fields: dict[str, object] = {
        "name": name,
        "description": "",
        "groups": ["quants"],
        "memory": "1G",
        "sharedMemory": "512M",
        "cpus": "1.5",
        "pids": 100,
        "idleTimeout": 0,
        "environment": {},
        "devices": [],
    }
    return fields | other
