"""Tells a hub of another version of the stack, which an `up` is about to replace, from a wrong one.

An `up` replaces the guard before the hub. For some seconds the old hub asks the new guard for
servers as they were before, which is no attack. What a container has been made with, only the
engine's users can change, and nobody who controls the hub.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import docker

from zhub import engine, settings
from zhub.contract import Role
from zhub.settings import GuardSettings, SettingsError
from zhub.settings.servers import ServerSettings


def under_way(client: docker.APIClient, own: GuardSettings) -> bool:
    """Return whether the hub is of another version of the stack than this guard.

    Raises:
        docker.errors.DockerException: the engine does not say.
    """
    hub = client.inspect_container(f"{own.prefix}-{Role.HUB}")
    if hub["Image"] != client.inspect_container(engine.own_container())["Image"]:
        return True
    variables = dict(line.partition("=")[::2] for line in hub["Config"]["Env"])
    try:
        return agreed(settings.read_servers(variables)) != agreed(own)
    except SettingsError:
        return True


def agreed(found: ServerSettings) -> dict[str, Any]:
    """Return what hub and guard agree on: all but who may have what, and where folders are."""
    return {field.name: getattr(found, field.name) for field in fields(ServerSettings)} | {
        "profiles": [replace(profile, groups=()) for profile in found.profiles],
        "shared_folders": [(folder.name, folder.mode) for folder in found.shared_folders],
    }
