"""Rules for profiles with images of their own, which hub and guard know by digest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rules import Rule, later, shown


def _images(text: Any) -> Iterator[str]:
    try:
        given = json.loads(text).values()
        fine = all(re.fullmatch(r"(\S+@)?sha256:[0-9a-f]{64}", digest) for digest in given)
    except (TypeError, ValueError, AttributeError):
        fine = False
    if not fine:
        yield f" is {shown(text)}; allowed: digests of images by names of profiles, in JSON"


PROFILE_IMAGES = {"ZHUB_PROFILE_IMAGES": later(Rule(_images))}
"""A variable of hub and guard that a stack need not have."""
