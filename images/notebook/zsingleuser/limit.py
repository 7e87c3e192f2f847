"""Says how much of a home's limit is taken; only in a stack that has one (homeLimit).

It is an extension of Jupyter's server, and JupyterLab's `zhub-home` shows what it says. The user's
programs could make it say anything: the operator has the guard's numbers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

VARIABLE = "ZHUB_HOME_LIMIT"
"""Has the limit, in bytes."""

NEARLY = 80
"""Percent of the limit from which on the user is warned."""

AGAIN = 300
"""Seconds between two counts while a page of JupyterLab is open."""

SOON = 60
"""The same for a home that is nearly full, since its user cleans up."""

SHARE = 20
"""A count that takes long is made more seldom: it may take one part of this many of the time."""

LONGEST = 300
"""Seconds that a count may take; then nothing is known."""

COUNT = ("timeout", str(LONGEST), "nice", "-n", "19", "ionice", "-c", "3", "du", "-s")
"""As the guard's: holes in files do not count, and a file with several names counts once."""

log = logging.getLogger(__name__)


class Taken:
    """What a home takes, counted in a process beside the server."""

    def __init__(self, home: Path, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._limit = limit
        self._clock = clock
        self._next = clock()
        self._counting: asyncio.Task[None] | None = None
        self.bytes: int | None = None
        """None until it is known."""

    def look(self) -> None:
        """Have it counted anew, if what is known is old."""
        if self._clock() >= self._next and not self._counting:
            self._counting = asyncio.ensure_future(self._count())

    async def settled(self) -> None:
        """Wait for the count that is under way, if there is one."""
        if self._counting:
            await self._counting

    async def _count(self) -> None:
        began = self._clock()
        try:
            process = await asyncio.create_subprocess_exec(
                *COUNT,
                *("--block-size=1", str(self._home)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # of files that are removed meanwhile
                env={"PATH": os.defpath},
            )
            printed, _ = await process.communicate()
            self.bytes = int(printed.split()[0]) if printed else None
        except OSError as error:
            # The server may have as many processes as it is allowed.
            log.warning("the home is not counted: %s", error)
        finally:
            full = 100 * (self.bytes or 0) >= NEARLY * self._limit
            took = self._clock() - began
            self._next = self._clock() + max(SOON if full else AGAIN, SHARE * took)
            self._counting = None


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Answer JupyterLab's page; Jupyter's server calls this."""
    limit = int(os.environ.get(VARIABLE) or 0)
    if not limit:
        return
    taken = Taken(Path.home(), limit)
    base: Any = import_module("jupyter_server.base.handlers").APIHandler
    web: Any = import_module("tornado.web")

    class Handler(base):  # type: ignore[misc] # untyped
        @web.authenticated  # type: ignore[untyped-decorator]
        def get(self) -> None:
            taken.look()
            self.finish(json.dumps({"taken": taken.bytes, "limit": limit, "nearly": NEARLY}))

    settings = app.web_app.settings
    app.web_app.add_handlers(".*$", [(f"{settings['base_url']}zhub/home", Handler)])
    # JupyterLab's page has it, and so the extension there knows that there is something to ask.
    settings.setdefault("page_config_data", {})["zhubHomeLimit"] = str(limit)
