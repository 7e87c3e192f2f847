"""How a start ends: the server listens, or it has ended."""

from __future__ import annotations

import asyncio
import socket

import pytest
from zhub.servers import listening


async def has_ended() -> int:
    return 1


async def runs() -> None:
    """It has not ended."""


def test_a_server_that_listens_has_not_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = asyncio.run(listening.ended("127.0.0.1", server.getsockname()[1], runs))
    assert found is None


def test_an_attempt_that_nobody_answers_keeps_no_start_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As to a server whose network namespace has just gone."""
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(listening, "ATTEMPT_SECONDS", 0.05)

    async def silence(*_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(asyncio, "open_connection", silence)

    async def ask() -> int | None:
        async with asyncio.timeout(5):
            return await listening.ended("192.0.2.1", 8888, has_ended)

    assert asyncio.run(ask()) == 1
