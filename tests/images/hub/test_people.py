"""What operators do with users, against a real JupyterHub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError

import pytest
from zhub import people
from zhub.api import Api
from zhub.people import command, service
from zhub.people.servers import Server
from zhub.settings import SettingsError
from zhub.state import database, plan
from zhub.state.plan import Action, Plan

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

TOKEN = "of-the-service-people"
CONFIG = f"""
c.JupyterHub.services = [{{"name": "people", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [
    {{"name": "people", "services": ["people"], "scopes": {list(people.SCOPES)}}}
]
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub in which alice and bob have logged in."""
    folder = tmp_path_factory.mktemp("people")
    with slapd.running(folder / "slapd") as server:
        ldap = server.everybody()
        with real_hub.running(folder / "hub", ldap, more=CONFIG) as hub:
            for name in ("alice", "bob"):
                hub.browser(name, PASSWORDS[name])
            yield hub


@pytest.fixture
def api(hub: RealHub, tmp_path: Path) -> Api:
    """The hub's API, as a command in the hub's container finds it."""
    file = tmp_path / "entrance"
    kept = {"JUPYTERHUB_API_URL": f"{hub.url}hub/api", "JUPYTERHUB_API_TOKEN": TOKEN}
    service.leave_entrance({**kept, "OTHER": "secret"}, file)
    assert json.loads(file.read_text()) == kept
    assert file.stat().st_mode & 0o777 == 0o600
    return service.entrance(file)


def servers(api: Api) -> list[str]:
    return [server.user for server in api.servers()]


def eventually(api: Api, wanted: list[str]) -> None:
    end = time.monotonic() + 30
    while servers(api) != wanted:
        assert time.monotonic() < end, servers(api)
        time.sleep(0.1)


def test_users_and_their_records(api: Api, hub: RealHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FILE", hub.database)
    assert {user["name"] for user in api.users()} >= {"alice", "bob"}
    assert hub.token("alice", PASSWORDS["alice"], note="for a script").ok
    record = command.record(api, "alice")
    assert record["user"]["name"] == "alice"
    assert [token["note"] for token in record["tokens"]][-1] == "for a script"
    assert "token" not in record["tokens"][-1]
    assert abs(record["last_login"] - time.time()) < 600
    with pytest.raises(SettingsError, match="does not know a user nobody"):
        command.record(api, "nobody")


def test_a_plan_waits_for_its_time_and_stops_all(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    api.start("alice")
    eventually(api, ["alice"])
    plan.write(Plan(Action.STOP, time.time() + 600), file)
    service.carry_out(api, dict, file)
    assert servers(api) == ["alice"]
    plan.write(Plan(Action.STOP, time.time()), file)
    service.carry_out(api, dict, file)
    eventually(api, [])
    service.carry_out(api, dict, file)
    done = plan.read(file)
    assert done is not None
    assert done.done
    assert plan.closed(file)


def test_only_servers_of_an_old_image_are_restarted(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    api.start("bob")
    eventually(api, ["bob"])
    plan.write(Plan(Action.RENEW, 1), file)
    started = api.user("bob")["servers"][""]["started"]
    new = {"bob": Server("b", 1, old=False), "gone": Server("g", 1, old=True)}
    service.carry_out(api, lambda: new, file)
    assert plan.read(file) is None
    assert api.user("bob")["servers"][""]["started"] == started
    plan.write(Plan(Action.RENEW, 1), file)
    found = iter([{"bob": Server("b", 1, old=True)}, new])
    service.carry_out(api, lambda: next(found), file, pause=0.1)
    assert plan.read(file) is None
    eventually(api, ["bob"])
    assert api.user("bob")["servers"][""]["started"] != started
    api.stop("bob")


def test_a_forgotten_user_has_no_token_any_more(api: Api, hub: RealHub) -> None:
    token = hub.token("alice", PASSWORDS["alice"]).json()["token"]
    assert hub.api("GET", "user", token).ok
    assert command.forget(api, "alice")
    assert hub.api("GET", "user", token).status_code == HTTPStatus.FORBIDDEN
    assert not command.forget(api, "alice")


def test_the_service_cannot_get_into_servers_or_make_tokens(api: Api, hub: RealHub) -> None:
    made = hub.api("POST", "users/bob/tokens", TOKEN)
    assert made.status_code in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    assert hub.api("POST", "users/eve", TOKEN).status_code == HTTPStatus.FORBIDDEN
    with pytest.raises(HTTPError):
        api.stop("nobody")


def test_without_a_hub_there_is_no_entrance(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the hub starts, or this is not its container"):
        service.entrance(tmp_path / "none")
