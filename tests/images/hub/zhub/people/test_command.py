"""What `zhub users` says of users, servers and homes."""

from __future__ import annotations

import errno
import sqlite3
from argparse import Namespace
from contextlib import closing
from email.message import Message
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from zhub import engine, settings
from zhub.api import Api
from zhub.login.directory import Directory
from zhub.login.directory.people import Person
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.people import command, service
from zhub.people.servers import Server
from zhub.settings import SettingsError
from zhub.settings.ldap import Ldap
from zhub.state import database, messages, persons, plan
from zhub.state.plan import Action, Plan


def model(name: str, **more: Any) -> dict[str, Any]:
    """JupyterHub's model of a user."""
    return {"name": name, "admin": False, "groups": [], "last_activity": None, "servers": {}} | more


def test_each_user_has_a_row_with_the_server() -> None:
    servers = {"bob": Server("b1", 1 << 30, old=True), "lost": Server("c1", 1 << 30, old=False)}
    users = [model("bob", servers={"": {}}, groups=["b", "a"]), model("alice", admin=True)]
    alice, bob, lost = command.listed(users, servers)
    assert (alice["name"], alice["admin"], alice["server"], alice["old"]) == (
        "alice",
        True,
        False,
        None,
    )
    assert (bob["groups"], bob["server"], bob["container"], bob["old"]) == (
        ["a", "b"],
        True,
        "b1",
        True,
    )
    assert (lost["known"], lost["server"], lost["container"]) == (False, False, "c1")


class Told(Directory):
    """A directory that lets some people in, and does not answer about carol."""

    def __init__(self) -> None:
        """Ask no server."""
        self.ldap = Ldap(servers=("ldap.example.com",), allowed_groups=("cn=jupyter",))

    def look_up(self, name: str, *, typed: bool = False) -> Person:
        if name == "bob":
            raise LoginRefusedError("no entry")
        if name == "carol":
            raise DirectoryError("silence")
        groups = frozenset() if name == "taken.out" else frozenset(self.ldap.allowed_groups)
        identities = frozenset({f"entryuuid:of-{name}"})
        return Person(name=name, dn=f"uid={name}", groups=groups, identities=identities)


def known_as(folder: Path, **names: str) -> Path:
    """A database that knows whose the names are."""
    file = folder / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany("INSERT INTO zhub_persons VALUES (?, ?)", names.items())
    return file


class NoUser(Api):
    """The API of a hub that knows no user."""

    def __init__(self) -> None:
        """Reach no hub."""

    def user(self, name: str) -> dict[str, Any]:
        raise HTTPError(name, 404, "Not Found", Message(), None)


def test_whose_name_it_is_is_known_until_the_home_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a new person with the name would get what is left of it."""
    file = known_as(tmp_path, bob="entryuuid:1")
    monkeypatch.setattr(database, "FILE", file)
    monkeypatch.setattr(messages, "FILE", tmp_path / "messages.json")
    monkeypatch.setattr(service, "entrance", NoUser)
    found = settings.read({"ZHUB_LDAP_SERVERS": "127.0.0.1"})

    def done(do: str) -> Any:
        return command.COMMANDS[do](found, Namespace(user="bob"))

    assert done("forget") is False
    assert persons.recorded(file) == ["bob"]
    done("accept")
    assert persons.recorded(file) == []
    with pytest.raises(SettingsError, match="it is not recorded whose name bob is"):
        done("accept")


def test_homes_whose_owners_are_gone_or_out_of_all_groups_or_whose_name_is_another_persons(
    tmp_path: Path,
) -> None:
    file = known_as(tmp_path, alice="entryuuid:of-alice", dora="entryuuid:of-a-dora-before")
    assert command.unknown(
        Told(), ["alice", "bob", "dora", "never.logged.in", "taken.out"], file
    ) == {
        "bob": "no entry",
        "dora": "'uid=dora' is not the entry that dora was before",
        "taken.out": "'uid=taken.out' is in no allowed group",
    }


def test_nobody_is_unknown_to_a_directory_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not answer: silence"):
        command.unknown(Told(), ["bob", "carol"], known_as(tmp_path))


class Slow(Api):
    """The API of a hub in which bob has a server that takes two looks to stop."""

    def __init__(self, *, ends: bool = True) -> None:
        """Reach no hub."""
        self.left, self.ends, self.stopped = 2, ends, False

    def user(self, name: str) -> dict[str, Any]:
        if name != "bob":
            raise HTTPError(name, 404, "Not Found", Message(), None)
        self.left -= self.stopped and self.ends
        return {"servers": {"": {"started": "1"}} if self.left > 0 else {}}

    def stop(self, user: str, server: str = "") -> None:
        self.stopped = True

    def delete(self, name: str) -> None:
        self.stopped = True
        if self.user(name)["servers"]:
            raise HTTPError(name, 400, "Bad Request", Message(), None)


def test_a_server_is_stopped_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Slow()
    command.stop(hub, "bob", pause=0)
    assert hub.left == 0
    with pytest.raises(SettingsError, match="no server of bob runs"):
        command.stop(hub, "bob", pause=0)
    with pytest.raises(SettingsError, match="does not know a user eve"):
        command.stop(hub, "eve", pause=0)
    monkeypatch.setattr(service, "PATIENCE", 0)
    with pytest.raises(SettingsError, match="the server of bob has not stopped in 0 s"):
        command.stop(Slow(ends=False), "bob", pause=0)


def test_who_is_forgotten_may_have_a_server_that_takes_long_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """JupyterHub refuses to delete its user meanwhile."""
    assert command.forget(Slow(), "bob", pause=0)
    monkeypatch.setattr(service, "PATIENCE", 0)
    with pytest.raises(HTTPError, match="400"):
        command.forget(Slow(ends=False), "bob", pause=0)


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the plan."""
    file = tmp_path / "plan.json"
    monkeypatch.setattr(plan.change, "__defaults__", (file,))
    return file


