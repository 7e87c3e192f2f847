"""Rules for folders that users share: what the guard may mount into their servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rules import Rule, shown

#: The machine's own, with all below them; and what has several owners' below it.
SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run"),
    *("/sbin", "/sys", "/usr", "/var/run", "/var/lib/docker", "/var/lib/containerd"),
)
TOP = ("/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/lib")  # noqa: S108


def _unfit(path: Any) -> bool:
    """Whether a path is the machine's own, or could be."""
    return (
        not isinstance(path, str)
        or not re.fullmatch(r"(/[A-Za-z0-9_@+][A-Za-z0-9._@+-]*)+", path)
        or path in TOP
        or any(f"{path}/".startswith(f"{own}/") for own in SYSTEM)
    )


def _root(path: Any) -> Iterator[str]:
    if _unfit(path):
        yield f" is {shown(path)}; allowed: a folder that is not the machine's own"


def _shared(text: Any) -> Iterator[str]:
    try:
        listed = json.loads(text)
        names = [folder["name"] for folder in listed]
        paths = [folder["path"] for folder in listed if "path" in folder]
    except (TypeError, ValueError, KeyError):
        yield f" is {shown(text)}; allowed: folders, in JSON"
        return
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", str(name)):
            yield f" has the name {shown(name)}; allowed: a-z, 0-9 and -"
    for path in filter(_unfit, paths):
        yield f" has the path {shown(path)}; allowed: a folder that is not the machine's own"


SHARED = {"ZHUB_SHARED_FOLDERS": Rule(_shared), "ZHUB_SHARED_ROOT": Rule(_root)}
"""Variables of the guard that a stack need not have."""
