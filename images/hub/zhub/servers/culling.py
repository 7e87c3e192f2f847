"""The service that stops servers that nobody uses, or that have run for long enough."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhub import logs

if TYPE_CHECKING:
    # The service's own process needs nothing of the engine's client, which this would bring.
    from zhub.settings.profiles import Profile

NAME = "idle-culler"

NEVER = 1 << 31
"""Seconds; longer than anything runs."""

CONFIG = Path(__file__).with_name("idle_config.py")
"""The culler's own configuration, in stacks with profiles."""

ROLE: dict[str, Any] = {
    "name": NAME,
    "services": [NAME],
    "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
}
"""What the service may do."""


def service(
    idle_timeout: int,
    max_age: int,
    profiles: Sequence[Profile] = (),
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Return the service, as JupyterHub takes it.

    Args:
        idle_timeout: seconds without use after which a server is stopped; 0 for never.
        max_age: seconds after which it is stopped whatever it does; 0 for never.
        profiles: of the stack, each with a timeout of its own.
        environment: of the hub; the service's log is like its own.
    """
    idle_times = filter(None, (idle_timeout, *(profile.idle_timeout for profile in profiles)))
    every = max(min(min(idle_times, default=max_age) // 4, 600), 1)
    return {
        "name": NAME,
        "command": [
            *(sys.executable, "-I", "-m", __name__),
            f"--timeout={idle_timeout or NEVER}",
            f"--max-age={max_age}",
            f"--cull-every={every}",
            *([f"--config={CONFIG}"] if profiles else ()),
        ],
        "environment": {
            name: value
            for name, value in environment.items()
            if name.startswith("ZHUB_LOG_") or (profiles and name == "ZHUB_PROFILES")
        },
    }


def run(arguments: Sequence[str]) -> None:
    """Stop such servers until the hub, which starts this process, ends it."""
    # The hub itself needs none of it.
    from jupyterhub_idle_culler import IdleCuller

    logs.begin(os.environ)
    IdleCuller.launch_instance(list(arguments), **logs.of_application(os.environ))


if __name__ == "__main__":
    run(sys.argv[1:])
