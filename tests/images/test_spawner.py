"""How a user's server is waited for; real sockets, a container's state in place of a container."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from traitlets import Unicode
from zhub.spawner import UserSpawner

from tests.ports import free_port


class Spawner(UserSpawner):
    """Has a container whose state it is told."""

    state = Unicode(None, allow_none=True)

    async def poll(self) -> str | None:
        return str(self.state) if self.state else None


def spawner(state: str | None = None) -> Spawner:
    made = Spawner(mock=True, state=state)
    made.user = SimpleNamespace(name="alice")
    return made


def test_a_server_that_begins_to_listen_is_noticed_at_once() -> None:
    port = free_port()

    async def seconds() -> float:
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(spawner()._accepts_connections("127.0.0.1", port))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        begin = loop.time()
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        async with server:
            await asyncio.wait_for(waiting, 30)
        return loop.time() - begin

    # JupyterHub's own pauses get longer and longer, up to five seconds.
    assert asyncio.run(seconds()) < 2


def test_a_server_that_has_ended_is_not_waited_for() -> None:
    waiting = spawner("ExitCode=1")._accepts_connections("127.0.0.1", free_port())
    with pytest.raises(RuntimeError, match="alice ended while it started: ExitCode=1"):
        asyncio.run(asyncio.wait_for(waiting, 30))
