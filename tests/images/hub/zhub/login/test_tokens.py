"""The limit of a user's logins to a server, in JupyterHub's own database."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from jupyterhub import orm
from jupyterhub.oauth.provider import JupyterHubRequestValidator
from zhub.login import tokens


@pytest.mark.usefixtures("without_migrations")
def test_the_oldest_logins_to_a_server_make_room_for_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "MOST_LOGINS", 3)
    original = JupyterHubRequestValidator.save_bearer_token
    monkeypatch.setattr(JupyterHubRequestValidator, "save_bearer_token", original)
    tokens.forget_old_logins()
    db = orm.new_session_factory("sqlite:///:memory:")()
    people = [orm.User(name=name) for name in ("alice", "bob")]
    clients = [orm.OAuthClient(identifier=f"server-{n}", redirect_uri="/x") for n in (1, 2)]
    db.add_all([*people, *clients])
    db.commit()
    validator = JupyterHubRequestValidator(db)

    def log_in(user: orm.User, client: orm.OAuthClient) -> str:
        text = orm.new_token()
        request = SimpleNamespace(
            user=user,
            client=SimpleNamespace(client_id=client.identifier),
            scopes=[],
            session_id="browser",
        )
        validator.save_bearer_token({"access_token": text, "expires_in": 60}, request)
        return str(text)

    alice, bob = people
    others = [log_in(bob, clients[0]), log_in(alice, clients[1])]
    made = [log_in(alice, clients[0]) for _ in range(5)]
    kept = [text for text in made if orm.APIToken.find(db, text)]
    assert kept == made[2:]
    assert all(orm.APIToken.find(db, text) for text in others)
