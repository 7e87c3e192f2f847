"""The service that stops servers that nobody uses, or that have run for long enough."""

from __future__ import annotations

import sys
from typing import Any

NAME = "idle-culler"

NEVER = 1 << 31
"""Seconds; longer than anything runs."""

ROLE: dict[str, Any] = {
    "name": NAME,
    "services": [NAME],
    "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
}
"""What the service may do."""


def service(idle_timeout: int, max_age: int) -> dict[str, Any]:
    """Return the service, as JupyterHub takes it.

    Args:
        idle_timeout: seconds without use after which a server is stopped; 0 for never.
        max_age: seconds after which it is stopped whatever it does; 0 for never.
    """
    every = max(min((idle_timeout or max_age) // 4, 600), 1)
    return {
        "name": NAME,
        "command": [
            *(sys.executable, "-I", "-m", "jupyterhub_idle_culler"),
            f"--timeout={idle_timeout or NEVER}",
            f"--max-age={max_age}",
            f"--cull-every={every}",
        ],
    }
