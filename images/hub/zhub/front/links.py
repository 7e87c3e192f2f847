"""Takes addresses with another base path than the hub's, or none, to the hub's own.

Links from elsewhere, such as `/hub/user-redirect/lab/tree/x.ipynb`, know no stack's base path.
Others have the one from before it was changed. So do servers that were started before: they keep
their address, and their calls to the hub come here too.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import unquote

import jupyterhub.handlers
from jupyterhub.handlers import PrefixRedirectHandler
from jupyterhub.user import User
from jupyterhub.utils import url_path_join
from tornado.httputil import HTTPServerRequest, url_concat

FIRST = ("hub", "services", "user")
"""What JupyterHub's addresses go on with, behind the path that they all begin with."""

TO_PAGE, SAME_AGAIN = HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT
"""With the second, clients send the same request again, with its method and body."""

_BEHIND_BASE = re.compile(rf"(?:/[^/?]*)*?/({'|'.join(FIRST)})(?=[/?]|$)")


def behind_base(uri: str, own: str) -> tuple[str, str]:
    """Split an address behind whatever base path it has, without decoding anything.

    Returns what follows the base path, one of FIRST, and the rest: `/a/hub/spawn?b` is `hub` and
    `/spawn?b`. Both are empty for other addresses. `own` is the hub's own base path, the only one
    that may have one of FIRST as a part.
    """
    if uri.startswith(own):
        uri = uri[len(own) - 1 :]
    match = _BEHIND_BASE.match(uri)
    return (match[1], uri[match.end() :]) if match else ("", "")


class LinkHandler(PrefixRedirectHandler):  # type: ignore[misc] # untyped
    """Redirects all addresses that are not the hub's own, and that no server is running at.

    JupyterHub's handler puts the hub's base path before each: /hub/spawn would become
    /base/hub/hub/spawn, which is not found.
    """

    def check_xsrf_cookie(self) -> None:
        """Nothing happens here but a redirect; who answers that request checks it."""

    def get(self) -> None:
        """Redirect to the same page."""
        self._lead(TO_PAGE)

    head = get

    def post(self) -> None:
        """Redirect to where the request can be sent."""
        self._lead(SAME_AGAIN)

    put = patch = delete = post

    def _lead(self, status: int) -> None:
        first, rest = behind_base(self.request.uri, self.base_url)
        # Servers call the API by an address of their own network, so it must stay what it is. Pages
        # and cookies of the hub are under its own name, where users have names of their own.
        api = first == "hub" and rest.startswith("/api/")
        host = "" if api else self.settings["subdomain_host"]
        if first == "hub":
            self.redirect(f"{host}{self.base_url}hub{rest}", status=status)
        elif first == "user" and (own := self._elsewhere(rest)):
            self.redirect(own, status=status)
        elif first:
            self.redirect(f"{host}{self.hub.base_url}{first}{rest}", status=status)
        elif status == SAME_AGAIN:
            self.send_error(404)
        else:
            super().get()

    def _elsewhere(self, rest: str) -> str | None:
        """Return where the page is, if its server runs under another base path than the hub."""
        name, _, page = rest.removeprefix("/").partition("/")
        found = self.find_user(unquote(name))
        server = found and found.spawner.server
        if not server or server.base_url == found.base_url:
            return None
        there = f"{server.base_url}{page}"
        # The missing route of a running server must not become a loop.
        return None if self.request.uri == there else f"{found.host}{there}"


def install() -> None:
    """Make JupyterHub use the handler above; before it starts."""
    jupyterhub.handlers.PrefixRedirectHandler = LinkHandler


def to_own_server(_: str, request: HTTPServerRequest, user: User, base_url: str) -> str:
    """Return where a link to a file on everybody's own server leads.

    It is JupyterHub's user_redirect_hook. JupyterHub itself decodes the path and does not encode it
    again, so that names of files with #, ? or % in them lead elsewhere.
    """
    rest = request.uri.partition("/user-redirect")[2].lstrip("/")
    spawn = url_path_join(base_url, "hub/spawn", user.escaped_name)
    return url_concat(spawn, {"next": f"{user.url}{rest}"})
