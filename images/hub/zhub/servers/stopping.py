"""Stops servers on request, whatever the hub is doing with them at that moment."""

from __future__ import annotations

import asyncio
from typing import Any

import jupyterhub.handlers
from jupyterhub.apihandlers.users import UserServerAPIHandler

SECONDS = 0.2
"""Seconds between two looks whether something else is done with a server."""


class StopHandler(UserServerAPIHandler):  # type: ignore[misc] # untyped
    """Waits for what is done with the server at the moment.

    JupyterHub's own answers 500 while a hub that has just started looks whether the server runs,
    while a start that was interrupted ends, and when somebody else stops the server meanwhile.
    """

    async def stop_single_user(
        self, user: Any, server_name: str = ""
    ) -> asyncio.Future[None] | None:
        """Stop a server; JupyterHub calls this when it has checked who asks.

        Returns:
            What ends when the server has been stopped; None if it ends without this.
        """
        spawner = user.spawners[server_name]
        while spawner.pending not in {None, "stop"}:  # noqa: ASYNC110 - JupyterHub says nothing
            await asyncio.sleep(SECONDS)
        if spawner.pending or not spawner.ready:
            return None
        stopped: asyncio.Future[None] = await super().stop_single_user(user, server_name)
        return stopped


def install() -> None:
    """Take the place of JupyterHub's own handler."""
    jupyterhub.handlers.default_handlers[:0] = [
        (r"/api/users/([^/]+)/server", StopHandler),
        (r"/api/users/([^/]+)/servers/([^/]*)", StopHandler),
    ]
