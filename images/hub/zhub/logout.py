"""Logging out that cannot be undone with a copied cookie."""

from __future__ import annotations

from jupyterhub import orm
from jupyterhub.handlers.login import LogoutHandler


class EverywhereLogoutHandler(LogoutHandler):  # type: ignore[misc] # untyped
    """Ends all of the user's sessions, in all browsers.

    JupyterHub's own only asks the browser to forget its cookie, which all sessions of a user share
    and which a copy of it outlives.
    """

    async def handle_logout(self) -> None:
        """Give the user another cookie, and take back what sessions were given for servers."""
        if not self.current_user:
            return
        user = self.current_user.orm_user
        user.cookie_id = orm.new_token()
        for token in user.api_tokens:
            # Of a browser; what users and their servers have for the API, belongs to no session.
            if token.session_id:
                self.db.delete(token)
        self.db.commit()
