"""What a removed user keeps, and for how long, in a real JupyterHub."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from zhub.login.tokens import MOST
from zhub.state import logins

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS, SERVICE, SUFFIX, Slapd

pytestmark = pytest.mark.slow

DAY = 86400
PASSWORD = PASSWORDS["bob"]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Slapd]:
    with slapd.running(tmp_path / "slapd") as server:
        yield server


@pytest.fixture
def ldap(directory: Slapd) -> dict[str, Any]:
    """Settings without a service account."""
    return directory.everybody()


@pytest.fixture
def hub(ldap: dict[str, Any], tmp_path: Path) -> Iterator[RealHub]:
    """A hub whose users have logged in with the form before, as tokens require."""
    with real_hub.running(tmp_path / "hub", ldap) as hub:
        for name in ("alice", "bob", "carol"):
            hub.browser(name, PASSWORDS[name])
        yield hub


def sql(hub: RealHub | Path, statement: str, *values: Any) -> list[Any]:
    file = hub if isinstance(hub, Path) else hub.database
    with sqlite3.connect(file, timeout=10) as connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    return found


def a_day_passes(hub: RealHub) -> None:
    """Let the recorded logins age by a day; in these tests the hub checks them every second."""
    sql(hub, "UPDATE zhub_logins SET at = at - ?", logins.COUNTS)
    time.sleep(1.1)


def remove(directory: Slapd, name: str) -> None:
    directory.change(f"dn: uid={name},ou=people,{SUFFIX}\nchangetype: delete\n\n")


def test_a_day_after_the_last_login_nothing_of_a_removed_user_works(
    hub: RealHub, directory: Slapd
) -> None:
    token = hub.token("bob", PASSWORD).json()["token"]
    browser = hub.browser("bob", PASSWORD)
    carols = hub.token("carol", PASSWORDS["carol"]).json()["token"]
    assert hub.api("POST", "users/bob/server", token).status_code in {201, 202}
    servers = (hub.folder / "server-token").read_text()

    # All of it works before, or the rest would prove nothing.
    def tries() -> list[int]:
        page = browser.get(f"{hub.url}hub/token", allow_redirects=False, timeout=30)
        return [
            hub.api("GET", "user", token).status_code,
            hub.api("POST", "users/bob/tokens", token).status_code,
            page.status_code,
            hub.api("GET", "user", servers).status_code,
            hub.api("GET", "users", carols).status_code,
        ]

    assert tries() == [200, 201, 200, 200, 200]
    remove(directory, "bob")
    remove(directory, "carol")
    a_day_passes(hub)
    assert tries() == [403, 403, 302, 403, 403]
    assert hub.token("bob", PASSWORD).status_code == 403
    assert hub.api("DELETE", "users/bob/server", token).status_code == 403


def test_nothing_of_the_person_before_works_after_a_name_was_given_away(
    directory: Slapd, tmp_path: Path
) -> None:
    """Between two looks, so that the directory knows the name at each of them."""
    secret = tmp_path / "password"
    secret.write_text(slapd.SERVICE_PASSWORD)
    service = {"bind_dn": SERVICE, "bind_password_file": secret, "search_base": SUFFIX}
    with real_hub.running(tmp_path / "hub", directory.everybody() | service) as hub:
        browser = hub.browser("bob", PASSWORD)
        token = hub.token("bob", PASSWORD).json()["token"]
        carols = hub.token("carol", PASSWORDS["carol"]).json()["token"]
        assert hub.api("POST", "users/bob/server", token).status_code in {201, 202}
        servers = (hub.folder / "server-token").read_text()

        def tries() -> list[int]:
            page = browser.get(f"{hub.url}hub/token", allow_redirects=False, timeout=30)
            return [
                hub.api("GET", "user", token).status_code,
                page.status_code,
                hub.api("GET", "user", servers).status_code,
            ]

        assert tries() == [200, 200, 200]
        remove(directory, "bob")
        directory.change(slapd.person("bob"))
        time.sleep(1.1)
        assert tries() == [403, 302, 403]
        assert hub.api("DELETE", "users/bob/server", carols).status_code in {202, 204}
        assert hub.api("POST", "users/bob/server", carols).status_code == 403
        # The new person: with the right password.
        assert hub.token("bob", PASSWORD).status_code == 403
        assert "is not the entry that bob was before (entryuuid:" in hub.log
        directory.stop()
    # The session has ended, also for a hub that cannot ask anybody.
    with real_hub.running(tmp_path / "hub", directory.everybody() | service) as hub:
        page = browser.get(f"{hub.url}hub/token", allow_redirects=False, timeout=30)
        assert page.status_code == 302


def test_activity_does_not_change_the_last_login(hub: RealHub) -> None:
    token = hub.token("bob", PASSWORD).json()["token"]
    browser = hub.browser("bob", PASSWORD)
    last = "SELECT at FROM zhub_logins WHERE name = 'bob'"
    [(at,)] = sql(hub, last)
    time.sleep(1.1)
    hub.api("POST", "users/bob/tokens", token)
    now = datetime.now(UTC).isoformat()
    hub.api("POST", "users/bob/activity", token, json={"last_activity": now})
    browser.get(f"{hub.url}hub/token", timeout=30)
    browser.get(f"{hub.url}hub/login", timeout=30)
    assert requests.get(f"{hub.url}hub/login", timeout=30).ok
    assert hub.token("bob", "wrong").status_code == 403
    assert sql(hub, last) == [(at,)]
    hub.browser("bob", PASSWORD)
    [(later,)] = sql(hub, last)
    assert later > at


def test_a_new_login_keeps_the_server_and_the_token(hub: RealHub) -> None:
    token = hub.token("bob", PASSWORD).json()["token"]
    assert hub.api("POST", "users/bob/server", token).status_code in {201, 202}
    sql(hub, "UPDATE zhub_logins SET at = at - ?", logins.COUNTS - 30)
    hub.browser("bob", PASSWORD)
    sql(hub, "UPDATE zhub_logins SET at = at - ?", logins.COUNTS - 30)
    time.sleep(1.1)
    user = hub.api("GET", "users/bob", token).json()
    assert user["servers"][""]["ready"]
    # The token works again after a day without a login: it is the same user.
    a_day_passes(hub)
    assert hub.api("GET", "user", token).status_code == 403
    hub.browser("bob", PASSWORD)
    assert hub.api("GET", "user", token).status_code == 200


def test_tokens_expire_and_cannot_be_endless(hub: RealHub) -> None:
    def made(**wishes: Any) -> Any:
        answer = hub.token("bob", PASSWORD, **wishes)
        return answer.json().get("expires_at") if answer.ok else answer.status_code

    def left(ends: str) -> timedelta:
        return datetime.fromisoformat(ends) - datetime.now(UTC)

    assert timedelta(hours=23) < left(made()) <= timedelta(days=1)
    assert timedelta(hours=23) < left(made(expires_in=None)) <= timedelta(days=1)
    assert left(made(expires_in=60)) <= timedelta(minutes=1)
    for wish in (DAY + 1, 0, -1, False, 10**30, 1e9, "never", [1]):
        assert made(expires_in=wish) == 400, wish
    assert sql(hub, "SELECT * FROM api_tokens WHERE user_id NOT NULL AND expires_at IS NULL") == []
    page = hub.browser("bob", PASSWORD).get(f"{hub.url}hub/token", timeout=30).text
    assert "1 Day" in page
    assert ">Never</option>" not in page
    assert "1 Week" not in page


def test_a_token_makes_no_token_that_outlives_it(hub: RealHub) -> None:
    first = hub.token("bob", PASSWORD, expires_in=600).json()
    ends = []
    token = first["token"]
    for wish in ({}, {"expires_in": DAY}, {"expires_in": 60}):
        made = hub.api("POST", "users/bob/tokens", token, json=wish).json()
        ends.append(datetime.fromisoformat(made["expires_at"]))
        token = made["token"]
    assert max(ends) == ends[0] == ends[1] == datetime.fromisoformat(first["expires_at"])
    # The same for an administrator's token that asks for another user.
    admins = hub.token("carol", PASSWORDS["carol"], expires_in=60).json()
    made = hub.api("POST", "users/bob/tokens", admins["token"]).json()
    assert made["expires_at"] == admins["expires_at"]


def test_the_number_of_a_users_tokens_is_limited(hub: RealHub) -> None:
    tokens = [hub.token("bob", PASSWORD).json() for _ in range(MOST)]
    refused = hub.token("bob", PASSWORD)
    assert refused.status_code == 409
    assert refused.json()["message"].startswith(f"There are {MOST} tokens already")
    assert len(hub.api("GET", "users/bob/tokens", tokens[0]["token"]).json()["api_tokens"]) == MOST
    # Other users have their own limit, strangers learn nothing, and revoking one makes room.
    carol = hub.token("carol", PASSWORDS["carol"])
    assert carol.status_code == 201
    alices = hub.token("alice", PASSWORDS["alice"]).json()["token"]
    assert hub.api("POST", "users/bob/tokens", alices).status_code == 403
    hub.api("DELETE", f"users/bob/tokens/{tokens[0]['id']}", tokens[1]["token"])
    assert hub.token("bob", PASSWORD).status_code == 201


@pytest.mark.parametrize(
    "long", [{"note": "x" * 20_000}, {"scopes": ["access:servers!server=bob/" + "x" * 20_000]}]
)
def test_a_token_with_long_texts_is_refused(hub: RealHub, long: dict[str, Any]) -> None:
    """All of a user's tokens are in one answer, which can be requested many times at once."""
    assert hub.token("bob", PASSWORD, **long).status_code == 413
    token = hub.token("bob", PASSWORD, note="x" * 100).json()["token"]
    assert hub.api("POST", "users/bob/tokens", token, json=long).status_code == 413
    assert len(hub.api("GET", "users/bob/tokens", token).json()["api_tokens"]) == 1


def test_a_user_deleted_and_created_again_has_to_log_in(hub: RealHub) -> None:
    hub.token("bob", PASSWORD)
    carols = hub.token("carol", PASSWORDS["carol"]).json()["token"]
    assert hub.api("DELETE", "users/bob", carols).status_code == 204
    assert hub.api("POST", "users/bob", carols).status_code == 201
    assert sql(hub, "SELECT at FROM zhub_logins WHERE name = 'bob'") == []
    assert hub.api("POST", "users/bob/server", carols).status_code == 403


def test_a_restarted_hub_knows_the_last_login(ldap: dict[str, Any], tmp_path: Path) -> None:
    with real_hub.running(tmp_path / "hub", ldap) as hub:
        hub.browser("bob", PASSWORD)
        token = hub.token("bob", PASSWORD).json()["token"]
        a_day_passes(hub)
    with real_hub.running(tmp_path / "hub", ldap) as hub:
        assert hub.api("GET", "user", token).status_code == 403
