"""Answers requests to start or stop a server while something else is done with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.pages import SpawnPendingHandler

from zhub.servers.unavailable import NoServerError

SECONDS = 0.2
"""Seconds between two looks whether something else is done with a server."""

FOUND = asyncio.Event()
"""Whether a hub that has just started has begun to check the servers of its database. It checks all
that the database has at that moment: it would end one that somebody has begun to start before."""
FOUND.set()

FOUND_SECONDS = 30
"""How long a start waits for that, as where the engine does not answer."""

ASKED: Counter[tuple[str, str]] = Counter()
"""Starts that were asked for, by the names of user and server. They are under way only when the
directory has said what the user may have."""


def install() -> None:
    """Replace what answers wrongly at moments that JupyterHub does not expect.

    It answers 500, with a traceback. Its page on a start says that the server is not running, and
    has a button to start it, when the directory takes longer than a second.
    """
    spawn, stop = BaseHandler.spawn_single_user, BaseHandler.stop_single_user

    async def spawn_single_user(
        self: Any, user: Any, server_name: str = "", *arguments: Any, **options: Any
    ) -> None:
        """Start a server.

        Raises:
            NoServerError: it has ended, and what it leaves cannot be removed at once; somebody has
                stopped it; or the hub has just started, and cannot look which servers run.
        """
        if not FOUND.is_set():
            await _found()
            if server_name in user.spawners and user.spawners[server_name].active:
                return  # somebody else waited as well, and was first
        ASKED[user.name, server_name] += 1
        try:
            await spawn(self, user, server_name, *arguments, **options)
        except asyncio.InvalidStateError:
            raise NoServerError(
                "Your server did not start, and what it has left is still being removed. Please"
                " try again in a minute."
            ) from None
        except asyncio.CancelledError:
            raise NoServerError("Your server was stopped while it started.") from None
        finally:
            ASKED[user.name, server_name] -= 1

    async def stop_single_user(
        self: Any, user: Any, server_name: str = ""
    ) -> asyncio.Future[None] | None:
        """Stop a server.

        A hub that has just started may still look whether it runs, a start that was interrupted may
        not have ended yet, and somebody else may stop it.

        Returns:
            What ends when the server has been stopped; None if it ends without this.
        """
        spawner = user.spawners[server_name]
        while spawner.pending not in {None, "stop"}:  # noqa: ASYNC110 - JupyterHub says nothing
            await asyncio.sleep(SECONDS)
        if spawner.pending or not spawner.ready:
            return None
        stopped: asyncio.Future[None] = await stop(self, user, server_name)
        return stopped

    SpawnPendingHandler.get = _once_under_way(SpawnPendingHandler.get)
    BaseHandler.spawn_single_user, BaseHandler.stop_single_user = (
        spawn_single_user,
        stop_single_user,
    )


def _once_under_way(page: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Have the page on a start wait until the start that its user asked for is under way."""

    async def get(self: Any, user_name: str, server_name: str = "") -> None:
        user = self.current_user
        if user and user.name == user_name:
            asked = user_name, server_name
            while ASKED[asked] and not user.spawners[server_name].active:  # noqa: ASYNC110
                await asyncio.sleep(SECONDS)
        await page(self, user_name, server_name)

    return get


async def _found() -> None:
    try:
        await asyncio.wait_for(FOUND.wait(), FOUND_SECONDS)
    except TimeoutError:
        raise NoServerError(
            "The hub has just started, and cannot find out yet which servers run. Please try again"
            " in a minute."
        ) from None
