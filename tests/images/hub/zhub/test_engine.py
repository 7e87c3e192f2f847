"""The hub asks its guard where the directory is, once for all logins that find it gone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from zhub import engine
from zhub.engine import Looks

pytestmark = pytest.mark.slow

LOGINS = 16


class Guard:
    """As the real one: it says that something is new to the first who asks, and to nobody else."""

    def __init__(self, moved: int) -> None:
        self.moved = moved
        self.asked = 0
        self.at_a_time = 0
        self.most = 0

    def ask(self) -> bool:
        self.asked += 1
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        time.sleep(0.2)
        self.at_a_time -= 1
        return self.asked <= self.moved


def all_at_once(looks: Looks) -> list[bool]:
    together = threading.Barrier(LOGINS)

    def one(_: int) -> bool:
        together.wait()
        return looks.moved()

    with ThreadPoolExecutor(LOGINS) as threads:
        return list(threads.map(one, range(LOGINS)))


def test_all_who_ask_at_the_same_time_get_the_answer_of_one() -> None:
    guard = Guard(moved=1)
    assert all_at_once(Looks(guard.ask)) == [True] * LOGINS
    assert guard.asked == 1


def test_who_comes_a_little_later_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RECENT", 0.3)
    guard = Guard(moved=1)
    looks = Looks(guard.ask)
    assert looks.moved()
    assert looks.moved()
    assert guard.asked == 1
    time.sleep(0.4)
    assert not looks.moved()
    assert guard.asked == 2


def test_a_directory_that_has_not_moved_is_looked_for_by_one_at_a_time() -> None:
    guard = Guard(moved=0)
    looks = Looks(guard.ask)
    assert all_at_once(looks) == [False] * LOGINS
    # Those that came while one asked were told what that one was.
    assert guard.asked <= 2
    assert guard.most == 1
    # And "no" holds for nobody who comes later.
    guard.moved = 99
    assert looks.moved()


def test_a_question_that_fails_leaves_the_next_one_its_turn() -> None:
    failing = [OSError("no guard")]

    def ask() -> bool:
        if failing:
            raise failing.pop()
        return True

    looks = Looks(ask)
    with pytest.raises(OSError, match="no guard"):
        looks.moved()
    assert looks.moved()
