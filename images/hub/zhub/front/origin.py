"""Where a login comes from: what failed ones are counted for."""

from __future__ import annotations

import secrets
from ipaddress import ip_address, ip_network

from jupyterhub.handlers import BaseHandler
from tornado.httputil import HTTPHeaders

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
    return told(str(handler.request.connection.context.address[0]), handler.request.headers)


def told(peer: str, headers: HTTPHeaders) -> str:
    """The same, of a connection's peer and the headers that came by it."""
    if peer in PROXY:
        peer = headers.get("X-Forwarded-For", peer).rpartition(",")[2].strip()
    return peer.removeprefix("::ffff:")


def network(address: str) -> str:
    """What stands for one place: of IPv6 the network, in which one machine has any address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else address


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
