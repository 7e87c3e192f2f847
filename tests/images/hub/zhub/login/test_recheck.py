"""Which servers are stopped, with a real directory and a stand-in for the hub's API."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from zhub.api import Api
from zhub.login import recheck
from zhub.login.directory import Directory
from zhub.settings.folders import SharedFolder
from zhub.settings.ldap import Ldap
from zhub.state import database, logins, persons

from tests.images.hub import slapd
from tests.images.hub.profiles import profile
from tests.images.hub.slapd import SERVICE, SUFFIX, Slapd, group_dn

pytestmark = pytest.mark.slow

TOKEN = "the service's token"
PAGE = 2


@dataclass
class Hub:
    """The data of a hub's API, and the servers it was asked to stop."""

    url: str
    servers: dict[str, list[str]] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    """The shared folders that users' servers have."""
    stopped: list[str] = field(default_factory=list)
    profiles: dict[str, object] = field(default_factory=dict)
    """Of users' servers."""
    broken: set[str] = field(default_factory=set)
    """Paths whose servers cannot be stopped."""

    def page(self, offset: int) -> dict[str, Any]:
        """Return two users and the offset of the next, as JupyterHub's paginated API does."""
        names = list(self.servers)[offset : offset + PAGE]
        more = offset + PAGE < len(self.servers)
        return {
            "items": [
                {"name": name, "servers": {one: self._server(name) for one in self.servers[name]}}
                for name in names
            ],
            "_pagination": {"next": {"offset": offset + PAGE} if more else None},
        }

    def _server(self, name: str) -> dict[str, Any]:
        profile = self.profiles.get(name)
        return {
            "user_options": {"profile": profile} if profile else {},
            "state": {"folders": self.folders.get(name, [])},
        }

    def environment(self) -> dict[str, str]:
        return {"JUPYTERHUB_API_URL": self.url, "JUPYTERHUB_API_TOKEN": TOKEN}


