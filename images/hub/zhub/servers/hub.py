"""JupyterHub, which also looks after servers that its database does not know."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any, ClassVar

from jupyterhub import app, orm
from jupyterhub.user import User
from sqlalchemy.orm import selectinload

from zhub import logs, watchdog
from zhub.contract import PROFILE, USER, Role, labelled
from zhub.servers import leftovers, pending
from zhub.servers.calls import CALLING, answered
from zhub.servers.networks import UserNetworks
from zhub.servers.profiles import OPTION
from zhub.servers.running import Running
from zhub.servers.spawner import UserSpawner
from zhub.servers.unavailable import NoServerError, log_once
from zhub.state import logins

ROUTES_SECONDS = 1
"""Seconds between two looks at the routes while servers are checked after a start."""

SWEEP_SECONDS = 60
"""Seconds between two looks for servers without a record."""

NEW_SECONDS = 3600
"""How long a hub whose database is new leaves servers alone of users whom it does not know. They
are of the database before, which was lost: users may log in again, or it may be restored."""

log = logging.getLogger(__name__)


class JupyterHub(app.JupyterHub):  # type: ignore[misc] # untyped
    """Routes servers as soon as they are found to run, and finds those without a record.

    Lines of the log begin with the name of the class.
    """

    lives: ClassVar[staticmethod[[], None]]
    """Tells the watchdog that the hub does not hang; set once, before it starts."""

    _new_until = float("-inf")
    """Until when the database counts as new."""

    def init_logging(self) -> None:
        """Log as JupyterHub does, which gives other loggers its own level."""
        super().init_logging()
        logs.restrain(logs.chosen(os.environ)[0])

    async def init_spawners(self) -> int:
        """Check the servers that the database knows.

        The database may know an earlier one than the one that runs, if it was restored, or none
        yet, if the hub ended while the server started.
        """
        asyncio.get_running_loop().set_exception_handler(log_once)
        self._tasks: set[asyncio.Task[None]] = set()
        UserSpawner.running = Running(partial(_that_run, self.config.UserSpawner.stack))
        pending.FOUND.clear()
        self._mark()
        self._go_on(watchdog.beat(self.lives))
        containers = await self._containers()
        if containers and not logins.recorded(self.db):
            self._new_until = time.monotonic() + NEW_SECONDS
            log.warning(
                "nobody has logged in to this database yet, and there are %d servers, as after its"
                " loss: those of users whom it does not know are left alone for %d minutes. To"
                " restore it from a backup: make restore, with ONLY=database",
                len(containers),
                NEW_SECONDS // 60,
            )
        for container in containers:
            spawner = self._marked(container["Labels"][USER])
            if spawner and not _records(spawner, container["Id"]):
                spawner.server = None
                self.db.commit()
                # The next one knows nothing of the earlier server's address.
                del spawner.user.spawners[spawner.name]
        self._go_on(self._route())
        self._go_on(self._sweep())
        # JupyterHub asks its database before it waits for anything.
        pending.FOUND.set()
        try:
            checked: int = await super().init_spawners()
        except asyncio.CancelledError:
            # The hub ends. JupyterHub would log that with a traceback.
            return 0
        return checked

    def _mark(self) -> None:
        """Mark all servers of the database as to be checked.

        JupyterHub does so itself, but only before its own first wait. It goes on with its start a
        second later, and then removes the routes of all servers that it neither knows nor checks.
        """
        known = self.db.query(orm.Spawner).filter(orm.Spawner.server.has())
        # As JupyterHub does: no query for each of them.
        users = selectinload(orm.Spawner.user)
        for record in known.options(users, users.selectinload(orm.User._orm_spawners)):  # noqa: SLF001
            self.users[record.user].spawners[record.name]._check_pending = True  # noqa: SLF001

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside all else."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _marked(self, owner: str) -> UserSpawner | None:
        """Return a user's server if it is to be checked; not one that is being started already."""
        user = orm.User.find(self.db, owner)
        spawner = self.users[user].spawners.get("") if user else None
        return spawner if spawner and spawner.pending == "check" else None

    async def _containers(self) -> list[dict[str, Any]]:
        """Return the containers of all servers of this stack."""
        stack = self.config.UserSpawner.stack
        ask = partial(UserSpawner.client.containers, all=True, filters=labelled(stack, Role.SERVER))
        found: list[dict[str, Any]] = await answered(partial(_in_thread, ask), "listing servers")
        return found

    def _spawners(self) -> Iterator[UserSpawner]:
        for user in list(self.users.values()):
            yield from list(user.spawners.values())

    async def _route(self) -> None:
        """Route each server as soon as its check is done.

        JupyterHub looks at the routes when it starts and after the last check, which for a server
        that hangs takes minutes.
        """
        await self._start_future
        while any(spawner.pending == "check" for spawner in self._spawners()):
            await asyncio.sleep(ROUTES_SECONDS)
            try:
                await self.proxy.check_routes(self.users, self._service_map)
            except Exception:
                log.exception("routes could not be checked; trying again")

    async def _sweep(self) -> None:
        """Look for servers without a record until the hub ends."""
        await self._start_future
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("servers without a record could not be looked for; trying again")
            await asyncio.sleep(SWEEP_SECONDS)

    async def _look(self) -> None:
        """Keep or remove servers without a record; none of them waits for another."""
        containers = await self._containers()
        known = {each.object_name for each in self._spawners() if each.active}
        for container in containers:
            # A container has no name any more while it is removed.
            for name in (path.removeprefix("/") for path in (container["Names"] or ())[:1]):
                if name not in known:
                    self._go_on(self._settle(container["Id"], name, container["Labels"][USER]))

    async def _settle(self, container: str, name: str, owner: str) -> None:
        try:
            if orm.User.find(self.db, owner):
                await self._settle_for(self.users[owner])
            elif time.monotonic() > self._new_until:
                log.warning("removing %s: the database has no user %s", name, owner)
                await self._remove(container, name)
        except NoServerError as error:
            log.warning("%s runs without a record, and is looked at again: %s", name, error)
        except Exception:
            log.exception("%s runs without a record", name)

    async def _settle_for(self, user: User) -> None:
        spawner = user.get_or_create_spawner("", "", replace_failed=True)
        if spawner.active:
            return
        # From here on the user's own start or stop has to wait: it would end the server.
        spawner._spawn_pending = True  # noqa: SLF001 - JupyterHub's own mark of a start
        try:
            while not await spawner.may_be_judged():
                log.warning(
                    "%s has no record; it is kept if its user may have it, which the directory"
                    " does not say now: asking again",
                    spawner.object_name,
                )
                await asyncio.sleep(SWEEP_SECONDS)
            found = await answered(spawner.get_object, f"looking at {spawner.object_name}")
            if found and (why := leftovers.unfit(spawner, found)):
                log.warning("removing %s, which has no record: %s", spawner.object_name, why)
                await spawner.leave_nothing()
            elif found:
                await self._adopt(user, spawner, leftovers.environment(found).get(PROFILE))
        finally:
            spawner._spawn_pending = False  # noqa: SLF001

    async def _adopt(self, user: User, spawner: UserSpawner, profile: str | None) -> None:
        """Take over a server, with the profile that it has: what was chosen last may be older."""
        spawner.adopting = True
        try:
            await user.spawn(options={OPTION: profile} if profile else {})
        finally:
            spawner.adopting = False
        # First: without a route it is found again, but without this its end would not be noticed.
        spawner.add_poll_callback(self._ended, user)
        await self.proxy.add_user(user)

    async def _remove(self, container: str, name: str) -> None:
        networks = UserNetworks(UserSpawner.client, **self.config.UserSpawner.network_options)
        for remove in (
            partial(UserSpawner.client.remove_container, container, v=True, force=True),
            partial(networks.close, name),
        ):
            await answered(partial(_in_thread, remove), f"removing {name}")

    async def _ended(self, user: User) -> None:
        await self.proxy.delete_user(user)
        await user.stop()


def _records(spawner: UserSpawner, container: str) -> bool:
    """Return whether the database has this container of the server, and where it listens.

    A start that the hub's end has interrupted leaves a record without an address. JupyterHub would
    look for the server at the hub's own, for as long as a start may take.
    """
    record = spawner.orm_spawner
    return (record.state or {}).get("object_id") == container and bool(record.server.ip)


def _that_run(stack: str) -> set[str]:
    """Return the IDs of the servers that run."""
    servers = UserSpawner.client.containers(filters=labelled(stack, Role.SERVER))
    return {server["Id"] for server in servers}


async def _in_thread(call: partial[Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(CALLING, call)
