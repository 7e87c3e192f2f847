"""How the spawner waits for a server; real sockets, a state instead of a container."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from traitlets import Unicode
from zhub.servers.spawner import UserSpawner

from tests.ports import free_port


class Spawner(UserSpawner):
    """A spawner whose container has a given state."""

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


class SlowEngine:
    """Waits for a server that ignores SIGTERM."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def stop(self, _: str) -> None:
        self.ended.wait(30)

    def ping(self) -> str:
        return "OK"


def test_a_server_that_does_not_stop_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SlowEngine()
    monkeypatch.setattr(UserSpawner, "client", engine)

    async def answer() -> str:
        stubborn, other = spawner(), spawner()
        stopping = asyncio.create_task(stubborn.stop_object())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        said: str = await asyncio.wait_for(other.docker("ping"), 5)
        assert not stopping.done()
        engine.ended.set()
        await stopping
        return said

    assert asyncio.run(answer()) == "OK"
