"""Ends of sessions that cannot be undone with a copied cookie."""

from __future__ import annotations

from jupyterhub import orm
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.user import User


class EverywhereLogoutHandler(LogoutHandler):  # type: ignore[misc] # untyped
    """Ends all of the user's sessions, in all browsers.

    JupyterHub's own only asks the browser to forget its cookie, which all sessions of a user share
    and which a copy of it outlives.
    """

    async def handle_logout(self) -> None:
        """End the sessions of whoever asks for it."""
        if self.current_user:
            end_sessions(self.current_user)


def end_sessions(user: User) -> None:
    """Give a user another cookie, and take back what sessions were given for servers."""
    user.orm_user.cookie_id = orm.new_token()
    for token in user.orm_user.api_tokens:
        # Of a browser; what users and their servers have for the API, belongs to no session.
        if token.session_id:
            user.db.delete(token)
    user.db.commit()
