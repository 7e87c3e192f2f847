"""What `zhub users` says of users, servers and homes."""

from __future__ import annotations

from typing import Any

import pytest
from zhub.login.directory import Directory
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.people import command
from zhub.people.servers import Server
from zhub.settings import SettingsError


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


def test_homes_of_nobody() -> None:
    assert command.unknown(Told(), ["alice", "bob"]) == {"bob": "no entry"}


def test_nobody_is_unknown_to_a_directory_that_does_not_answer() -> None:
    with pytest.raises(SettingsError, match="does not answer: silence"):
        command.unknown(Told(), ["bob", "carol"])
