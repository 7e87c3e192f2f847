"""How a server learns that memory ran out, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
from zsingleuser.memory import ended, reason


@pytest.mark.parametrize(
    "content",
    [
        "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    ],
    ids=["version 2", "version 1"],
)
def test_the_systems_count_is_read(tmp_path: Path, content: str) -> None:
    there, nowhere = tmp_path / "there", tmp_path / "nowhere"
    there.write_text(content)
    assert ended((nowhere, there)) == ended((there, nowhere)) == 2


def test_a_system_without_a_count_is_taken_for_one_with_memory_left(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert ended((tmp_path / "nowhere", tmp_path / "old")) == 0


def test_the_limit_is_named_where_it_is_known() -> None:
    assert "may use (2 GiB), so" in reason(str(2 << 30))
    assert "may use (0.5 GiB), so" in reason(str(1 << 29))
    assert "may use, so" in reason("")
