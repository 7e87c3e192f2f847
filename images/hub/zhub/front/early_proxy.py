"""JupyterHub's handle on the proxy that was started before it."""

from __future__ import annotations

from typing import ClassVar

from aiohttp import ClientError, ClientTimeout
from tornado.ioloop import PeriodicCallback

from zhub.front.handle import ProxyHandle
from zhub.front.proxy import Launcher

MISSED = 9
"""Looks in a row without an answer after which the proxy counts as hung. Each then takes five to
ten seconds. They are counted, and not the time: after a pause of the whole container, the proxy
gets to answer first."""


class EarlyProxy(ProxyHandle):
    """Takes over a proxy that runs already, and waits for it as long as it takes.

    The parent class would start the proxy itself, late, and give up after ten seconds; Node takes
    that long under emulation on a busy machine.
    """

    launcher: ClassVar[Launcher]
    """Launcher of the proxy to take over; set once, before JupyterHub starts."""

    _check_running_callback: PeriodicCallback | None

    _missed = 0

    async def start(self) -> None:
        """Wait until the proxy answers.

        Raises:
            RuntimeError: when it ends instead.
        """
        self.proxy_process = self.launcher.running()
        while not await self._answers():
            if self.proxy_process.poll() is not None:
                raise RuntimeError(f"The proxy ended with status {self.proxy_process.returncode}")
            self.log.info("Still waiting for the proxy to start")
        if self._check_running_callback is None:
            self._check_running_callback = PeriodicCallback(
                self.check_running, 1e3 * self.check_running_interval
            )
            self._check_running_callback.start()

    async def check_running(self) -> None:
        """Start the proxy again if it has ended; end it first if it hangs."""
        if self.proxy_process.poll() is None:
            self._missed = 0 if await self._alive() else self._missed + 1
            if self._missed < MISSED:
                return
            self.log.critical("the proxy hangs: no sign of life; ended, to be started again")
            self.proxy_process.kill()
            self.proxy_process.wait()
        self._missed = 0
        await super().check_running()

    async def _alive(self) -> bool:
        """Return whether the proxy's process answers anything."""
        try:
            async with await self._ask_for_hub(timeout=ClientTimeout(self.check_running_interval)):
                return True
        except (ClientError, TimeoutError):
            return False

    async def _answers(self) -> bool:
        try:
            await self.get_all_routes()
        except TimeoutError:
            return False
        return True
