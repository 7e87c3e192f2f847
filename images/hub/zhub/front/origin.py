"""Where a login comes from: the address or browser that its failures are counted for."""

from __future__ import annotations

import secrets
from ipaddress import ip_address, ip_network

from jupyterhub.handlers import BaseHandler
from tornado.httputil import HTTPHeaders

PROXY = {"127.0.0.1", "::1"}
"""Addresses that the proxy connects from."""

COOKIE = "zhub-known"
"""Names the user who last logged in with this browser; signed by the hub, and not itself a
login."""

DAYS = 90
"""How long a browser keeps the cookie."""


def address(handler: BaseHandler) -> str:
    """Return the address that sent a request; the sender cannot forge it.

    JupyterHub's own `remote_ip` trusts headers that the sender may set. This trusts only the proxy
    beside the hub, and only the part that the proxy adds itself: the last address. Users' servers
    reach the hub without the proxy.
    """
    return client(str(handler.request.connection.context.address[0]), handler.request.headers)


def client(peer: str, headers: HTTPHeaders) -> str:
    """Return the same for the address of a connection's peer and the headers of a request."""
    if peer in PROXY:
        peer = headers.get("X-Forwarded-For", peer).rpartition(",")[2].strip()
    return peer.removeprefix("::ffff:")


def network(address: str) -> str:
    """Return what to count as one place: for IPv6 the /64, since one machine can use all of it."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else address


def origin(handler: BaseHandler, name: str) -> str:
    """Return the address, or the browser if the owner of the name has logged in with it before.

    Where many users share one address, as behind a company's proxy, a stranger among them who
    tries passwords does not keep the owner out
    (https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies).
    """
    cookie = handler.get_secure_cookie(COOKIE, max_age_days=DAYS) or b""
    known, _, browser = cookie.decode().partition(" ")
    return f"browser {browser}" if known == name.lower() else address(handler)


def remember(handler: BaseHandler, name: str) -> None:
    """Mark the browser as one that the owner of a name has logged in with."""
    handler.set_secure_cookie(
        COOKIE,
        f"{name.lower()} {secrets.token_hex(16)}",
        expires_days=DAYS,
        path=handler.hub.base_url,
        httponly=True,
        secure=handler.request.protocol == "https",
        samesite="Strict",
    )
