"""The guard as a process of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from zhub import engine, heartbeat, privileges, settings
from zhub.guard.egress import Egress
from zhub.guard.environment import Image
from zhub.guard.policy import Policy
from zhub.guard.server import Guard, listen

SOCKET = Path("/run/guard/engine.sock")
"""Where the hub finds the guard; the folder is all that the two share."""

log = logging.getLogger(__name__)


def run(environment: Mapping[str, str]) -> None:
    """Serve the hub until SIGTERM.

    Raises:
        SettingsError: when a setting is wrong or the engine cannot be reached.
    """
    told = settings.read_guard(environment)
    if os.geteuid() == 0:
        privileges.drop(engine.SOCKET, privileges.GUARD_USER)
    client = engine.connect()
    image = client.inspect_container(engine.own_container())["Image"]
    policy = Policy(told, Image.of_engine(client, told.notebook_image))
    guard = Guard(client, policy, Egress.of_engine(client, image, told))
    asyncio.run(_serve(guard))


async def _serve(guard: Guard) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    listen(SOCKET, guard)
    heartbeat.of_guard(SOCKET).start()
    log.info("the guard listens at %s", SOCKET)
    await ended.wait()
