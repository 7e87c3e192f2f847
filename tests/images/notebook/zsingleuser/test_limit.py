"""How a server counts its home, with the system's own `du`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from zsingleuser import limit
from zsingleuser.limit import AGAIN, SOON, Taken

from tests.disks import LARGE, home_with_a_subvolume


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(taken: Taken) -> int:
    """Have it counted, if it is time, and return what is known then."""

    async def look() -> None:
        taken.look()
        await taken.settled()

    asyncio.run(look())
    assert taken.bytes is not None
    return taken.bytes


def test_a_home_is_counted_as_it_takes_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(300_000))
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 30)
    assert 300_000 <= counted(Taken(tmp_path, 1 << 30)) < 400_000


@pytest.mark.long
def test_what_is_in_a_subvolume_counts(tmp_path: Path) -> None:
    """A quota of the home does not count it."""
    with home_with_a_subvolume(tmp_path) as home:
        assert counted(Taken(home, 1 << 30)) >= LARGE


def test_it_is_counted_again_after_a_while_and_sooner_when_it_is_nearly_full(
    tmp_path: Path,
) -> None:
    clock = Clock()
    taken = Taken(tmp_path, 1_000_000, clock)
    first = counted(taken)
    (tmp_path / "large").write_bytes(os.urandom(900_000))
    clock.now = AGAIN - 1
    assert counted(taken) == first
    clock.now = AGAIN
    assert counted(taken) >= 900_000
    (tmp_path / "large").unlink()
    clock.now += SOON
    assert counted(taken) == first


def test_a_home_that_takes_long_is_counted_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    taken = Taken(tmp_path, 1_000_000, clock)
    real = asyncio.create_subprocess_exec

    async def slow(*command: Any, **named: Any) -> Any:
        clock.now += 100
        return await real(*command, **named)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    counted(taken)
    assert taken._next == 100 + 20 * 100


def test_what_cannot_be_counted_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "COUNT", ("false",))
    taken = Taken(tmp_path, 1_000_000)
    with pytest.raises(AssertionError):
        counted(taken)
    monkeypatch.setattr(limit, "COUNT", ("no-such-program",))
    with pytest.raises(AssertionError):
        counted(Taken(tmp_path, 1_000_000))


def test_without_a_limit_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(limit.VARIABLE, raising=False)
    app = SimpleNamespace()  # it is not even looked at
    limit._load_jupyter_server_extension(app)