@pytest.fixture(name="hub")
def running_hub() -> Iterator[Hub]:
    """A hub's API on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, content: object = None) -> None:
            body = json.dumps(content).encode() if content is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            assert url.path == "/hub/api/users"
            assert query["state"] == ["active"]
            assert self.headers["Authorization"] == f"token {TOKEN}"
            assert self.headers["Accept"] == "application/jupyterhub-pagination+json"
            self.answer(200, hub.page(int(query["offset"][0])))

        def do_DELETE(self) -> None:
            path = self.path.removeprefix("/hub/api/users/")
            hub.stopped.append(path)
            self.answer(500 if path in hub.broken else 204)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}/hub/api")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd") / "server") as server:
        yield server


@pytest.fixture
def directory(server: Slapd, tmp_path: Path) -> Directory:
    """A directory in which alice and carol are members."""
    (tmp_path / "password").write_text(slapd.SERVICE_PASSWORD)
    return Directory(
        Ldap(
            servers=("127.0.0.1",),
            port=server.port,
            ca_file=server.ca_file,
            bind_dn=SERVICE,
            bind_password_file=tmp_path / "password",
            search_base=SUFFIX,
            allowed_groups=(group_dn("jupyter"),),
        )
    )


def test_refused_users_on_all_pages_lose_all_their_servers(
    hub: Hub, directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    hub.servers = {
        "alice": [""],
        "bob": ["", "a/b c"],
        "nobody@x": [""],
        "carol": [""],
        "dave": [""],
    }
    recheck.check(Api(hub.environment()), recheck.by_directory(directory))
    assert hub.stopped == [
        "bob/server",
        "bob/servers/a%2Fb%20c",
        "nobody%40x/server",
        "dave/server",
    ]
    assert "stopping the server of bob: " in caplog.text
    assert "is in no allowed group" in caplog.text
    assert "has no entry" in caplog.text


def test_who_left_the_group_of_a_profile_loses_a_server_with_it(
    hub: Hub, directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    member, other = group_dn("jupyter"), group_dn("admins")
    looking = Directory(replace(directory.ldap, further_groups=(member, other)))
    hub.servers = {"alice": [""], "carol": [""]}
    known = [profile("all"), profile("members", member), profile("others", other)]
    for name in ("all", "members", "gone"):
        hub.profiles = dict.fromkeys(hub.servers, name)
        recheck.check(Api(hub.environment()), recheck.by_directory(looking, (), tuple(known)))
        assert hub.stopped == []
    hub.profiles = {"alice": "others", "carol": "members"}
    recheck.check(Api(hub.environment()), recheck.by_directory(looking, (), tuple(known)))
    assert hub.stopped == ["alice/server"]
    assert "may not use the profile others any more" in caplog.text


def test_options_of_a_start_that_nobody_has_looked_at_yet_end_nothing(
    hub: Hub, directory: Directory
) -> None:
    hub.servers = {"alice": [""], "nobody": [""]}
    hub.profiles = {"alice": ["others"], "nobody": {"a": "b"}}
    recheck.check(Api(hub.environment()), recheck.by_directory(directory))
    assert hub.stopped == ["nobody/server"]


def test_a_server_that_does_not_stop_keeps_no_other_running(
    hub: Hub, directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    hub.servers = {"bob": [""], "dave": [""]}
    hub.broken = {"bob/server"}
    recheck.check(Api(hub.environment()), recheck.by_directory(directory))
    assert hub.stopped == ["bob/server", "dave/server"]
    assert "the server of bob was not stopped, trying again: HTTP Error 500" in caplog.text


def test_a_directory_that_does_not_answer_stops_nothing(
    hub: Hub, tmp_path: Path, directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    hub.servers = {"bob": [""], "dave": [""]}
    with slapd.running(tmp_path / "stopped") as server:
        options = {"port": server.port, "ca_file": server.ca_file}
    down = Directory(Ldap(**{**vars(directory.ldap), **options}))
    recheck.check(Api(hub.environment()), recheck.by_directory(down))
    assert hub.stopped == []
    assert caplog.text.count("could not be looked up, so nothing changes") == 2


def test_most_servers_end_only_when_three_looks_in_a_row_say_so(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a setting was mistyped, or a directory answers that is being filled again."""
    hub.servers = {f"u{number}": [""] for number in range(10)}
    gone: set[str] = set()

    def refusal(user: str, _: tuple[str, ...], __: str | None) -> str | None:
        return "no entry" if user in gone else None

    api, brake = Api(hub.environment()), recheck.Brake()

    def ended() -> int:
        hub.stopped.clear()
        recheck.check(api, refusal, brake)
        return len(hub.stopped)

    gone |= {"u0", "u1", "u2", "u3", "u4"}
    assert ended() == 5, "half of them"
    gone |= {"u5"}
    assert [ended(), ended()] == [0, 0]
    assert "6 users may not have their servers any more, such as u0: no entry." in caplog.text
    assert "`make doctor LDAP=u0`" in caplog.text
    gone.remove("u5")
    assert ended() == 5
    gone |= {"u5"}
    assert [ended() for _ in range(4)] == [0, 0, 6, 6]
    hub.servers = {f"u{number}": [""] for number in range(5)}
    assert recheck.Brake().holds(5, 5) is False


class StopError(Exception):
    """Ends the endless loop."""


