"""Pages while the disk is slow: every sync of a file takes 200 ms, as on a busy network share."""

from __future__ import annotations

import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.images.hub import real_hub, slapd
from tests.images.hub.slapd import PASSWORDS

# In one process with the engine's tests: it measures how long pages take.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engine")]

DELAY = 200_000
"""Microseconds."""

SLOW = [
    *("strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"),
    *("-e", f"inject=fsync,fdatasync:delay_enter={DELAY}"),
]

SECONDS = 15

#: SQLite's defaults for a connection, with which every commit waits for the disk.
WAITING = """
# Its own connection would keep the database from changing its mode.
checkpoints.stop()

from sqlalchemy import event
from sqlalchemy.engine import Engine

@event.listens_for(Engine, "connect")
def as_before(connection, _):
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=FULL")
"""


def page_times(folder: Path, more: str) -> list[float]:
    """Return the seconds that login pages take while users' activity is recorded, sorted."""
    if not shutil.which("strace"):
        pytest.skip("no strace: apt-get install strace")
    with slapd.running(folder / "slapd") as directory:
        ldap = directory.everybody()
        # With far more checkpoints than in production.
        often = "database.CHECKPOINT = 5\n"
        with real_hub.running(folder / "hub", ldap, more=often + more, prefix=SLOW) as hub:
            hub.browser("bob", PASSWORDS["bob"])
            token = hub.token("bob", PASSWORDS["bob"]).json()["token"]
            end = time.monotonic() + SECONDS

            def write() -> int:
                """Report activity to the hub, as every server does: each report is a commit."""
                done = 0
                while time.monotonic() < end:
                    activity = {"last_activity": datetime.now(UTC).isoformat()}
                    hub.api("POST", "users/bob/activity", token, json=activity).raise_for_status()
                    done += 1
                    time.sleep(0.05)
                return done

            def read() -> list[float]:
                times = []
                session = requests.Session()
                while time.monotonic() < end:
                    begin = time.monotonic()
                    session.get(f"{hub.url}hub/login", timeout=30).raise_for_status()
                    times.append(time.monotonic() - begin)
                    time.sleep(0.01)
                return times

            with ThreadPoolExecutor() as threads:
                writes = threads.submit(write)
                times = sorted(threads.submit(read).result())
            p50, p99 = statistics.median(times), times[int(0.99 * len(times))]
            print(f"{writes.result()} commits, {len(times)} pages: {p50=:.4f} s, {p99=:.4f} s")
            return times


@pytest.mark.parametrize(
    ("more", "waits"),
    [
        pytest.param("", False, id="now"),
        pytest.param(WAITING, True, id="before", marks=pytest.mark.long),
    ],
)
def test_no_page_waits_for_the_disk(tmp_path: Path, more: str, *, waits: bool) -> None:
    times = page_times(tmp_path, more)
    p99 = times[int(0.99 * len(times))]
    # SQLite's defaults show that the delay is real. A page that waits for it takes as long.
    assert (p99 > DELAY / 1e6) if waits else (p99 < DELAY / 1e6)
