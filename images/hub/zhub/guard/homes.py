"""Volumes with users' files, made so that no cleaning of the engine takes them.

`docker volume prune` and `docker system prune --volumes` delete every volume that no container
uses, and so all homes of users who are logged out. They leave volumes with mount options alone,
since the files of such a volume are usually elsewhere (VolumesService.Prune of moby). So a home is
mounted on itself: its files are where those of any volume are, and `docker volume rm` deletes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def options(folder: str) -> dict[str, str]:
    """Return the options of a local volume that is mounted on itself.

    Args:
        folder: where the engine has the volume's files, on its machine.
    """
    return {"type": "none", "o": "bind", "device": folder}


def folder(root: str, name: str) -> str:
    """Return where the engine has a volume's files.

    Args:
        root: the engine's own folder, `DockerRootDir`.
        name: of the volume.
    """
    return f"{root}/volumes/{name}/_data"


def plain(found: Mapping[str, Any]) -> bool:
    """Return whether a volume, as the engine describes it, is nothing but a folder of its own.

    Any other option could make it a folder of the engine's machine, or somebody else's volume.
    """
    given = found.get("Options") or {}
    return found["Driver"] == "local" and given in ({}, options(found["Mountpoint"]))
