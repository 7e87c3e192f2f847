"""How long a hub's health checks take while something else goes on.

They are sent by a process of their own. In a process with a hundred browsers, whose threads take
turns, the wait for a turn would count as the hub's.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import requests

from toolchain.places import ROOT

#: Seconds after which a check is given up, and counts as this long.
GIVEN_UP = 60

#: Seconds between two checks.
PAUSE = 0.05


@contextmanager
def health_of(url: str, authority: Path, took: list[float]) -> Iterator[None]:
    """Ask a hub for its health meanwhile; in the end, `took` has the seconds of each check.

    Args:
        url: of the hub.
        authority: PEM file to verify its certificate with.
        took: gets the seconds; `GIVEN_UP` of a check that failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.health", url, str(authority)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        if process.stdout is not None:
            process.stdout.readline()  # it has found the page
        yield
    finally:
        output, _ = process.communicate()
        took.extend(json.loads(output))


def watch(url: str, authority: Path) -> list[float]:
    """Return the seconds of each check until standard input ends."""
    browser = requests.Session()
    browser.trust_env = False
    browser.verify = str(authority)
    page = browser.get(url, timeout=GIVEN_UP).url
    health = urljoin(page[: page.index("/hub/") + 1], "hub/health")
    print(health, flush=True)
    took: list[float] = []
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        begin = time.monotonic()
        try:
            browser.get(health, timeout=GIVEN_UP).raise_for_status()
            took.append(time.monotonic() - begin)
        except requests.RequestException:
            took.append(GIVEN_UP)
    return took


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1], Path(sys.argv[2]))))
