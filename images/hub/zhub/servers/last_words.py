"""What a server says that ends while it starts, and what its user can do about it."""

from __future__ import annotations

import html
import json
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from zhub.logs import printable

KEPT = 15
"""Lines that are shown."""

LENGTH = 300
"""Characters of a line that are shown."""

_ADVICE = (
    (
        ("No space left on device", "Disk quota exceeded"),
        "The disk with your home is full.",
    ),
    (
        ("Permission denied", "Operation not permitted"),
        "Something in your home belongs to somebody else, or is closed to you.",
    ),
    (
        ("Not a directory", "File exists", "exists but is not a directory", "Is a directory"),
        "In your home, a file is where a folder has to be, or the other way round.",
    ),
)


def advice(lines: list[str]) -> str:
    """Return what the last lines mean, as far as that is known."""
    text = "\n".join(lines)
    known = [means for signs, means in _ADVICE if any(sign in text for sign in signs)]
    return " ".join([*known, "Your files are still there. Please show this to your administrator."])


class EndedError(web.HTTPError):
    """A server ended while it started. JupyterHub shows the user one of the two messages.

    Of such an error JupyterHub logs one line, and of others a traceback.
    """

    def __init__(self, user: str, status: object, lines: list[str]) -> None:
        self._text = f"The server of {user} ended while it started: {status}"
        super().__init__(500, self._text)
        said = advice(lines)
        self.jupyterhub_message = f"Your server ended while it started. {said}"
        shown = html.escape("\n".join(lines))
        log = f'</p><pre class="text-start border p-2">{shown}</pre><p>' if lines else ""
        self.jupyterhub_html_message = (
            f"Your server ended while it started. {html.escape(said)}{log}"
        )

    def __str__(self) -> str:
        return self._text


def clean(body: bytes) -> list[str]:
    """Return the lines in a server's message, as far as they can be shown and logged.

    Raises:
        ValueError: when it has no lines.
    """
    lines = json.loads(body)["lines"]
    if not isinstance(lines, list):
        raise TypeError("not a list")
    return [printable(str(line)[:LENGTH]) for line in lines[-KEPT:]]


class LastWordsHandler(APIHandler):  # type: ignore[misc] # untyped
    """Takes the last lines of a server's log, by the server's own token, while it starts."""

    @needs_scope("users:activity")  # type: ignore[untyped-decorator]
    def post(self, user_name: str) -> None:
        """Log the lines, and keep them for the page of the user."""
        user: Any = self.find_user(user_name)
        if user is None or user.spawner.pending != "spawn":
            raise web.HTTPError(404)
        try:
            lines = clean(self.request.body)
        except (ValueError, KeyError, TypeError):
            raise web.HTTPError(400, "not an object with lines") from None
        for line in lines:
            self.log.warning("server of %s: %s", user_name, line)
        user.spawner.last_words = lines
        self.set_status(204)


HANDLERS = [("/api/users/([^/]+)/last-words", LastWordsHandler)]
"""For JupyterHub's `extra_handlers`."""
