"""The hub ends a proxy in its own container that hangs; another process stands in for Node here."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientError
from zhub.front import early_proxy
from zhub.front.early_proxy import EarlyProxy
from zhub.front.handle import ProxyHandle


class Proxy(EarlyProxy):
    """A handle on a process that answers what the tests say."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(parent=None, log=logging.getLogger("hub"))
        self.proxy_process = process
        self.answers: list[BaseException | None] = []
        self.started = 0

    async def _ask_for_hub(self, **_: Any) -> Any:
        if answer := self.answers.pop(0):
            raise answer

        @asynccontextmanager
        async def answered() -> Any:
            yield

        return answered()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Any:
    async def check_running(self: Proxy) -> None:
        self.started += self.proxy_process.poll() is not None

    monkeypatch.setattr(ProxyHandle, "check_running", check_running)
    with subprocess.Popen(["sleep", "600"]) as process:
        yield Proxy(process)
        process.kill()


async def looks(proxy: Proxy) -> None:
    while proxy.answers:
        await proxy.check_running()


def test_a_proxy_that_answers_now_and_then_is_left_alone(proxy: Proxy) -> None:
    late = [TimeoutError()] * (early_proxy.MISSED - 1)
    proxy.answers = [None, *late, None, *late, None]
    asyncio.run(looks(proxy))
    assert proxy.proxy_process.poll() is None
    assert not proxy.started


@pytest.mark.parametrize("error", [TimeoutError(), ClientError()])
def test_one_that_hangs_is_ended_and_started_again(
    proxy: Proxy, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.answers = [error] * early_proxy.MISSED
    asyncio.run(looks(proxy))
    assert proxy.proxy_process.poll() is not None
    assert proxy.started == 1
    assert caplog.messages == ["the proxy hangs: no sign of life; ended, to be started again"]


def test_one_that_has_ended_is_started_without_a_question(proxy: Proxy) -> None:
    proxy.proxy_process.kill()
    proxy.proxy_process.wait()
    asyncio.run(proxy.check_running())
    assert proxy.started == 1
