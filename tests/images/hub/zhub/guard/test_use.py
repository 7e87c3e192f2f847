"""What `zhub use` prints for operators' commands."""

from __future__ import annotations

from typing import Any

import pytest
from docker.errors import NotFound
from zhub.guard import use
from zhub.settings import SettingsError


class Engine:
    """One that knows what alice's server has written, not bob's, and that carol's has ended."""

    def containers(self, *, filters: Any, size: bool = False) -> list[dict[str, Any]]:
        assert filters == {"label": ["zhub.stack=site", "zhub.role=notebook"]}
        users = ["alice"] if size else ["alice", "bob", "carol"]
        return [{"Id": one, "Labels": {"zhub.user": one}, "SizeRw": 7} for one in users]

    def stats(self, server: str, **_: Any) -> dict[str, Any]:
        if server == "carol":
            raise NotFound("ended")
        return {
            "memory_stats": {"usage": 1 << 20, "limit": 1 << 30},
            "cpu_stats": {"cpu_usage": {"total_usage": 1}},
        }


def test_servers_are_shown_with_what_is_known_of_them() -> None:
    client: Any = Engine()
    assert list(use.rows(client, "site")) == [
        ("alice", 1 << 20, 1 << 30, 7),
        ("bob", 1 << 20, 1 << 30, None),
    ]


def test_it_takes_no_arguments() -> None:
    with pytest.raises(SettingsError, match="use takes no arguments, but got alice"):
        use.run(["alice"])
