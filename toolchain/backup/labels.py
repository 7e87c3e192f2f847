"""What `docker` lists of a stack's volumes and servers, by labels that its hub has chosen.

Whoever controls the hub chooses them, and a guard of a release before took any text. So they are
read as JSON, not line by line, and a volume counts only where its name is that of its label: what
counts as a home is copied, made anew or removed.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from toolchain.console import say

STEP = "engine"


def row(*fields: str) -> str:
    """The format by which `docker` prints fields of a thing as a list in JSON, in a line."""
    return f"[{','.join(f'{{{{json {field}}}}}' for field in fields)}]"


def rows(listed: str) -> list[list[Any]]:
    """What `docker` has printed in the format `row`."""
    # Not splitlines(): of its separators, JSON escapes only those of ASCII.
    return [json.loads(line) for line in listed.split("\n") if line]


def home_of(prefix: str, user: str) -> str:
    """The name of a user's volume, also when there is none; as the guard escapes names."""
    kept = string.ascii_lowercase + string.digits
    escaped = (c if c in kept else "".join(f"-{b:02x}" for b in c.encode()) for c in user)
    return f"{prefix}-home-{''.join(escaped)}"


def fitting(found: Iterable[list[str]], name_of: Callable[[str], str]) -> dict[str, str]:
    """The volumes that are what their labels say, by their names, and their labels.

    The others are named in a warning, once in each run.

    Args:
        found: names and labels.
        name_of: returns the name of the volume that has a label.
    """
    fit, others = {}, []
    for name, label in sorted(found):
        if label.isprintable() and name == name_of(label):
            fit[name] = label
        else:
            others.append(name)
    if others:
        _warn(", ".join(others))
    return fit


@cache
def _warn(names: str) -> None:
    say(
        STEP,
        f"WARNING: left out, since name and labels do not fit: {names}. The hub makes no such"
        " volumes, but somebody who controls it may. Look at one: docker volume inspect NAME",
    )
