"""How long a server may be idle, where its profile says otherwise than the stack."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

from zhub.servers.profiles import OPTION
from zhub.settings import profiles


class Arbiter(Protocol):
    """The culler's decision whether a server is stopped."""

    def __call__(
        self, *, inactive: timedelta | None, inactive_limit: float, server: Mapping[str, Any]
    ) -> bool: ...


def arbiter(environment: Mapping[str, str] = os.environ) -> Arbiter:
    """Return the culler's decision about a server: how long it is idle, the limit, its model."""
    limits = {
        profile.name: profile.idle_timeout
        for profile in profiles.parser("")(environment.get("ZHUB_PROFILES") or "[]")
    }

    def idle_too_long(
        *, inactive: timedelta | None, inactive_limit: float, server: Mapping[str, Any]
    ) -> bool:
        limit = limits.get((server.get("user_options") or {}).get(OPTION), inactive_limit)
        return bool(limit) and inactive is not None and inactive.total_seconds() >= limit

    return idle_too_long
