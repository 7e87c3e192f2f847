"""Servers of a swarm that are about to end: commands that touch homes have to wait for them."""

from __future__ import annotations

import json

import pytest

from toolchain.backup.engine import Engine

#: By IDs: what `docker` says of a task.
TASKS = {
    # Of a service that is there.
    "t1": ("abcdef0123456789zzzzzzzzz.1", "alice", "running"),
    "t2": ("removedremovedremovedremo.1", "o.brien", "running"),
    "t3": ("removedremovedremovedremo.2", "carol", "shutdown"),
    "t4": ("removedremovedremovedremo.3", "dave", "gone meanwhile"),
}


class Manager(Engine):
    """A manager of two machines, of which one does not answer."""

    def on_swarm(self) -> bool:
        return True

    def ask(self, *arguments: str) -> str:
        match arguments[:2]:
            case ("service", "ls"):
                rows = [["abcdef012345", "zhub-site-user-alice"]]
            case ("node", "ls"):
                rows = [["here", "Ready"], ["away", "Down"]]
            case ("node", "ps"):
                assert "here" in arguments
                assert "away" not in arguments
                rows = [[task, about[0]] for task, about in TASKS.items()]
            case _:
                pytest.fail(f"{arguments}")
        return "\n".join(map(json.dumps, rows))

    def find(self, *arguments: str) -> str | None:
        assert arguments[:2] == ("inspect", "--type=task")
        _, user, state = TASKS[arguments[-1]]
        return None if state == "gone meanwhile" else json.dumps([user, state])


def test_a_server_whose_service_is_gone_counts_until_it_has_ended() -> None:
    found = Manager(("docker",), "zhub-site").servers()
    assert found == ["zhub-site-user-alice", "zhub-site-user-o-2ebrien"]
