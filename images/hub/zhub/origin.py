"""Where a login comes from: what failed ones are counted for."""

from __future__ import annotations

import secrets

from jupyterhub.handlers import BaseHandler

PROXY = {"127.0.0.1", "::1"}
"""Addresses that the proxy connects from."""

COOKIE = "zhub-known"
"""Who has logged in with a browser before; signed by the hub, and no login itself."""

DAYS = 90
"""How long a browser keeps it."""


def address(handler: BaseHandler) -> str:
    """Address of who sent a request, whatever the request says of it.

    JupyterHub's own `remote_ip` believes headers that the sender may set. Only the proxy is
    believed, which runs beside the hub, and of it only what it adds itself: the last address.
    Users' servers reach the hub without it.
    """
    peer = str(handler.request.connection.context.address[0])
    if peer in PROXY:
        told = handler.request.headers.get("X-Forwarded-For", peer)
        peer = told.rpartition(",")[2].strip()
    return peer.removeprefix("::ffff:")


def origin(handler: BaseHandler, name: str) -> str:
    """The address, or the browser, if the owner of the name has logged in with it before.

    Where many have one address, as behind a company's proxy, a stranger among them who tries
    passwords does not keep the owner out
    (https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies).
    """
    cookie = handler.get_secure_cookie(COOKIE, max_age_days=DAYS) or b""
    known, _, browser = cookie.decode().partition(" ")
    return f"browser {browser}" if known == name.lower() else address(handler)


def remember(handler: BaseHandler, name: str) -> None:
    """Let the browser tell from now on that the owner of a name has logged in with it."""
    handler.set_secure_cookie(
        COOKIE,
        f"{name.lower()} {secrets.token_hex(16)}",
        expires_days=DAYS,
        path=handler.hub.base_url,
        httponly=True,
        secure=handler.request.protocol == "https",
        samesite="Strict",
    )
