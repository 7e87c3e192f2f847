"""What operators do with users, against a real JupyterHub."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from argparse import Namespace
from collections.abc import Iterator
from html import unescape
from http import HTTPStatus
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import requests
from zhub import people
from zhub.api import Api
from zhub.people import command, service
from zhub.people.servers import Server
from zhub.people.service import Planned
from zhub.settings import SettingsError
from zhub.state import database, messages, plan
from zhub.state.plan import Action, Plan
from zsingleuser.messages import Messages

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

TOKEN = "of-the-service-people"
CONFIG = f"""
from zhub.front import site
from zhub.people import messages
from zhub.servers import totals
from zhub.state import messages as said
said.FILE = FOLDER / "messages.json"
c.JupyterHub.extra_handlers = messages.HANDLERS
c.JupyterHub.template_paths = [str(site.TEMPLATES)]
c.JupyterHub.template_vars = {{
    "messages": messages.of, "site": site.Site(), "totals": totals.shown(500)
}}
c.JupyterHub.services = [{{"name": "people", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [
    {{"name": "people", "services": ["people"], "scopes": {list(people.SCOPES)}}}
]
class Slow(StandIn):
    async def start(self):
        while (FOLDER / "slow").exists():
            await asyncio.sleep(0.1)
        return await super().start()
c.JupyterHub.spawner_class = Slow
c.Spawner.start_timeout = 300
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
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


@pytest.fixture
def _said(hub: RealHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Messages where the hub reads them, and none afterwards."""
    monkeypatch.setattr(messages, "FILE", hub.folder / "messages.json")
    monkeypatch.setattr(database, "FILE", hub.database)
    yield
    messages.FILE.unlink(missing_ok=True)


def page(hub: RealHub, name: str, path: str = "home") -> str:
    """Return what one of the hub's pages shows to somebody who is logged in."""
    answer = hub.browser(name, PASSWORDS[name]).get(f"{hub.url}hub/{path}", timeout=30)
    answer.raise_for_status()
    return answer.text


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
    Planned(api, dict, file).carry_out()
    assert servers(api) == ["alice"]
    plan.write(Plan(Action.STOP, time.time()), file)
    Planned(api, dict, file).carry_out()
    eventually(api, [])
    Planned(api, dict, file).carry_out()
    done = plan.read(file)
    assert done is not None
    assert done.done
    assert plan.closed(file)


def test_one_server_is_stopped(api: Api) -> None:
    with pytest.raises(SettingsError, match="no server of alice runs"):
        command.stop(api, "alice")
    api.start("alice")
    eventually(api, ["alice"])
    command.stop(api, "alice", pause=0.1)
    assert servers(api) == []
    with pytest.raises(SettingsError, match="does not know a user nobody"):
        command.stop(api, "nobody")


def test_administrators_see_how_many_servers_there_are(api: Api, hub: RealHub) -> None:
    assert "0 of 500 servers run or start." in page(hub, "carol", "admin")
    api.start("alice")
    eventually(api, ["alice"])
    assert "1 of 500 servers run or start." in page(hub, "carol", "admin")
    assert "of 500" not in page(hub, "alice")
    api.stop("alice")
    eventually(api, [])


def test_only_servers_of_an_old_image_are_restarted(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    api.start("bob")
    eventually(api, ["bob"])
    plan.write(Plan(Action.RENEW, 1), file)
    started = api.user("bob")["servers"][""]["started"]
    new = {"bob": Server("b", 1, old=False), "gone": Server("g", 1, old=True)}
    Planned(api, lambda: new, file).carry_out()
    assert plan.read(file) is None
    assert api.user("bob")["servers"][""]["started"] == started
    plan.write(Plan(Action.RENEW, 1), file)
    found = iter([{"bob": Server("b", 1, old=True)}, new])
    Planned(api, lambda: next(found), file, pause=0.1).carry_out()
    assert plan.read(file) is None
    eventually(api, ["bob"])
    assert api.user("bob")["servers"][""]["started"] != started
    api.stop("bob")


@pytest.mark.usefixtures("_said")
def test_a_message_is_shown_to_its_user_until_it_is_removed(api: Api, hub: RealHub) -> None:
    command.message(api, "alice", "Your home is full.", None)
    command.message(api, "", "New disks on Friday: https://status.example.com", time.time() + 600)
    alice, bob = page(hub, "alice"), page(hub, "bob")
    assert "Your home is full." in alice
    assert "Your home is full." not in bob
    for each in (alice, bob):
        assert 'href="https://status.example.com"' in each
    login = requests.get(f"{hub.url}hub/login", timeout=30).text
    assert "New disks" not in login
    assert "zhub-messages" not in login
    assert command.record(api, "alice")["message"]["text"] == "Your home is full."
    command.message(api, "alice", "", None)
    assert "Your home is full." not in page(hub, "alice")
    assert "New disks" in page(hub, "alice")
    with pytest.raises(SettingsError, match="there is none for alice"):
        command.message(api, "alice", " ", None)


@pytest.mark.usefixtures("_said")
def test_no_message_becomes_code(api: Api, hub: RealHub) -> None:
    evil = '<script>alert(1)</script><b onclick="x">{{ 7 * 7 }}</b> javascript:alert(2)'
    command.message(api, "alice", evil, None)
    shown = page(hub, "alice")
    assert "<script>alert" not in shown
    assert "<b onclick" not in shown
    assert 'href="javascript:' not in shown
    assert evil in unescape(shown)


#: Runs the script of the hub's page, whose messages have these ids, and dismisses the first; then
#: the script of the next page, and of one where something else is kept.
BROWSER = """
const kept = {};
const window = { localStorage: {
  getItem: (key) => kept[key] ?? null, setItem: (key, text) => (kept[key] = text),
} };
const seen = [];
const page = (ids, dismiss) => {
  const shown = ids.map((id) => ({ dataset: { message: id }, hidden: false }));
  for (const each of shown) {
    each.querySelector = () => ({ addEventListener: (_, click) => (each.click = click) });
  }
  new Function("window", "document", SCRIPT)(window, { querySelectorAll: () => shown });
  if (dismiss) shown[0].click();
  seen.push(shown.map((each) => each.hidden));
};
page(IDS, true);
page(IDS, false);
kept["zhub-messages"] = "5";
page(IDS, false);
console.log(JSON.stringify(seen));
"""


@pytest.mark.usefixtures("_said")
def test_a_message_that_was_dismissed_is_not_shown_again(api: Api, hub: RealHub) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("no node: apt-get install nodejs")
    command.message(api, "alice", "One.", None)
    command.message(api, "", "Two.", None)
    shown = page(hub, "alice")
    ids = re.findall('data-message="([^"]+)"', shown)
    assert [one.partition(":")[0] for one in ids] == ["alice", "alice"]
    [script] = [
        one for one in re.findall("<script>(.*?)</script>", shown, re.DOTALL) if "zhub-" in one
    ]
    said = BROWSER.replace("SCRIPT", json.dumps(script)).replace("IDS", json.dumps(ids))
    printed = subprocess.check_output([node, "-"], input=said, text=True, timeout=60)
    assert json.loads(printed) == [[True, False], [True, False], [False, False]]


@pytest.mark.usefixtures("_said")
def test_what_cannot_be_said_changes_nothing(api: Api) -> None:
    command.message(api, "alice", "Hello.", None)
    before = messages.FILE.read_bytes()
    for user, text, until, why in (
        ("nobody", "Hello.", None, "does not know a user nobody"),
        ("alice", "Hello.", time.time() - 1, "UNTIL has passed"),
        ("alice", "two\nlines", None, "TEXT cannot be shown: its character 4 is .* U\\+000A"),
        ("", "x" * 501, None, "it has 501 characters, and may have 500"),
    ):
        with pytest.raises(SettingsError, match=why):
            command.message(api, user, text, until)
    assert messages.FILE.read_bytes() == before


@pytest.mark.usefixtures("_said")
def test_a_server_gets_its_own_users_messages_and_nobody_elses(api: Api, hub: RealHub) -> None:
    """The server's side is the one in the notebook image."""
    command.message(api, "alice", "Only for alice.", None)
    command.message(api, "", "For all.", None)
    api.start("alice")
    eventually(api, ["alice"])
    token = (hub.folder / "server-token").read_text()
    clock = iter(range(0, 1000, 10))
    url = f"{hub.url}hub/api/users/alice/activity"
    environment = {"JUPYTERHUB_ACTIVITY_URL": url, "JUPYTERHUB_API_TOKEN": token}
    server = Messages(environment, lambda: next(clock))

    async def twice() -> list[list[str]]:
        return [[one["text"] for one in await server.now() or []] for _ in range(2)]

    assert asyncio.run(twice()) == [["Only for alice.", "For all."]] * 2
    # What has not changed has no content, and is no line in the log.
    assert hub.log.count(" 200 GET /hub/api/users/alice/messages ") == 1

    assert hub.api("GET", "users/bob/messages", token).status_code == HTTPStatus.NOT_FOUND
    for name in ("bob", "carol"):
        # Carol is an administrator.
        own = hub.token(name, PASSWORDS[name]).json()["token"]
        assert hub.api("GET", "users/alice/messages", own).status_code == HTTPStatus.NOT_FOUND
        found = hub.api("GET", f"users/{name}/messages", own).json()["messages"]
        assert [one["text"] for one in found] == ["For all."]
    assert hub.api("GET", "users/alice/messages", TOKEN).status_code == HTTPStatus.FORBIDDEN
    assert hub.api("GET", "users/alice/messages").status_code == HTTPStatus.FORBIDDEN

    command.message(api, "alice", "", None)
    assert asyncio.run(twice())[1] == ["For all."]
    api.stop("alice")
    eventually(api, [])
    assert hub.api("GET", "users/alice/messages", token).status_code == HTTPStatus.FORBIDDEN


def test_a_forgotten_user_has_no_token_any_more(api: Api, hub: RealHub) -> None:
    token = hub.token("alice", PASSWORDS["alice"]).json()["token"]
    assert hub.api("GET", "user", token).ok
    assert command.forget(api, "alice")
    assert hub.api("GET", "user", token).status_code == HTTPStatus.FORBIDDEN
    assert not command.forget(api, "alice")


def test_somebody_is_forgotten_while_the_server_starts(api: Api, hub: RealHub) -> None:
    hub.browser("dave", PASSWORDS["dave"])
    (hub.folder / "slow").touch()
    try:
        api.start("dave")
        assert api.user("dave")["servers"][""]["pending"] == "spawn"
        assert command.forget(api, "dave", pause=0.1)
    finally:
        (hub.folder / "slow").unlink()
    assert "dave" not in {user["name"] for user in api.users()}
    assert "is active and cannot be deleted" not in hub.log


def test_the_service_cannot_get_into_servers_or_make_tokens(api: Api, hub: RealHub) -> None:
    made = hub.api("POST", "users/bob/tokens", TOKEN)
    assert made.status_code in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    assert hub.api("POST", "users/eve", TOKEN).status_code == HTTPStatus.FORBIDDEN
    with pytest.raises(HTTPError):
        api.stop("nobody")


def test_without_a_hub_there_is_no_entrance(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the hub starts, or this is not its container"):
        service.entrance(tmp_path / "none")


@pytest.mark.usefixtures("_said")
def test_the_next_person_of_a_name_does_not_get_the_message(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "entrance", lambda: api)
    settings: Any = None  # neither looks at them
    for user in ("bob", ""):
        given = json.dumps({"text": "Call us.", "until": None})
        monkeypatch.setattr("sys.stdin", StringIO(given))
        command._message(settings, Namespace(user=user))
    assert list(messages.read()) == ["", "bob"]
    command._forget(settings, Namespace(user="bob"))
    assert list(messages.read()) == [""]
