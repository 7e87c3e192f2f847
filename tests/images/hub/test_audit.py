"""What a real JupyterHub reports for the audit log: a test for each kind of line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from zhub.audit import SHARE
from zhub.contract import AUDITED
from zhub.guard.audit import Audit

from tests.built import wait_until
from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

#: As zhub/__main__.py and zhub/jupyterhub_config.py do it; a file stands for the guard. Carol is an
#: administrator, who may open servers.
MORE = """
    import json
    from zhub import acts, audit

    def send(events):
        with open(FOLDER / "reports", "a") as file:
            file.writelines(json.dumps(event) + "\\n" for event in events)

    audit.begin(send)
    c.JupyterHub.tornado_settings = {"log_function": acts.log_request}
    c.JupyterHub.load_roles = [
        {"name": "opens-servers", "scopes": ["access:servers", "admin:groups"], "users": ["carol"]},
        {"name": "class-start", "scopes": ["servers"], "services": ["class-start"]},
    ]
    c.JupyterHub.services = [
        {"name": name, "api_token": f"token-of-{name}"} for name in ("class-start", "metrics")
    ]
"""

HERE = "127.0.0.1"


class Hub:
    """A hub and what it has reported."""

    def __init__(self, real: RealHub) -> None:
        self.real = real
        self._seen = 0

    def reported(self, count: int) -> list[dict[str, Any]]:
        """The next events, of which there must be so many; the guard would take each of them."""
        file = self.real.folder / "reports"
        wait_until(lambda: file.exists() and len(self._all()) >= self._seen + count, seconds=10)
        found = self._all()[self._seen :]
        self._seen += len(found)
        Audit(self.real.folder).reported(found)
        for event in found:
            assert event.keys() == {"event", "at", *AUDITED[event["event"]]}
            del event["at"]
        assert len(found) == count, found
        return found

    def unseen(self, kind: str) -> list[dict[str, Any]]:
        """The next events of one kind, which stay the next."""
        return [event for event in self._all()[self._seen :] if event["event"] == kind]

    def _all(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.real.folder / "reports").read_text().splitlines()
        ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as directory:
        ldap = directory.everybody()
        with real_hub.running(tmp_path_factory.mktemp("hub"), ldap, more=MORE) as real:
            yield Hub(real)


@pytest.fixture
def token(hub: Hub) -> str:
    """A token of bob's, made with the password."""
    found: str = hub.real.token("bob", PASSWORDS["bob"]).json()["token"]
    login, made = hub.reported(2)
    assert login == {"event": "login", "user": "bob", "address": HERE, "outcome": "success"}
    assert made.pop("token")
    assert made == {
        "event": "token.make",
        "user": "bob",
        "actor": "bob",
        "address": HERE,
        "status": 201,
    }
    return found


def test_logins_with_their_outcomes_and_logouts(hub: Hub) -> None:
    browser = hub.real.browser("bob", PASSWORDS["bob"])
    browser.get(f"{hub.real.url}hub/logout", timeout=30)
    assert hub.reported(2) == [
        {"event": "login", "user": "bob", "address": HERE, "outcome": "success"},
        {"event": "logout", "user": "bob", "address": HERE},
    ]
    for name, outcome in (("bob", "refused"), ("b\nob", "invalid")):
        hub.real.token(name.replace("\n", "%0A"), "wrong")
        requests.post(
            f"{hub.real.url}hub/api/users/bob/tokens",
            json={"auth": {"username": name, "password": "wrong"}},
            timeout=30,
        )
        found = [event for event in hub.reported(4) if event["event"] == "login"]
        # What cannot be a name may be a password.
        user = name if outcome == "refused" else ""
        assert found[-1] == {"event": "login", "user": user, "address": HERE, "outcome": outcome}


def test_the_use_of_the_token_of_a_service_that_is_not_the_hubs_own(hub: Hub) -> None:
    for name in ("metrics", "class-start", "class-start"):
        assert hub.real.api("GET", "user", f"token-of-{name}").status_code == 200
    used = {"event": "token.use", "user": "service class-start", "address": HERE, "token": ""}
    assert hub.reported(1) == [used]
    hub.real.api("DELETE", "users/bob/server", "token-of-class-start")
    [stop] = hub.reported(1)
    assert (stop["event"], stop["actor"]) == ("server.stop", "service class-start")


def test_the_use_of_a_token_once_an_hour(hub: Hub, token: str) -> None:
    for _ in range(3):
        assert hub.real.api("GET", "user", token).status_code == 200
    [used] = hub.reported(1)
    [known] = [
        one
        for one in hub.real.api("GET", "users/bob/tokens", token).json()["api_tokens"]
        if one["id"] == used["token"]
    ]
    assert known["user"] == "bob"
    assert (used["event"], used["user"], used["address"]) == ("token.use", "bob", HERE)


def test_a_token_that_is_not_valid(hub: Hub) -> None:
    for _ in range(3):
        assert hub.real.api("GET", "user", "0" * 32).status_code == 403
    assert hub.reported(1) == [{"event": "token.refuse", "address": HERE}]


