"""Lets a server's visitors go on while the hub is away, as when it is replaced.

A server asks the hub about each visitor, and again when the answer is older than half a minute
(jupyter_server_config.json). While the hub does not answer, the last answer holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Hashable
from functools import wraps
from typing import Any

from tornado.web import HTTPError

LONGEST = 300
"""Seconds for which an answer holds at most: as long as JupyterHub itself would keep it."""

MOST = 1000
"""Answers kept."""

_BAD_GATEWAY = 502
"""JupyterHub's status when the hub answers with an error of its own."""

Check = Callable[..., Coroutine[Any, Any, dict[str, Any] | None]]


def away(error: HTTPError) -> bool:
    """Return whether a failed check means that the hub did not answer, or not yet properly.

    Of a connection that failed, JupyterHub makes an HTTPError while it handles the real one.
    """
    return error.status_code == _BAD_GATEWAY or isinstance(error.__context__, Exception)


def be_patient(auth: Any) -> None:
    """Do so in JupyterHub's class for asking the hub, which has no option for it."""
    auth._check_hub_authorization = patient(auth._check_hub_authorization)  # noqa: SLF001


def patient(check: Check, clock: Callable[[], float] = time.monotonic) -> Check:
    """Return JupyterHub's method to ask about a visitor, with the last answer in reserve."""
    last: dict[Hashable, tuple[float, dict[str, Any]]] = {}

    @wraps(check)
    async def wrapped(auth: Any, **visitor: Any) -> dict[str, Any] | None:
        if not visitor.get("use_cache", True):
            return await check(auth, **visitor)
        key: Hashable = visitor["cache_key"]
        asks = key not in auth.cache
        try:
            answer = await check(auth, **visitor)
        except HTTPError as error:
            asked, answer = last.get(key, (float("-inf"), None))
            if not away(error) or clock() - asked > LONGEST:
                raise
            return answer
        if asks:
            last.pop(key, None)
            if answer is not None:
                last[key] = clock(), answer
            if len(last) > MOST:
                del last[next(iter(last))]
        return answer

    return wrapped
