"""Limits how long users' tokens live, and how many a user may have."""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.users import UserTokenListAPIHandler
from jupyterhub.oauth.provider import JupyterHubRequestValidator
from jupyterhub.utils import utcnow
from tornado import web

MOST = 50
"""API tokens a user may have; each is a row of the database and may be a forgotten way in."""

MOST_ASKED = 16 << 10
"""Bytes of a request for a token. Its note and scopes are stored and listed: long ones would make
the list so large that a few clients that do not read it take all of the hub's memory."""

CLIENT = "jupyterhub"
"""OAuth client of API tokens; browsers' tokens have the client of the server they are for."""


MOST_LOGINS = 100
"""Logins to one server that a user may have at a time, each from a browser. Each is a token as
well, and a row of lists that the hub builds in its only thread."""


def forget_old_logins() -> None:
    """Make JupyterHub delete a user's oldest logins to a server when there are too many.

    JupyterHub keeps each login for a day, and a program with the user's cookies can log in over and
    over. A browser whose login is deleted logs in to its server again by itself.
    """
    save = JupyterHubRequestValidator.save_bearer_token

    def save_bearer_token(self: Any, token: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        result = save(self, token, *arguments, **options)
        made = orm.APIToken.find(self.db, token["access_token"])
        logins = self.db.query(orm.APIToken).filter(
            orm.APIToken.user_id == made.user_id, orm.APIToken.client_id == made.client_id
        )
        for old in logins.order_by(orm.APIToken.id.desc()).offset(MOST_LOGINS):
            self.db.delete(old)
        self.db.commit()
        return result

    JupyterHubRequestValidator.save_bearer_token = save_bearer_token


class LimitedTokenHandler(UserTokenListAPIHandler):  # type: ignore[misc] # untyped
    """Makes no token that outlives the token that asks for it, and limits their number.

    JupyterHub itself limits the life of each token (`token_expires_in_max_seconds`), but lets a
    token ask for the next one, forever.
    """

    made = ""
    """Which token it has made, for the audit log."""

    async def post(self, user_name: str) -> None:
        """Make a token.

        Raises:
            tornado.web.HTTPError: 413, the request is too long.
        """
        if len(self.request.body) > MOST_ASKED:
            raise web.HTTPError(413, f"Ask for a token in no more than {MOST_ASKED} bytes.")
        await super().post(user_name)

    def token_model(self, token: orm.APIToken) -> dict[str, Any]:
        """Describe a token; apply the limits first to one that has just been made.

        JupyterHub calls this when it has checked who asks, and before it returns the token.

        Raises:
            tornado.web.HTTPError: 409, the user has too many.
        """
        if self.request.method == "POST":
            self._limit(token)
        model: dict[str, Any] = super().token_model(token)
        if self.request.method == "POST":
            self.made = model["id"]
        return model

    def _limit(self, token: orm.APIToken) -> None:
        asked_with = self.get_token()
        if asked_with is not None and asked_with.expires_at is not None:
            ends = asked_with.expires_at
            token.expires_at = min(token.expires_at or ends, ends)
        valid = self.db.query(orm.APIToken).filter(
            orm.APIToken.user_id == token.user_id,
            orm.APIToken.client_id == CLIENT,
            orm.APIToken.expires_at >= utcnow(with_tz=False),
        )
        many = valid.count() > MOST
        if many:
            self.db.delete(token)
        self.db.commit()
        if many:
            raise web.HTTPError(
                409,
                f"There are {MOST} tokens already, as many as a user may have: revoke one first.",
            )
