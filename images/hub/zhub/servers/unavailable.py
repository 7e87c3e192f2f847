"""Says why no server can be started, where that is not the server's own fault."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException
from tornado import web

from zhub.contract import FULL, UNUSABLE, UPDATING
from zhub.engine import guarded
from zhub.heartbeat import unanswered

S = TypeVar("S")

RETRY_SECONDS = 60
"""When a client may ask again for a server that could not be started."""


DISK_FULL = "no space left on device"
"""In what the engine answers then (ENOSPC)."""


NO_CONTAINERD = ("containerd.sock", ": unavailable")
"""In what the engine answers while its containerd is started again: a socket that nobody listens
at, or gRPC's word for it."""


class NoServerError(web.HTTPError):
    """Shown by JupyterHub's pages and API when a server cannot be started now."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)
        self.jupyterhub_message = message
        # JupyterHub sends them with its page and its API's answer.
        self.headers = {"Retry-After": str(RETRY_SECONDS)}


def log_once(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what asyncio has found in a task that nobody waits for any more.

    JupyterHub has logged in one line why a server did not start. Where the page of the start had
    come first, asyncio would log it again, with a traceback. And the heartbeat reports an engine
    that does not answer, which asyncio would for each question whose answer comes too late.
    """
    found = context.get("exception")
    if not isinstance(found, NoServerError) and not unanswered(found):
        loop.default_exception_handler(context)


def saying_why(
    start: Callable[[S], Awaitable[tuple[str, int]]],
) -> Callable[[S], Awaitable[tuple[str, int]]]:
    """Show the user why no server can be started, where that is not the server's own fault.

    Without this it would be a traceback in the log and "Error 500" for the user, as other errors of
    the engine are.
    """

    @wraps(start)
    async def wrapped(spawner: S) -> tuple[str, int]:
        try:
            return await start(spawner)
        except ImageNotFound as error:
            raise NoServerError(
                "Servers cannot be started: an image is missing on the engine. Please tell your"
                f" administrator: {error.explanation}"
            ) from None
        except APIError as error:
            if error.status_code in {FULL, UNUSABLE} or error.explanation == UPDATING:
                raise NoServerError(str(error.explanation)) from None
            if DISK_FULL in str(error.explanation).lower():
                raise NoServerError(
                    "Servers cannot be started: the engine's disk is full. Please tell your"
                    " administrator."
                ) from None
            if _restarting(error):
                raise NoServerError(_silent("engine")) from None
            raise NoServerError(
                "Your server could not be started. Please tell your administrator:"
                f" {error.explanation}"
            ) from None
        except (DockerException, RequestException) as error:
            if not unanswered(error):
                raise
            raise NoServerError(_silent("guard" if guarded(os.environ) else "engine")) from None

    return wrapped


def _restarting(error: APIError) -> bool:
    """Return whether the engine, or its containerd, is not there at the moment."""
    away = error.status_code in {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}
    text = str(error.explanation).lower()
    return away or (error.is_server_error() and any(sign in text for sign in NO_CONTAINERD))


def _silent(who: str) -> str:
    return (
        f"Servers cannot be started at the moment: the hub's {who} does not answer. Please try"
        " again in a minute. If it lasts, tell your administrator: the hub's log says more."
    )
