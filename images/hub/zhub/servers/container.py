"""The part of the spawner that asks the engine about one container, and ends it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import docker
from docker.errors import APIError, DockerException, NotFound
from traitlets import Instance, default

from zhub.servers.calls import STOPPING, Calls, answered, undecided
from zhub.servers.choosing import ChoosingSpawner
from zhub.servers.running import POLL_SECONDS, Running


class ContainerSpawner(ChoosingSpawner):
    """Believes that a container has ended, or is gone, only if the engine says so."""

    client: ClassVar[docker.APIClient]
    """Client of the engine for all users; set once, before JupyterHub starts."""

    running: ClassVar[Running | None] = None
    """Of all users."""

    _calls = Instance(Calls)

    _asked: asyncio.Future[Any] | None = None
    """What the last poll has asked, until there is an answer."""

    @default("_calls")
    def _own_calls(self) -> Calls:
        return Calls()

    async def docker(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Make a call of docker's client, as the parent class does in one thread for all users."""
        return await self._calls.make(partial(getattr(self.client, method), *arguments, **named))

    _gone = False
    """Whether the engine has just said that there is no container. The parent class asks again at
    once; the next answer is this one."""

    async def get_object(self) -> dict[str, Any] | None:
        """Return the container as the engine has it; None when the engine says there is none.

        The parent class takes a failure of the engine for the same.
        """
        if self._gone:
            self._gone = False
            return None
        try:
            found: dict[str, Any] = await self.docker("inspect_container", self.object_name)
        except NotFound as error:
            if "no such container" not in str(error.explanation).lower():
                raise
            self.object_id = ""
            return None
        self.object_id = found["Id"]
        return found

    async def poll(self) -> int | str | None:
        """Return None unless the engine has said that the server has ended.

        JupyterHub forgets the server otherwise, and an engine that is silent, restarts or fails
        says nothing about it. An answer that comes late is the next poll's.
        """
        asked = self._asked = self._asked or asyncio.ensure_future(super().poll())
        done, _ = await asyncio.wait([asked], timeout=POLL_SECONDS)
        if not done:
            return None
        if self._asked is asked:
            self._asked = None
        try:
            status: int | str | None = asked.result()
        except (DockerException, OSError) as error:
            if not undecided(error):
                self.log.warning("%s is not known to run: %s", self.object_name, error)
            return None
        return status

    async def poll_and_notify(self) -> int | str | None:
        """Find out, as JupyterHub does periodically, whether the server has ended."""
        if self.running and await self.running.has(self.object_id) is not False:
            return None
        ended: int | str | None = await super().poll_and_notify()
        return ended

    async def stop_object(self) -> None:
        """Stop the container."""
        stop = partial(self._calls.make, self.client.stop, self.object_name, threads=STOPPING)
        with suppress(NotFound):
            await answered(stop, f"stopping {self.object_name}")

    async def remove_object(self) -> None:
        """Remove the container, running or not, and wait until its name is free again.

        The parent class does not remove a running container, such as one left over from a lost
        database, and does not wait for a removal that has begun; either would make the next start
        fail.

        Raises:
            TimeoutError: when the engine has not removed it after a minute.
        """
        async with asyncio.timeout(60):
            while await self.get_object():
                try:
                    await self.docker("remove_container", self.object_id, v=True, force=True)
                except APIError as error:
                    # Already gone, or the engine is removing it.
                    if error.status_code not in {404, 409}:
                        raise
                    await asyncio.sleep(0.2)

    async def _remove(self) -> None:
        await answered(self.remove_object, f"removing {self.object_name}")
