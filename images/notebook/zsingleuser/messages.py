"""Asks the hub what its operators say to the user, and adds what the server says (unseen.py).

It is an extension of Jupyter's server, and JupyterLab's `zhub-messages` shows what it says. The
hub is asked only while a page of JupyterLab is open.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from zsingleuser.unseen import UNSEEN

FRESH = 10
"""Seconds that an answer of the hub counts: a user may have many pages open. With the time between
two questions of a page, 40 seconds, a message is shown within a minute."""

PATIENCE = 5
"""Seconds that the hub may take for an answer; where it takes longer, the page asks again."""

HTTP_OK, NOT_MODIFIED = 200, 304

log = logging.getLogger(__name__)


class Messages:
    """What the hub says to the user, as far as it answers."""

    def __init__(
        self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = environment["JUPYTERHUB_ACTIVITY_URL"].removesuffix("activity") + "messages"
        self._token = environment["JUPYTERHUB_API_TOKEN"]
        self._clock = clock
        self._asked = -float(FRESH)
        self._tag = ""
        self._found: list[dict[str, str]] | None = None

    async def now(self) -> list[dict[str, str]] | None:
        """Return the messages, each with `id` and `text`; None while the hub has not said them."""
        if self._clock() - self._asked >= FRESH:
            # At once: another page, which asks meanwhile, gets what was known before.
            self._asked = self._clock()
            await self._ask()
        return self._found

    async def _ask(self) -> None:
        client: Any = import_module("tornado.httpclient")
        headers = {"Authorization": f"token {self._token}"}
        if self._tag:
            # An answer without content is not a line in the hub's log.
            headers["If-None-Match"] = self._tag
        try:
            # By no proxy, whatever the environment says: the hub is in the server's own network.
            answer = await client.AsyncHTTPClient().fetch(
                self._url, headers=headers, request_timeout=PATIENCE, raise_error=False
            )
            if answer.code == HTTP_OK:
                self._found = json.loads(answer.body)["messages"]
                self._tag = answer.headers.get("Etag", "")
            elif answer.code != NOT_MODIFIED:
                log.debug("the hub's messages: status %s", answer.code)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("the hub's messages: %s", error)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Answer JupyterLab's page; Jupyter's server calls this."""
    if "JUPYTERHUB_ACTIVITY_URL" not in os.environ:
        # The image is run by hand, without a hub.
        return
    messages = Messages(os.environ)
    base: Any = import_module("jupyter_server.base.handlers").APIHandler
    web: Any = import_module("tornado.web")

    class Handler(base):  # type: ignore[misc] # untyped
        @web.authenticated  # type: ignore[untyped-decorator]
        async def get(self) -> None:
            own = UNSEEN.messages(await self.session_manager.list_sessions())
            said = await messages.now()
            self.finish(
                json.dumps({"messages": [*own, *said] if said is not None else own or None})
            )

    base_url = app.web_app.settings["base_url"]
    app.web_app.add_handlers(".*$", [(f"{base_url}zhub/messages", Handler)])
