"""JupyterHub's handle on the proxy that was started before it."""

from __future__ import annotations

from typing import ClassVar

from tornado.ioloop import PeriodicCallback

from zhub.front.handle import ProxyHandle
from zhub.front.proxy import Launcher


class EarlyProxy(ProxyHandle):
    """Takes over a proxy that runs already, and waits for it as long as it takes.

    The parent class would start the proxy itself, late, and give up after ten seconds; Node takes
    that long under emulation on a busy machine.
    """

    launcher: ClassVar[Launcher]
    """Launcher of the proxy to take over; set once, before JupyterHub starts."""

    _check_running_callback: PeriodicCallback | None

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

    async def _answers(self) -> bool:
        try:
            await self.get_all_routes()
        except TimeoutError:
            return False
        return True
