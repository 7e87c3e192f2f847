"""What the benchmarks with many users make of processes and numbers."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks import crowds, grids, processes, rush
from benchmarks.measured import RUSH, Results, Series
from benchmarks.processes import Process, part

ID = "0123456789abcdef" * 4


def process(name: str, command: str = "x", container: str = "", number: int = 7) -> Process:
    return Process(number, name, command, container, 1.0, 1)


def test_processes_are_parts_of_containers_engine_or_nothing() -> None:
    containers = {ID: "hub", ID[::-1]: "servers"}
    assert part(process("jupyterhub", container=ID), containers) == "hub"
    assert part(process("node", "node /opt/proxy/proxy.mjs", ID), containers) == "proxy"
    assert part(process("jupyter-lab", container=ID[::-1]), containers) == "servers"
    assert part(process("bash", container="f" * 64), containers) == "other work"
    assert part(process("dockerd"), containers) == "engine"
    assert part(process("containerd"), containers) == "engine"
    assert part(process("containerd-shim"), containers) == "shims"
    assert part(process("init", number=1), containers) == "filters"
    assert part(process("bash"), containers) == "other work"


def test_the_processor_time_of_children_that_have_ended_counts() -> None:
    watch = processes.Watch()
    compute = "import time\nwhile time.process_time() < 0.1: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", compute], check=True)
    # A sum of numbers that each lost some digits on the way.
    assert watch.seconds({})["browsers"] > 0.09
    # Of this very process, and nobody else's.
    assert processes.memory({})["browsers"] > 5
    assert os.getpid() in {number for (number, _), _ in processes.running()}


def test_a_grid_has_a_column_for_each_number_and_leaves_out_what_was_not_measured() -> None:
    def series(row: str, number: int, *values: float) -> Series:
        return Series(
            metric=RUSH.key(row, number),
            subject="project",
            platform="linux/amd64",
            values=values,
            date="2026-01-02",
        )

    found = [
        series("ready", 25, *(float(n) for n in range(1, 26))),
        series("ready", 50, 3.0, 1.0),
        series("failed", 25, 0),
        series("ready", 100),
    ]
    results = Results("a machine", "linux/amd64", {one.key: one for one in found})
    [text] = grids.of(results, "linux/amd64")
    assert text.splitlines() == [
        "| Users who log in within a second, this project | 25 | 50 | 100 | 200 |",
        "|---|---|---|---|---|",
        (
            "| login form to the API of the user's server, s |"
            " 13.0 / 24.0 / 25.0 | 3.00 / 3.00 | not run |  |"
        ),
        "| users who got no server | 0.00 |  |  |  |",
    ]
    assert not grids.of(results, "linux/s390x")


def test_the_first_user_is_the_one_that_administers_the_hub() -> None:
    assert rush.users(3) == ["alice", "user1", "user2"]


def test_memory_that_is_available_is_read() -> None:
    assert 10 < processes.available() < 1 << 24


def test_a_number_of_users_that_would_take_too_long_is_left_out() -> None:
    now = 0.0
    left = crowds.Time(2, lambda: now)
    assert not left.too_short(1000), "nobody knows yet"
    now = 30.0
    left.done(10)
    assert not left.too_short(30)
    assert left.too_short(31) == "it would have taken more than 2 minutes"
    now = 100.0
    assert left.too_short(7)
    assert not left.too_short(6)
