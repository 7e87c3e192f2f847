"""What administrators of the hub may do, by JupyterHub's own evaluation of roles."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import orm, roles
from jupyterhub.scopes import get_scopes_for
from zhub.login import administrators

pytestmark = pytest.mark.usefixtures("without_migrations")

WAYS_IN = ("access:servers", "access:services", "tokens", "shares", "users:shares", "admin:users")


@pytest.fixture
def database() -> Iterator[Any]:
    """A hub's database as JupyterHub creates it, with an administrator and a user."""
    session = orm.new_session_factory("sqlite:///:memory:")()
    for role in roles.get_default_roles():
        roles.create_role(session, role)
    # The OAuth client of users' own tokens; the hub adds it at each start.
    session.add(orm.OAuthClient(identifier="jupyterhub"))
    for name in ("grace", "alice"):
        user = orm.User(name=name, admin=name == "grace")
        session.add(user)
        session.commit()
        roles.assign_default_roles(session, user)
    yield session
    session.close()


def everybodys(scopes: frozenset[str]) -> set[str]:
    """Return the scopes that are not limited to the user's own resources."""
    return {scope for scope in scopes if "!user=grace" not in scope}


def test_administrators_of_an_older_hub_are_kept_out(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = orm.User.find(database, "grace")
    grace.new_api_token(token="of grace", scopes=["access:servers", "tokens", "list:users"])
    grace.new_api_token(token="all of grace")
    tokens = [orm.APIToken.find(database, token) for token in ("of grace", "all of grace")]
    assert set(WAYS_IN) <= everybodys(get_scopes_for(grace))
    assert "access:servers" in get_scopes_for(tokens[0])

    monkeypatch.setattr(roles, "get_default_roles", roles.get_default_roles)
    administrators.keep_out()
    for role in roles.get_default_roles():
        roles.create_role(database, role)
    for owner in (grace, *tokens):
        found = everybodys(get_scopes_for(owner))
        assert not [s for s in found if s.partition("!")[0] in WAYS_IN], found
    assert {"servers", "list:users", "groups", "delete:users", "admin-ui"} <= get_scopes_for(grace)
    assert "access:servers!user=grace" in get_scopes_for(grace)
    assert "list:users" in get_scopes_for(tokens[0])


def test_earlier_shares_are_deleted(tmp_path: Path) -> None:
    file = tmp_path / "jupyterhub.sqlite"
    administrators.forget_shares(file)
    assert not file.exists()

    session = orm.new_session_factory(f"sqlite:///{file}")()
    alice, grace = (orm.User(name=name) for name in ("alice", "grace"))
    spawner = orm.Spawner(name="", user=alice)
    session.add_all([alice, grace, spawner])
    session.commit()
    orm.Share.grant(session, spawner, grace, scopes=["access:servers!server=alice/"])
    session.close()

    def shares() -> int:
        with sqlite3.connect(file) as connection:
            return int(connection.execute("SELECT count(*) FROM shares").fetchone()[0])

    assert shares() == 1
    administrators.forget_shares(file)
    assert shares() == 0
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
