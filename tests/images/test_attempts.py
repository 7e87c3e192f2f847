"""Failed logins slow down who fails, and nobody else."""

from __future__ import annotations

import itertools

import pytest
from zhub import attempts
from zhub.attempts import PER_ADDRESS, PER_NAME, SECONDS, Attempts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock) -> Attempts:
    return Attempts(clock)


def fail(counted: Attempts, name: str, address: str, times: int) -> None:
    for _ in range(times):
        assert counted.wait(name, address) == 0


def test_after_some_failures_one_has_to_wait(counted: Attempts, clock: Clock) -> None:
    fail(counted, "alice", "1.1.1.1", PER_NAME)
    assert counted.wait("ALICE", "1.1.1.1") == SECONDS
    clock.now += SECONDS - 1
    assert counted.wait("alice", "1.1.1.1") == 1
    clock.now += 1
    assert counted.wait("alice", "1.1.1.1") == 0


def test_a_stranger_locks_nobody_out(counted: Attempts) -> None:
    fail(counted, "alice", "6.6.6.6", PER_NAME)
    assert counted.wait("alice", "6.6.6.6")
    assert counted.wait("alice", "1.1.1.1") == 0
    assert counted.wait("bob", "6.6.6.6") == 0


def test_the_right_password_forgives(counted: Attempts) -> None:
    for _ in range(3):
        fail(counted, "alice", "1.1.1.1", PER_NAME - 1)
        counted.succeeded("alice", "1.1.1.1")


def test_no_answer_is_no_failure(counted: Attempts) -> None:
    for _ in range(2 * PER_ADDRESS):
        fail(counted, "alice", "1.1.1.1", 1)
        counted.undo("alice", "1.1.1.1")


def test_guessing_many_names_is_slowed_but_not_for_those_known_there(
    counted: Attempts, clock: Clock
) -> None:
    fail(counted, "alice", "1.1.1.1", 1)
    counted.succeeded("alice", "1.1.1.1")
    for number in range(PER_ADDRESS):
        fail(counted, f"guess{number}", "1.1.1.1", 1)
    assert counted.wait("one-more", "1.1.1.1") > 0
    assert counted.wait("alice", "1.1.1.1") == 0
    assert counted.wait("one-more", "1.1.1.2") == 0


def test_what_is_remembered_is_limited(
    counted: Attempts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "REMEMBERED", 10)
    for number in range(100):
        fail(counted, f"guess{number}", f"1.1.1.{number}", 1)
        counted.succeeded(f"known{number}", "1.1.1.1")
    sizes = [len(counted._failures), len(counted._known)]
    assert sizes == [10, 10]


def test_a_burst_counts_before_it_has_failed(counted: Attempts) -> None:
    waits = [counted.wait("alice", "1.1.1.1") for _ in range(50)]
    assert len(list(itertools.takewhile(lambda wait: wait == 0, waits))) == PER_NAME


def test_one_ipv6_network_is_one_place(counted: Attempts) -> None:
    for number in range(PER_NAME):
        fail(counted, "alice", f"2001:db8:1:1::{number}", 1)
    assert counted.wait("alice", "2001:db8:1:1:ffff::1") > 0
    assert counted.wait("alice", "2001:db8:1:2::1") == 0
    counted.undo("alice", "2001:db8:1:1::7")
    assert counted.wait("alice", "2001:db8:1:1::8") == 0
