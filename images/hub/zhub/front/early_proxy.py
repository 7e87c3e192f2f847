"""JupyterHub's handle on the proxy that was started before it."""

from __future__ import annotations

from typing import Any, ClassVar

from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.user import User
from tornado.ioloop import PeriodicCallback

from zhub.front.proxy import Launcher


class EarlyProxy(ConfigurableHTTPProxy):  # type: ignore[misc] # untyped
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

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return the routes without the times of their last use.

        To the proxy, a page that is open is in use: it answers a ping every half minute. Servers
        say themselves when they were in use. JupyterHub's `last_activity_interval` must stay set
        all the same: as often, it checks that no route is missing.
        """
        routes: dict[str, dict[str, Any]] = await super().get_all_routes()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes

    async def delete_user(self, user: User, server_name: str = "") -> None:
        """Remove a server's route, also one under another base path than the hub's (links.py)."""
        await self.delete_route(user.spawners[server_name].proxy_spec)

    async def _answers(self) -> bool:
        try:
            await self.get_all_routes()
        except TimeoutError:
            return False
        return True
