"""Logout that also invalidates copies of the cookie."""

from __future__ import annotations

from jupyterhub import orm
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.user import User

from zhub import audit
from zhub.front import origin


class EverywhereLogoutHandler(LogoutHandler):  # type: ignore[misc] # untyped
    """Ends all of the user's sessions, in all browsers.

    JupyterHub's own handler only asks the browser to delete its cookie. All sessions of a user
    share that cookie, and a copy of it stays valid.
    """

    async def handle_logout(self) -> None:
        """End all sessions of the user who logs out."""
        if self.current_user:
            end_sessions(self.current_user)
            name = self.current_user.name
            audit.report("logout", of=name, user=name, address=origin.address(self))


def end_sessions(user: User) -> None:
    """Invalidate a user's cookie, and the tokens that sessions got for servers."""
    user.orm_user.cookie_id = orm.new_token()
    for token in user.orm_user.api_tokens:
        # A browser's token; API tokens of users and their servers belong to no session.
        if token.session_id:
            user.db.delete(token)
    user.db.commit()
