"""How the spawner waits for a server; real sockets, a state instead of a container."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import APIError, NotFound
from traitlets import Unicode
from zhub.front import origin
from zhub.servers import calls, listening
from zhub.servers import container as container_module
from zhub.servers.last_words import EndedError
from zhub.servers.spawner import UserSpawner
from zhub.servers.unavailable import NoServerError

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


@pytest.mark.slow
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


def test_a_server_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.1)
    waiting = spawner("ExitCode=1")._accepts_connections("127.0.0.1", free_port())
    with pytest.raises(EndedError, match="alice ended while it started: ExitCode=1"):
        asyncio.run(asyncio.wait_for(waiting, 30))


class SlowEngine:
    """Waits for a server that ignores SIGTERM."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def stop(self, _: str) -> None:
        self.ended.wait(30)

    def ping(self) -> str:
        return "OK"


@pytest.mark.slow
def test_a_server_that_does_not_stop_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SlowEngine()
    monkeypatch.setattr(UserSpawner, "client", engine, raising=False)

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


def answer(status: int, text: str = "said", kind: type[APIError] = APIError) -> APIError:
    response: Any = SimpleNamespace(status_code=status, reason="x", url="/")
    return kind("x", response, text)


GONE = answer(404, "No such container: site-user-alice", NotFound)
RUNS = {"Id": "abc", "State": {"Running": True}}
ENDED = {
    "Id": "abc",
    "State": {"Running": False, "ExitCode": 3, "Error": "", "FinishedAt": "now"},
}


class ScriptedEngine:
    """Answers each call with the next of its answers, and records it."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            self.calls.append(name)
            if name == "inspect_network":
                raise answer(404, "network not found", NotFound)
            if name == "networks":
                return []
            said = self.answers.pop(0)
            if isinstance(said, Exception):
                raise said
            return said

        return call


def real(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> tuple[UserSpawner, ScriptedEngine]:
    """A spawner with a scripted engine."""
    monkeypatch.setattr(calls, "FIRST_PAUSE", 0.01)
    engine = ScriptedEngine(*answers)
    monkeypatch.setattr(UserSpawner, "client", engine, raising=False)
    made = UserSpawner(mock=True, remove=True)
    made.user = SimpleNamespace(name="alice")
    made.object_name = "site-user-alice"
    pool = IPv4Network("10.213.0.0/24")
    made.network_options = {"prefix": "site", "hub": "hub", "pool": pool, "internal": False}
    return made, engine


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (RUNS, None),
        (ENDED, "ExitCode=3, Error='', FinishedAt=now"),
        (GONE, 0),
        # Only these two mean that it has ended; anything else means that nobody knows.
        (answer(404, "page not found", NotFound), None),
        (answer(500), None),
        (answer(502), None),
        (answer(403), None),
        (requests.exceptions.ReadTimeout(), None),
        (requests.exceptions.ConnectionError(), None),
    ],
    ids=repr,
)
def test_only_the_engine_says_that_a_server_has_ended(
    monkeypatch: pytest.MonkeyPatch, said: Any, status: object
) -> None:
    made, _ = real(monkeypatch, said)
    assert asyncio.run(made.poll()) == status


@pytest.mark.slow
def test_a_poll_does_not_wait_for_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer, when it comes, is the next poll's."""
    monkeypatch.setattr(container_module, "POLL_SECONDS", 0.1)
    free = threading.Event()

    def inspect(_: str) -> dict[str, Any]:
        free.wait(30)
        return ENDED

    made, _ = real(monkeypatch)
    monkeypatch.setattr(UserSpawner, "client", SimpleNamespace(inspect_container=inspect))

    async def polls() -> list[int | str | None]:
        first = [await made.poll(), await made.poll()]
        free.set()
        assert made._asked
        await made._asked
        return [*first, await made.poll()]

    assert asyncio.run(polls()) == [None, None, "ExitCode=3, Error='', FinishedAt=now"]


def test_a_stop_lasts_until_the_engine_says_that_the_container_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silence = requests.exceptions.ConnectionError()
    made, engine = real(
        monkeypatch,
        *(silence, answer(500), None),  # stop
        *(answer(502), RUNS, silence, RUNS, None, GONE),  # inspect and remove
        *(silence, GONE),  # inspect, before the network is closed
    )

    async def stop() -> None:
        await made.stop()
        assert "inspect_network" not in engine.calls
        await made.run_post_stop_hook()

    asyncio.run(stop())
    assert not engine.answers
    assert engine.calls[-1] == "inspect_network"


def test_a_network_stays_while_its_container_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made, engine = real(monkeypatch, RUNS, answer(403))
    with pytest.raises(APIError):
        asyncio.run(made.run_post_stop_hook())
    assert "inspect_network" not in engine.calls


@pytest.mark.parametrize(
    ("handler", "actor"),
    [
        (None, ""),
        (SimpleNamespace(current_user=SimpleNamespace(name="carol", spawners={})), "carol"),
        (SimpleNamespace(current_user=SimpleNamespace(name="rota")), "service rota"),
    ],
    ids=str,
)
def test_a_start_is_reported_with_its_outcome_and_who_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, handler: Any, actor: str
) -> None:
    caplog.set_level(logging.INFO, "zhub.audit")
    monkeypatch.setattr(origin, "address", lambda _: "192.0.2.7")
    made, _ = real(monkeypatch, requests.exceptions.ConnectionError())
    made.handler = handler

    async def start() -> None:
        with pytest.raises(NoServerError):
            await made.start()

    asyncio.run(start())
    [said] = [json.loads(r.getMessage()) for r in caplog.records if r.name == "zhub.audit"]
    del said["at"]
    assert said == {
        "event": "server.start",
        "user": "alice",
        "actor": actor,
        "address": "192.0.2.7" if handler else "",
        "outcome": "engine_silent",
    }


def test_a_start_without_an_answer_leaves_the_rest_to_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits for the start is told at once."""
    made, engine = real(monkeypatch, requests.exceptions.ConnectionError())

    async def start() -> None:
        with pytest.raises(NoServerError, match="does not answer"):
            await made.start()
        await made.stop()
        await made.run_post_stop_hook()

    asyncio.run(start())
    assert engine.calls == ["inspect_container"]


def test_a_start_whose_container_could_not_join_its_network_leaves_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody would look for it: the sweep looks for containers."""
    made, engine = real(
        monkeypatch,
        GONE,
        *(None, None, None, answer(500)),  # start, create and connect network, disconnect
        *(RUNS, None, GONE),  # inspect and remove
        GONE,  # inspect, before the network is closed
    )

    async def start_new(spawner: UserSpawner, _: object) -> None:
        await spawner.start_object()

    monkeypatch.setattr(UserSpawner, "_start_new", start_new)

    async def start() -> None:
        with pytest.raises(NoServerError):
            await made.start()
        await made.run_post_stop_hook()

    asyncio.run(start())
    assert not engine.answers
    assert "create_network" in engine.calls
    assert engine.calls[-1] == "inspect_network"