def test_a_token_that_is_taken_back(hub: Hub, token: str) -> None:
    name = hub.real.api("GET", "users/bob/tokens", token).json()["api_tokens"][-1]["id"]
    assert hub.real.api("DELETE", f"users/bob/tokens/{name}", token).status_code == 204
    used, revoked = hub.reported(2)
    assert used["event"] == "token.use"
    assert revoked == {
        "event": "token.revoke",
        "user": "bob",
        "actor": "bob",
        "address": HERE,
        "status": 204,
        "token": name,
    }


def test_who_stops_whose_server(hub: Hub, token: str) -> None:
    assert hub.real.api("POST", "users/bob/server", token).status_code in {201, 202}
    assert hub.real.api("DELETE", "users/bob/server", token).status_code in {202, 204}
    own = (hub.real.folder / "server-token").read_text()
    hub.real.api("POST", "users/bob/activity", own, json={"last_activity": "2027-01-01T00:00Z"})
    used, stopped = hub.reported(2)
    assert used["event"] == "token.use"
    assert stopped.pop("status") in {202, 204}
    assert stopped == {"event": "server.stop", "user": "bob", "actor": "bob", "address": HERE}


def test_an_administrators_acts(hub: Hub) -> None:
    carol = hub.real.token("carol", PASSWORDS["carol"]).json()["token"]
    hub.reported(2)
    assert hub.real.api("POST", "groups/team", carol).status_code == 201
    used, made = hub.reported(2)
    assert used["user"] == "carol"
    assert made == {
        "event": "admin",
        "actor": "carol",
        "address": HERE,
        "method": "POST",
        "path": "groups/team",
        "status": 201,
    }


def test_what_somebody_may_not_do_is_reported_too(hub: Hub, token: str) -> None:
    assert hub.real.api("DELETE", "users/carol", token).status_code in {403, 404}
    used, refused = hub.reported(2)
    assert used["event"] == "token.use"
    assert (refused["event"], refused["actor"], refused["path"]) == ("admin", "bob", "users/carol")
    assert refused["status"] in {403, 404}


def test_a_start_that_is_refused_and_a_change_of_what_the_next_one_gets(
    hub: Hub, token: str
) -> None:
    assert hub.real.api("POST", "users/carol/server", token).status_code in {403, 404}
    assert hub.real.api("POST", "users/bob/server", token).status_code in {201, 202}
    assert hub.real.api("POST", "users/bob/server", token).status_code == 400, "it runs already"
    hub.real.api("PATCH", "users/bob/servers/", token, json={"user_options": {}})
    used, *acts = hub.reported(4)
    assert used["event"] == "token.use"
    assert {(act["event"], act["actor"]) for act in acts} == {("admin", "bob")}
    assert [(act["method"], act["path"]) for act in acts] == [
        ("POST", "users/carol/server"),
        ("POST", "users/bob/server"),
        ("PATCH", "users/bob/servers/"),
    ]
    hub.real.api("DELETE", "users/bob/server", token)
    hub.reported(1)


def test_an_administrator_enters_a_users_server(hub: Hub, token: str) -> None:
    assert hub.real.api("POST", "users/bob/server", token).status_code in {201, 202}
    hub.reported(1)
    browser = hub.real.browser("carol", PASSWORDS["carol"])
    hub.reported(1)
    ask = {
        "client_id": "jupyterhub-user-bob",
        "redirect_uri": "/user/bob/oauth_callback",
        "response_type": "code",
    }
    url = f"{hub.real.url}hub/api/oauth2/authorize"
    page = browser.get(url, params=ask, allow_redirects=False, timeout=30)
    if page.status_code == 200:
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert xsrf
        page = browser.post(
            url,
            params=ask,
            data={"_xsrf": xsrf[1], "scopes": "access:servers!server=bob/"},
            headers={"Referer": page.url},
            allow_redirects=False,
            timeout=30,
        )
    assert page.status_code == 302, page.text
    assert hub.reported(1) == [
        {"event": "server.enter", "user": "bob", "actor": "carol", "address": HERE}
    ]
    hub.real.api("DELETE", "users/bob/server", token)
    hub.reported(1)


def test_pages_and_looks_are_no_acts(hub: Hub) -> None:
    browser = hub.real.browser("bob", PASSWORDS["bob"])
    for page in ("home", "token", "api/user"):
        browser.get(f"{hub.real.url}hub/{page}", timeout=30)
    requests.post(f"{hub.real.url}hub/api/authorizations/token/s3cret", timeout=30)
    browser.get(f"{hub.real.url}hub/logout", timeout=30)
    assert [event["event"] for event in hub.reported(2)] == ["login", "logout"]


def test_a_stranger_who_asks_without_end_does_not_hide_what_others_do(hub: Hub) -> None:
    with requests.Session() as stranger:
        for _ in range(SHARE[0] + 50):
            stranger.post(f"{hub.real.url}hub/api/groups/x", timeout=30)
    hub.real.token("bob", PASSWORDS["bob"])
    wait_until(lambda: bool(hub.unseen("login")), seconds=10)
    assert len(hub.unseen("admin")) <= SHARE[0] + 10
    assert [event["user"] for event in hub.unseen("login")] == ["bob"]
