"""What `zhub users` says of users, servers and homes."""

from __future__ import annotations

import sqlite3
from argparse import Namespace
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from zhub import settings
from zhub.api import Api
from zhub.login.directory import Directory
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.people import command, service
from zhub.people.servers import Server
from zhub.settings import SettingsError
from zhub.state import database, messages, persons


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
    """A directory that knows alice, refuses bob, and does not answer about anybody else."""

    def __init__(self) -> None:
        """Ask no server."""

    def look_up(self, name: str, *, typed: bool = False) -> Any:
        if name == "bob":
            raise LoginRefusedError("no entry")
        if name != "alice":
            raise DirectoryError("silence")


class NoUser(Api):
    """The API of a hub that knows no user."""

    def __init__(self) -> None:
        """Reach no hub."""

    def delete(self, name: str) -> None:
        raise HTTPError(name, 404, "Not Found", Message(), None)


def test_whose_name_it_is_is_known_until_the_home_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a new person with the name would get what is left of it."""
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO zhub_persons VALUES ('bob', 'entryuuid:1')")
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


def test_homes_of_nobody() -> None:
    assert command.unknown(Told(), ["alice", "bob"]) == {"bob": "no entry"}


def test_nobody_is_unknown_to_a_directory_that_does_not_answer() -> None:
    with pytest.raises(SettingsError, match="does not answer: silence"):
        command.unknown(Told(), ["bob", "carol"])
