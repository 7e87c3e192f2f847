"""The hub asks its guard to look for the directory, once for all logins that fail to reach it."""

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
    """Like the real guard, reports a change only to the first caller."""

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


def test_simultaneous_questions_share_one_answer() -> None:
    guard = Guard(moved=1)
    assert all_at_once(Looks(guard.ask)) == [True] * LOGINS
    assert guard.asked == 1


def test_a_recent_yes_is_shared_with_later_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RECENT", 0.3)
    guard = Guard(moved=1)
    looks = Looks(guard.ask)
    assert looks.moved()
    assert looks.moved()
    assert guard.asked == 1
    time.sleep(0.4)
    assert not looks.moved()
    assert guard.asked == 2


def test_a_no_is_shared_only_with_questions_that_waited() -> None:
    guard = Guard(moved=0)
    looks = Looks(guard.ask)
    assert all_at_once(looks) == [False] * LOGINS
    # Those that came while one asked got the same answer.
    assert guard.asked <= 2
    assert guard.most == 1
    # A "no" does not hold for later questions.
    guard.moved = 99
    assert looks.moved()


def test_a_failed_question_does_not_block_the_next() -> None:
    failing = [OSError("no guard")]

    def ask() -> bool:
        if failing:
            raise failing.pop()
        return True

    looks = Looks(ask)
    with pytest.raises(OSError, match="no guard"):
        looks.moved()
    assert looks.moved()
