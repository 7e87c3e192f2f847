"""JupyterHub's handle on a proxy in a container of its own, which outlives the hub."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError, ClientResponse
from tornado.ioloop import PeriodicCallback

from zhub.front import shared_folder
from zhub.front.handle import ProxyHandle
from zhub.front.proxy import API_PORT

LOOK_SECONDS = 1
"""Between two looks at whether the proxy still has its routes."""

ROUTES = shared_folder.FOLDER / "routes.json"
"""What the proxy answers when it is asked for all routes. One that starts reads it, so that users
reach their servers while the hub is still starting, too."""

log = logging.getLogger(__name__)


def wait_until_it_listens() -> None:
    """Wait for the proxy as long as it takes, and say so."""
    waiting = False
    while True:
        try:
            socket.create_connection(("127.0.0.1", API_PORT), timeout=1).close()
        except OSError:
            if not waiting:
                log.info("waiting for the proxy to start")
            waiting = True
            time.sleep(0.1)
        else:
            return


class SeparateProxy(ProxyHandle):
    """Keeps the routes in a file for the next proxy, and sets them again if they were lost.

    The parent class would notice that at its next look at all routes, up to five minutes later.
    """

    _looking: PeriodicCallback | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._writing = asyncio.Lock()
        self._changes = 0
        self._written = 0
        """How many of the changes are in the file."""

    async def api_request(self, path: str, *arguments: Any, **options: Any) -> ClientResponse:
        """Make a request to the proxy; wait as long as it takes for one that restarts or hangs.

        The parent class gives up after half a minute: a hub that is starting ends, and a server
        that has just started is stopped.
        """
        waiting = False
        while True:
            try:
                answer: ClientResponse = await super().api_request(path, *arguments, **options)
            except TimeoutError:
                if not waiting:
                    log.warning("waiting for the proxy, which does not answer")
                waiting = True
            else:
                return answer

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Add a route, also to the file."""
        await super().add_route(routespec, target, data)
        await self._keep()

    async def delete_route(self, routespec: str) -> None:
        """Remove a route, also from the file."""
        await super().delete_route(routespec)
        await self._keep()

    async def _keep(self) -> None:
        """Bring the file up to date, at once for all routes that change at the same time."""
        self._changes += 1
        change = self._changes
        async with self._writing:
            if self._written >= change:
                return
            so_far = self._changes
            try:
                async with await self._ask("") as answer:
                    shared_folder.write(ROUTES, await answer.text())
            except (ClientError, TimeoutError, OSError) as error:
                log.warning(
                    "%s is not up to date: %r; a proxy that is restarted now may have to wait for"
                    " the hub",
                    ROUTES,
                    error,
                )
            else:
                self._written = so_far

    async def check_routes(
        self,
        user_dict: Mapping[str, Any],
        service_dict: Mapping[str, Any],
        routes: Mapping[str, Any] | None = None,
    ) -> None:
        """Set all routes; JupyterHub calls this when it is ready, and then from time to time."""
        await super().check_routes(user_dict, service_dict, routes)
        # Also when no route has changed: another release of the hub may have kept none.
        await self._keep()
        if self._looking is None:
            self._looking = PeriodicCallback(self._look, LOOK_SECONDS * 1000)
            self._looking.start()

    async def _look(self) -> None:
        try:
            async with await self._ask_for_hub() as answer:
                lost = answer.status == HTTPStatus.NOT_FOUND
        except (ClientError, TimeoutError, OSError):
            # It is being restarted.
            return
        if lost:
            log.warning("the proxy has no routes, as after a restart: setting them again")
            await self.check_routes(self.app.users, self.app._service_map)  # noqa: SLF001