def test_it_continues_when_the_hub_does_not_answer(
    hub: Hub,
    directory: Directory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub.servers = {"dave": [""]}
    addresses = iter(["http://127.0.0.1:9/hub/api", hub.url])
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        url = next(addresses, None)
        if url is None:
            raise StopError
        monkeypatch.setattr(api, "_url", url)

    api = Api(hub.environment())
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(StopError):
        recheck.forever(api, recheck.by_directory(directory), 7)
    assert slept == [7] * 3
    assert "the hub does not answer: " in caplog.text
    assert hub.stopped == ["dave/server"]


def test_who_may_not_have_a_shared_folder_any_more_loses_the_server(
    hub: Hub, directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    member, other = group_dn("jupyter"), group_dn("admins")
    folders = (
        SharedFolder(name="all", read_only=True),
        SharedFolder(name="team", read_only=False, groups=(member,)),
        SharedFolder(name="left", read_only=False, groups=(other,)),
        SharedFolder(name="narrowed", read_only=True, groups=(member,)),
    )
    looking = Directory(replace(directory.ldap, further_groups=(member, other)))
    hub.servers = {"alice": [""], "carol": [""]}
    granted = {
        "all:ro": True,
        "team:rw": True,
        "team:ro": True,
        "left:rw": False,
        "narrowed:rw": False,
        "removed:ro": False,
    }
    for grant, keeps in granted.items():
        hub.stopped.clear()
        hub.folders = {"alice": ["all:ro", grant]}
        refusal = recheck.by_directory(looking, folders)
        recheck.check(Api(hub.environment()), refusal)
        assert hub.stopped == ([] if keeps else ["alice/server"]), grant
    assert "may not use the shared folder left any more" in caplog.text


def test_a_name_that_is_given_away_between_two_looks_loses_its_server(
    hub: Hub, directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory knows the name at each look, and lets the new person in."""
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    own = directory.look_up("alice").identities
    hub.servers = {"alice": [""], "carol": [""]}
    refusal = recheck.by_directory(directory, file=file)
    for recorded, stopped in (
        (next(iter(own)), []),
        ("objectguid:1", []),
        ("entryuuid:1", ["alice/server"]),
    ):
        with sqlite3.connect(file) as connection:
            connection.execute("REPLACE INTO zhub_persons VALUES ('alice', ?)", [recorded])
        connection.close()
        recheck.check(Api(hub.environment()), refusal)
        assert hub.stopped == stopped
    assert f"'uid=alice,ou=people,{SUFFIX}' is not the entry that alice was before" in caplog.text


def test_who_shows_no_identifier_any_more_keeps_the_server(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that is taken from the service account must not end everybody's work."""
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO zhub_persons VALUES ('alice', 'entryuuid:1')")
    connection.close()
    alice = replace(directory.look_up("alice"), identities=frozenset())
    assert persons.look(file, "alice", alice.identities) is persons.Match.NOT_SHOWN
    monkeypatch.setattr(directory, "look_up", lambda _: alice)
    assert recheck.by_directory(directory, file=file)("alice", (), None) is None


def test_a_folder_of_a_profile_stays_with_its_servers(directory: Directory) -> None:
    models = SharedFolder(name="models", read_only=True, profiles=("large",))
    refusal = recheck.by_directory(directory, (models,))
    assert refusal("alice", ("models:ro",), "large") is None
    assert "may not use the shared folder models" in str(refusal("alice", ("models:ro",), "small"))


def test_without_a_service_account_the_last_login_decides(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users who logged in within a day keep their servers."""
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    now = time.time()
    with sqlite3.connect(file) as connection:
        connection.executemany(
            "INSERT INTO zhub_logins VALUES (?, ?)",
            [
                ("alice", now - logins.COUNTS + 60),
                ("bob", now - logins.COUNTS - 60),
                # A clock that was ahead for a while.
                ("carol", now + 2 * 86400),
            ],
        )
    connection.close()
    hub.servers = {"alice": ["", "two"], "bob": [""], "carol": [""], "never": [""]}
    recheck.check(Api(hub.environment()), recheck.by_login(file))
    assert hub.stopped == ["bob/server", "carol/server", "never/server"]
    assert "stopping the server of bob: the last login was a day ago" in caplog.text


def test_without_a_service_account_a_folder_that_is_taken_away_ends_servers_as_well(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the preview says. No folder is for a group then."""
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO zhub_logins VALUES ('alice', ?)", [time.time()])
    connection.close()
    folders = (
        SharedFolder(name="all", read_only=True),
        SharedFolder(name="models", read_only=True, profiles=("large",)),
    )
    hub.servers, hub.profiles = {"alice": [""]}, {"alice": "large"}
    for grant, keeps in {
        "all:ro": True,
        "models:ro": True,
        "all:rw": False,
        "removed:ro": False,
    }.items():
        hub.stopped.clear()
        hub.folders = {"alice": ["all:ro", grant]}
        recheck.check(Api(hub.environment()), recheck.by_login(file, folders))
        assert hub.stopped == ([] if keeps else ["alice/server"]), grant
    assert "nobody may use the shared folder removed like this any more" in caplog.text


def test_a_database_that_cannot_be_read_stops_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.servers = {"bob": [""]}
    recheck.check(Api(hub.environment()), recheck.by_login(tmp_path / "none.sqlite"))
    assert hub.stopped == []


def test_a_database_that_does_not_say_whose_a_name_is_stops_nothing(
    directory: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = recheck.by_directory(directory, file=tmp_path / "none.sqlite")
    assert refusal("alice", (), None) is None
    assert "whose name alice is cannot be read, so nothing changes: " in caplog.text
