"""An administrator of the hub tries to get into a user's server, which is refused by default."""

from __future__ import annotations

from typing import Any

import pytest

from tests.built import wait_until
from tests.engine.attacks.conftest import Tenant
from tests.engine.attacks.test_sessions import REFUSED, with_token
from tests.engine.people import Entrance
from tests.hubclient import User

pytestmark = pytest.mark.engine

ALICE = "hub/api/users/alice"

#: Attempts to get a server, a token, a share, another user's name, or an accomplice with these.
WAYS_IN: list[tuple[str, str, Any]] = [
    ("GET", "user/alice/api/status", None),
    ("GET", "user/alice/api/contents", None),
    ("POST", "user/alice/api/kernels", None),
    ("POST", f"{ALICE}/admin-access", None),
    ("GET", f"{ALICE}/tokens", None),
    ("POST", f"{ALICE}/tokens", {"note": "mine"}),
    ("POST", f"{ALICE}/tokens", {"scopes": ["access:servers!user=alice"]}),
    ("POST", "hub/api/users/grace/tokens", {"scopes": ["access:servers"]}),
    ("POST", "hub/api/users/grace/tokens", {"scopes": ["access:servers!user=alice"]}),
    ("POST", "hub/api/users/grace/tokens", {"scopes": ["shares", "tokens", "admin:users"]}),
    ("POST", "hub/api/shares/alice/", {"user": "grace"}),
    ("GET", "hub/api/shares/alice/", None),
    ("POST", "hub/api/share-codes/alice/", {}),
    ("PATCH", ALICE, {"name": "somebody"}),
    ("PATCH", ALICE, {"admin": True}),
    ("PATCH", "hub/api/users/grace", {"name": "somebody"}),
    ("POST", "hub/api/users", {"usernames": ["somebody"], "admin": True}),
    ("POST", "hub/api/users/somebody", {"admin": True}),
    ("POST", "hub/api/services/way-in", {"api_token": "x" * 40, "admin": True}),
    ("PATCH", "hub/api/proxy", {"api_url": "http://192.0.2.1:8001"}),
]


@pytest.fixture(scope="module")
def grace(entrance: Entrance) -> User:
    """The hub's administrator."""
    return entrance.logged_in("grace")


def test_an_administrator_gets_into_no_users_server(grace: User, alice: Tenant) -> None:
    # Administrators may administer.
    users = {user["name"]: user for user in grace.request("GET", "hub/api/users").json()}
    assert users["alice"]["servers"][""]["ready"]
    assert grace.request("GET", "hub/admin").status_code == 200
    assert users["grace"]["admin"]

    for method, path, body in WAYS_IN:
        # With redirects: the login to the server on the way must end in a refusal as well.
        answer = grace.request(method, path, json=body)
        assert answer.status_code in {400, *REFUSED}, (method, path, body, answer.text[:300])
    assert grace.request("GET", "user/alice/lab").status_code == 403
    assert grace.request("GET", "hub/spawn/alice").status_code in {403, 404}
    model = grace.request("GET", ALICE).json()
    assert not model.get("auth_state")
    assert not model["servers"][""].get("state")
    # Alice herself can log in to it.
    assert alice.user.request("GET", "user/alice/api/status").status_code == 200


def test_an_administrators_scopes_give_no_access(grace: User, alice: Tenant) -> None:
    made = grace.request("POST", "hub/api/users/grace/tokens", json={"note": "all I have"})
    ask = with_token(grace, made.json()["token"])
    assert ask("GET", ALICE).status_code == 200
    group = "hub/api/groups/of-grace"
    assert ask("POST", group).status_code == 201
    try:
        for name in ("grace", "alice"):
            joined = grace.request("POST", f"{group}/users", json={"users": [name]})
            assert joined.status_code == 200, joined.text
        for method, path in (("GET", "user/alice/api/status"), ("POST", f"{ALICE}/tokens")):
            assert ask(method, path).status_code in REFUSED, (method, path)
            assert grace.request(method, path).status_code in REFUSED, (method, path)
    finally:
        assert ask("DELETE", group).status_code == 204
    assert alice.user.request("GET", "user/alice/api/status").status_code == 200


def test_an_administrator_starts_and_stops_servers_without_getting_in(
    grace: User, entrance: Entrance
) -> None:
    carol = entrance.logged_in("carol")
    if carol.server():
        carol.stop_server()
    grace.request("POST", "hub/api/users/carol/server").raise_for_status()
    wait_until(lambda: bool(carol.server().get("ready")), seconds=300)
    carol.open_lab()
    assert grace.request("GET", "user/carol/api/status").status_code == 403
    grace.request("DELETE", "hub/api/users/carol/server").raise_for_status()
    wait_until(lambda: not carol.server(), seconds=120)
