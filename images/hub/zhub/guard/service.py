"""The guard's process: its start, its threads and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

from docker import APIClient
from docker.errors import DockerException
from docker.utils import parse_bytes

from zhub import audit, engine, heartbeat, privileges, settings, watchdog
from zhub.guard import devices
from zhub.guard.audit import FOLDER, Audit
from zhub.guard.calls import Guard
from zhub.guard.confinement import Confinement
from zhub.guard.declared import Declared
from zhub.guard.environment import Image
from zhub.guard.folders import Folders
from zhub.guard.helpers import Helpers
from zhub.guard.homes import Homes
from zhub.guard.keeping import EngineLostError
from zhub.guard.namespace import Namespace
from zhub.guard.placement import LEAST_ENGINE
from zhub.guard.policy import Policy
from zhub.guard.server import listen
from zhub.guard.services import WALLS_API, Swarm
from zhub.guard.swarm import Services
from zhub.settings import GuardSettings, SettingsError

SOCKET = Path("/run/guard/engine.sock")
"""The guard's socket; its folder is the only thing that hub and guard share."""

PERIOD = 300
"""Seconds between two looks at the addresses of the machine and of the directory."""

DRAIN_SECONDS = 8
"""Seconds that calls get to end when the guard is stopped, less than `docker stop` leaves it."""

STOP_SECONDS = 10
"""Seconds that a server on a swarm has to end: as long as DockerSpawner gives it on one engine."""

log = logging.getLogger(__name__)


def run(environment: Mapping[str, str]) -> None:
    """Serve the hub until SIGTERM.

    Raises:
        SettingsError: when a setting is wrong, the engine cannot be reached, or packet filters
            cannot be set there.
    """
    found = settings.read_guard(environment)
    if os.geteuid() == 0:
        privileges.drop(engine.SOCKET, privileges.GUARD_USER)
    lives = watchdog.watched()
    # The folder outlives a restart of the machine, and the time in the file is since its start.
    heartbeat.GUARD_FILE.unlink(missing_ok=True)
    client = engine.connect()
    policy = Policy(found, {name: Image.of_engine(client, name) for name in found.images})
    helpers = Helpers(client, found.filter_image, found.prefix)
    confinement = Confinement(client, helpers, found, servers=not found.swarm)
    shared = Folders(client, helpers, found)
    try:
        confinement.begin()
        Homes(client, found).check()
    except (RuntimeError, DockerException) as error:
        raise SettingsError([str(error)]) from None
    if promised := beyond(client, found):
        log.info("%s", promised)
    namespace = Namespace(client, found.prefix, separate_proxy=found.separate_proxy)
    written = Audit()
    written.seen("guard.start")
    for name, before, now in audit.changes(environment, FOLDER / "settings.json"):
        written.seen("setting", name=name, before=before, now=now)
    guard = Guard(made_by(client, found), policy, confinement, shared, written)
    declared = Declared(
        client,
        found.prefix,
        written,
        FOLDER,
        separate_proxy=found.separate_proxy,
    )
    more = {"declared": declared.keep, "namespace": namespace.keep}
    if any(profile.devices for profile in found.profiles):
        more["devices"] = partial(devices.report, devices.helpers(found), found.profiles)
    if not asyncio.run(_serve(guard, confinement, shared, more, lives)):
        sys.exit(1)


def made_by(client: APIClient, found: GuardSettings) -> APIClient:
    """Return the client of the engine by which users' servers are made.

    Raises:
        SettingsError: that engine makes no services, or none with the walls of users' servers.
    """
    if not found.swarm:
        return client
    if not client.info()["Swarm"]["ControlAvailable"]:
        raise SettingsError(["swarm is set, but the engine manages no swarm: docker swarm init"])
    major, minor = client.api_version.split(".")
    if (int(major), int(minor)) < WALLS_API:
        old = (
            f"swarm is set, but this engine is older than {LEAST_ENGINE}: its services have neither"
            " no-new-privileges nor a seccomp profile of their own"
        )
        raise SettingsError([old])
    image = client.inspect_image(found.notebook_image)  # type: ignore[no-untyped-call]
    swarm = Swarm(
        label=found.swarm_nodes,
        processor=image["Architecture"],
        grace=STOP_SECONDS,
        api=(int(major), int(minor)),
        encrypted=found.swarm_encryption,
    )
    # Where the guard makes calls, it has all that they need.
    return cast("APIClient", Services(client, found.prefix, swarm))


def beyond(client: APIClient, found: GuardSettings) -> str:
    """Return what to know where servers may take more memory than there is; empty otherwise."""
    if found.users_memory or found.swarm:
        return ""
    each, machine = int(parse_bytes(found.user_memory)), int(client.info()["MemTotal"])
    if found.most_servers * each <= machine:
        return ""
    return (
        f"{found.most_servers} servers may take {found.most_servers * each >> 30} GiB of memory"
        f" together, and the engine's machine has {machine >> 30}: usersMemory limits them"
    )


async def _serve(
    guard: Guard,
    confinement: Confinement,
    shared: Folders,
    more: Mapping[str, Callable[[], None]],
    lives: Callable[[], None],
) -> bool:
    """Serve until SIGTERM and return True, or until a thread fails and return False.

    Args:
        guard: answers the hub.
        confinement: of servers and hub.
        shared: folders.
        more: what else runs in threads, by their names.
        lives: says that this process works.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bool] = loop.create_future()

    def end(*, signalled: bool) -> None:
        if not ended.done():
            ended.set_result(signalled)

    def beside(work: Callable[[], None]) -> None:
        try:
            work()
        except EngineLostError as error:
            log.error("the guard exits, to be restarted: %s", error)  # noqa: TRY400
            loop.call_soon_threadsafe(lambda: end(signalled=False))
        except BaseException:
            log.exception("the guard exits: its thread %s failed", threading.current_thread().name)
            loop.call_soon_threadsafe(lambda: end(signalled=False))

    loop.add_signal_handler(signal.SIGTERM, lambda: end(signalled=True))
    listener = listen(SOCKET, guard)
    heartbeat.of_guard(SOCKET).start()
    log.info("the guard listens at %s", SOCKET)
    threads = {"watch": confinement.watch, "keep": partial(confinement.keep, PERIOD)}
    # A container for each: where there are many, nobody is kept waiting for those of others.
    threads["folders"] = shared.look
    if guard.sizes:
        threads["sizes"] = guard.sizes.keep
    for name, work in (threads | dict(more)).items():
        threading.Thread(target=beside, args=[work], name=name, daemon=True).start()
    alive = asyncio.ensure_future(watchdog.beat(lives))
    try:
        signalled = await ended
        if signalled:
            await listener.drain(DRAIN_SECONDS)
    finally:
        alive.cancel()
    return signalled