@pytest.mark.parametrize("done", [False, True])
def test_a_renewal_does_not_take_back_that_all_servers_are_stopped(
    planned: Path, *, done: bool
) -> None:
    """They would start again in the middle of the site's maintenance."""
    plan.write(Plan(Action.STOP, 1, done=done), planned)
    found = settings.read({"ZHUB_LDAP_SERVERS": "127.0.0.1"})
    wish = Namespace(at=2.0, notice="")
    with pytest.raises(SettingsError, match=r"at 1970-01-01 00:00 UTC, .*: make users DO=open"):
        command.COMMANDS["renew"](found, wish)
    assert command.COMMANDS["drain"](found, wish) == {"action": "stop", "at": 1, "done": done}
    assert plan.read(planned) == Plan(Action.STOP, 2)


def test_what_is_taken_back_is_told(planned: Path) -> None:
    plan.write(Plan(Action.RENEW, 1, "A new Python."), planned)
    found, wish = settings.read({"ZHUB_LDAP_SERVERS": "127.0.0.1"}), Namespace()
    assert command.COMMANDS["open"](found, wish) == {"action": "renew", "at": 1, "done": False}
    assert command.COMMANDS["open"](found, wish) is None


def test_what_is_done_while_the_guard_is_away_is_said_to_be_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, planned: Path
) -> None:
    """As for maintenance: the plan is made, and only the audit log does not have it."""
    plan.write(Plan(Action.RENEW, 1), planned)
    monkeypatch.setattr(command, "_connect", partial(engine.connect, 0))
    monkeypatch.setenv("ZHUB_LDAP_SERVERS", "127.0.0.1")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with pytest.raises(SettingsError, match=r"^done, but not in the audit log: the guard has"):
        command.run(["open"])
    assert plan.read(planned) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/srv/jupyterhub/.plan.json.part"),
            r"^/srv/jupyterhub/\.plan\.json\.part: No space left on device$",
        ),
        (
            HTTPError("http://hub", HTTPStatus.FORBIDDEN, "Forbidden", Message(), None),
            "^the hub refuses it, as for some seconds after its start: HTTP Error 403: Forbidden$",
        ),
        (URLError(ConnectionRefusedError("refused")), "^hub or engine does not answer: .*refused"),
        (TimeoutError("timed out"), "^hub or engine does not answer: timed out$"),
    ],
)
def test_what_is_wrong_is_said_for_what_it_is(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setitem(command.COMMANDS, "open", fails)
    monkeypatch.setenv("ZHUB_LDAP_SERVERS", "127.0.0.1")
    with pytest.raises(SettingsError, match=said):
        command.run(["open"])


def test_a_users_record_is_not_told_while_the_audit_log_does_not_have_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.COMMANDS, "record", lambda *_: {"user": "bob"})
    monkeypatch.setattr(command, "_connect", partial(engine.connect, 0))
    monkeypatch.setenv("ZHUB_LDAP_SERVERS", "127.0.0.1")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    with pytest.raises(SettingsError, match=r"^nothing is told .* audit log .*: the guard has not"):
        command.run(["record", "bob"])
    assert capsys.readouterr().out == ""
