"""JupyterHub's handle on a proxy in a container of its own, which outlives the hub."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError
from jupyterhub.httpclient import fetch
from tornado.ioloop import PeriodicCallback

from zhub.front.handle import ProxyHandle
from zhub.front.proxy import API, API_PORT

LOOK_SECONDS = 1
"""Between two looks at whether the proxy still has its routes."""

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
    """Sets the routes again as soon as the proxy has lost them: when it was restarted.

    The parent class would notice at its next look at all routes, up to five minutes later.
    """

    _looking: PeriodicCallback | None = None

    async def check_routes(
        self,
        user_dict: Mapping[str, Any],
        service_dict: Mapping[str, Any],
        routes: Mapping[str, Any] | None = None,
    ) -> None:
        """Set all routes; JupyterHub calls this when it is ready, and then from time to time."""
        await super().check_routes(user_dict, service_dict, routes)
        if self._looking is None:
            self._looking = PeriodicCallback(self._look, LOOK_SECONDS * 1000)
            self._looking.start()

    async def _look(self) -> None:
        path = self._routespec_to_chp_path(self.app.hub.routespec)
        headers = {"Authorization": f"token {self.auth_token}"}
        try:
            async with await fetch(
                f"{API}/api/routes{path}", headers=headers, raise_for_status=False
            ) as answer:
                lost = answer.status == HTTPStatus.NOT_FOUND
        except (ClientError, TimeoutError, OSError):
            # It is being restarted.
            return
        if lost:
            log.warning("the proxy has no routes, as after a restart: setting them again")
            await self.check_routes(self.app.users, self.app._service_map)  # noqa: SLF001
