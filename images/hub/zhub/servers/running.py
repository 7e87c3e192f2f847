"""Which servers run, asked of the engine for all of them at once.

JupyterHub looks after each server twice a minute. With a question about each, hub, guard and engine
would be busy with the answers where hundreds of servers run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from zhub.servers.calls import CALLING

FRESH = 5
"""Seconds for which an answer is used."""

POLL_SECONDS = 2
"""How long one look waits for the engine: the hub's first page waits for it, too."""


class Running:
    """The engine's answer, shared by all servers that ask within some seconds."""

    def __init__(self, ask: Callable[[], set[str]]) -> None:
        """Prepare to ask; `ask`, in a thread, returns the IDs of the containers that run."""
        self._ask = ask
        self._answer: asyncio.Future[set[str]] | None = None
        self._asked = 0.0

    async def has(self, container: str) -> bool | None:
        """Return whether a server runs; None while the engine does not say.

        An answer that comes late is that of the next who asks.
        """
        old = time.monotonic() - self._asked > FRESH
        if not self._answer or (self._answer.done() and old):
            self._asked = time.monotonic()
            self._answer = asyncio.get_running_loop().run_in_executor(CALLING, self._ask)
            # An error that nobody waits for any more is no news.
            self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        answer = self._answer
        done, _ = await asyncio.wait([answer], timeout=POLL_SECONDS)
        if not done or answer.exception():
            return None
        return container in answer.result()
