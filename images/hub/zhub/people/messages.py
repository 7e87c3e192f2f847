"""Who may read what operators say: each user what is said to them, and to everybody.

The hub's pages show it, and a user's own server asks for it, for the page of JupyterLab.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.user import User
from tornado import web

from zhub.state import messages


def of(user: Any) -> list[dict[str, str]]:
    """Return what is said to a user: texts, with ids under which a browser can note them.

    Args:
        user: JupyterHub's. Strangers and services, to which it shows pages as well, get nothing.
    """
    if not isinstance(user, User):
        return []
    found = messages.read()
    names = (user.name, messages.EVERYBODY)
    # With the user's name: somebody else may use the same browser.
    return [
        {"id": f"{user.name}:{found[name].id}", "text": found[name].text}
        for name in names
        if name in found
    ]


class MessagesHandler(APIHandler):  # type: ignore[misc] # untyped
    """Answers a user's server, by the server's own token."""

    # A right that such a token has; there is none for this.
    @needs_scope("users:activity")  # type: ignore[untyped-decorator]
    def get(self, user_name: str) -> None:
        """Say what is said to the user whose token it is, and to nobody else's."""
        user = self.find_user(user_name)
        # Administrators and services may have the right as well, for all users.
        if user is None or user is not self.current_user:
            raise web.HTTPError(404)
        self.finish({"messages": of(user)})


HANDLERS = [("/api/users/([^/]+)/messages", MessagesHandler)]
"""For JupyterHub's `extra_handlers`."""
