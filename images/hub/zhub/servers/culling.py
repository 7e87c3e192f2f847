"""The service that stops servers that nobody uses, or that have run for long enough."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhub import logs

if TYPE_CHECKING:
    # The service's own process needs nothing of the engine's client, which this would bring.
    from zhub.settings.profiles import Profile

NAME = "idle-culler"

NEVER = 1 << 31
"""Seconds; longer than anything runs."""

REPORTED = 300
"""Seconds in which each server reports at least once when it was in use: twice the longest
`activityInterval`, since servers keep the one that they were started with, and up to a minute for a
report that JupyterHub tries again. Less than the shortest idle time."""

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
    reported: float = REPORTED,
) -> dict[str, Any]:
    """Return the service, as JupyterHub takes it.

    Args:
        idle_timeout: seconds without use after which a server is stopped; 0 for never.
        max_age: seconds after which it is stopped whatever it does; 0 for never.
        profiles: of the stack, each with a timeout of its own.
        environment: of the hub; the service's log is like its own.
        reported: seconds after the hub's start in which no server is stopped.
    """
    idle_times = filter(None, (idle_timeout, *(profile.idle_timeout for profile in profiles)))
    every = max(min(min(idle_times, default=max_age) // 4, 600), 1)
    return {
        "name": NAME,
        "command": [
            *(sys.executable, "-I", "-m", __name__, str(reported)),
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


def when_reported(
    cull: Callable[..., Coroutine[Any, Any, None]],
    reported: float,
    every: Callable[[], float],
    clock: Callable[[], float] = time.time,
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return the culler's look at all servers, which stops none before all could report.

    While the hub was away, or the machine slept, what JupyterHub knows of servers in use has become
    old. Looks that are much too far apart are taken for such a sleep.

    Args:
        cull: the look; gets a `logger`.
        reported: seconds in which each server reports.
        every: returns the seconds between two looks.
        clock: the seconds since 1970, as activity is dated: it goes on while the machine sleeps.
    """
    since = last = clock()

    async def look(*, logger: Logger, **options: Any) -> None:
        nonlocal since, last
        now = clock()
        if not last <= now <= last + 2 * every():
            since = now
        last = now
        if now < since + reported:
            logger.info("No server is stopped yet: each first says when it was in use")
            return
        try:
            await cull(logger=logger, **options)
        finally:
            last = clock()

    return look


def run(reported: float, arguments: Sequence[str]) -> None:
    """Stop such servers until the hub, which starts this process, ends it.

    Args:
        reported: as of `service`.
        arguments: of the culler.
    """
    # The hub itself needs none of it.
    import jupyterhub_idle_culler as culler

    application = culler.IdleCuller
    culler.cull_idle = when_reported(
        culler.cull_idle, reported, lambda: float(application.instance().cull_every)
    )
    logs.begin(os.environ)
    application.launch_instance(list(arguments), **logs.of_application(os.environ))


if __name__ == "__main__":
    run(float(sys.argv[1]), sys.argv[2:])
