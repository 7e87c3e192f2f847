"""What requests to the hub mean for the audit log: servers, tokens, administrators' acts."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections import OrderedDict
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from jupyterhub import log as jupyterhub_log
from jupyterhub import orm
from jupyterhub.handlers import BaseHandler
from tornado.web import RequestHandler

from zhub import audit
from zhub.front import origin
from zhub.settings.services import OWN

CHANGES = {"POST", "PUT", "PATCH", "DELETE"}

REFUSED = range(400, 500)
"""Statuses of requests that the hub did not carry out."""

AGAIN = 3600
"""Seconds until the use of a token from the same address is reported again."""

REMEMBERED = 10_000
"""Tokens with their addresses whose last report is remembered."""

CLIENT = "jupyterhub-user-"
"""Prefix of the OAuth client of a user's server."""

_TOKENS = re.compile(r"users/([^/]+)/tokens(?:/([^/]+))?")
_SERVER = re.compile(r"users/([^/]+)/(?:server|servers/[^/]*)")
# Servers say that they are in use, browsers that a page breaks a rule; logins to servers end. Old
# programs ask whose a token is, which they name in the path.
_NOT_ACTS = re.compile(r"users/[^/]+/activity|security/csp-report|oauth2/.*|authorizations/.*")

log = logging.getLogger("zhub.audit")


def log_request(handler: RequestHandler) -> None:
    """Log a request as JupyterHub does, and report what it has done."""
    jupyterhub_log.log_request(handler)
    if not isinstance(handler, BaseHandler):
        return
    try:
        _report(handler)
    except Exception:
        # The answer is on its way already.
        log.exception("not in the audit log: %s %s", handler.request.method, handler.request.path)


def _report(handler: BaseHandler) -> None:
    request = handler.request
    base = f"{handler.hub.base_url}api/"
    if not request.path.startswith(base):
        return
    path = request.path.removeprefix(base)
    if path == "oauth2/authorize":
        _entered(handler)
    _used(handler)
    if request.method not in CHANGES or _NOT_ACTS.fullmatch(path):
        return
    who, of = {"actor": audit.actor(handler), "address": origin.address(handler)}, _cause(handler)
    status = handler.get_status()
    if tokens := _TOKENS.fullmatch(path):
        made = str(getattr(handler, "made", ""))
        event = "token.revoke" if request.method == "DELETE" else "token.make"
        user, token = unquote(tokens[1]), tokens[2] or made
        audit.report(event, of=of, user=user, token=token, status=status, **who)
    elif (server := _SERVER.fullmatch(path)) and request.method == "DELETE":
        user = unquote(server[1])
        audit.report("server.stop", of=of, user=user, status=status, **who)
    # A start is reported when it ends (`zhub.servers.spawner`), unless it was refused before.
    elif not server or request.method != "POST" or status in REFUSED:
        method = str(request.method)
        audit.report("admin", of=of, method=method, path=path, status=status, **who)


def _entered(handler: BaseHandler) -> None:
    """Report who gets into another user's server: the hub has just given the browser a code."""
    client = handler.get_argument("client_id", "")
    if handler.get_status() != HTTPStatus.FOUND or not client.startswith(CLIENT):
        return
    owner, who = unquote(client.removeprefix(CLIENT)), audit.actor(handler)
    # Without a code, the browser goes to the login page.
    if who != owner and "code=" in str(handler._headers.get("Location", "")):  # noqa: SLF001
        address, of = origin.address(handler), _cause(handler)
        audit.report("server.enter", of=of, user=owner, actor=who, address=address)


def _cause(handler: BaseHandler) -> str:
    return audit.cause(audit.actor(handler), origin.network(origin.address(handler)))


class Recent:
    """Remembers what was reported within the last hour."""

    def __init__(self) -> None:
        self._last: OrderedDict[Any, float] = OrderedDict()

    def is_new(self, key: Any) -> bool:
        """Return whether a key was not reported lately; from now on it was."""
        now = time.monotonic()
        if now - self._last.get(key, -AGAIN) < AGAIN:
            return False
        self._last[key] = now
        self._last.move_to_end(key)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return True


_recent = Recent()


def _used(handler: BaseHandler) -> None:
    """Report that somebody's token was used, or one that is not valid."""
    text = handler.get_auth_token()
    if not text:
        return
    address = origin.address(handler)
    user = audit.caller(handler)
    if user is None:
        if _recent.is_new(address):
            audit.report("token.refuse", of=_cause(handler), address=address)
        return
    own = isinstance(user, orm.Service) and user.name in OWN
    if own or not _recent.is_new((hashlib.sha256(text.encode()).digest(), address)):
        return
    if isinstance(user, orm.Service):
        # The site's services have one token each.
        audit.report("token.use", user=audit.actor(handler), address=address, token="")
        return
    if any(one.api_token == text for one in user.spawners.values()):
        # The server's own, by which it says that it is in use.
        return
    found = handler.get_token()
    token = found.api_id if found else ""
    of = _cause(handler)
    audit.report("token.use", of=of, user=str(user.name), address=address, token=token)
