"""Debian's Prometheus, which scrapes a stack as docs/monitoring.md has it, and its own API."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.built import wait_until
from tests.engine.namespaces import entered
from tests.engine.stack import Stack
from tests.monitoring.names import FOLDER
from tests.monitoring.quick import quicker

PROGRAM = "prometheus"

PORT = 9090
"""In a network namespace of its own."""


@dataclass
class Prometheus:
    """One that runs, in the network namespace of a stack's engine."""

    namespace: str
    fired: dict[str, float] = field(default_factory=dict)
    """The alerts that its API has shown as firing, with the time (seconds) of the first."""
    labels: list[dict[str, str]] = field(default_factory=list)
    """Of each of them."""
    _over: threading.Event = field(default_factory=threading.Event)

    def get(self, path: str, **parameters: str) -> Any:
        """Ask its API."""
        address = f"http://127.0.0.1:{PORT}/api/v1/{path}"
        answer = requests.get(address, params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression has now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def alerts(self, *states: str) -> set[str]:
        """Return the names of the alerts in these states."""
        found = self.get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] in states}

    def look(self) -> None:
        """Look at the alerts again and again: some have ended before anybody waits for them."""
        with entered(self.namespace):
            while not self._over.wait(0.5):
                for one in self.get("alerts")["alerts"]:
                    if one["state"] != "firing":
                        continue
                    self.fired.setdefault(one["labels"]["alertname"], time.time())
                    if one["labels"] not in self.labels:
                        self.labels.append(one["labels"])

    def wait_for(self, names: frozenset[str], *, seconds: float) -> None:
        """Wait until each of these has fired."""
        try:
            wait_until(lambda: names <= self.fired.keys(), seconds=seconds)
        except AssertionError:
            missing = sorted(names - self.fired.keys())
            raise AssertionError(f"has not fired: {', '.join(missing)}") from None

    def wait_for_silence(self, *, seconds: float) -> None:
        """Wait until no alert fires, and none is about to."""
        wait_until(lambda: not self.alerts("firing", "pending"), seconds=seconds)

    def end(self) -> None:
        """Look no more."""
        self._over.set()


def configure(folder: Path, stack: Stack, port: int) -> None:
    """Write configuration and rules beside token and certificate, as an operator does.

    The names are the stack's, and all durations are shorter.
    """
    text = (FOLDER / "prometheus.yml").read_text()
    for printed, here in (
        ("hub.example.com:11119", f"localhost:{port}"),
        ("zhub-production", stack.prefix),
        ("stack: production", f"stack: {stack.name}"),
        # With the ten seconds that Prometheus waits by default: a busy machine needs them.
        ("scrape_interval: 30s", "scrape_interval: 10s"),
    ):
        assert printed in text
        text = text.replace(printed, here)
    (folder / "prometheus.yml").write_text(quicker(text))
    (folder / "rules.yml").write_text(quicker((FOLDER / "rules.yml").read_text()))


@contextmanager
def prometheus(folder: Path, made: Prometheus) -> Iterator[None]:
    """Run one with the configuration in a folder."""
    program = shutil.which(PROGRAM)
    assert program
    looking = threading.Thread(target=made.look, daemon=True)
    with (folder / "prometheus.log").open("w") as log, entered(made.namespace):
        process = subprocess.Popen(
            [
                program,
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{PORT}",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        with entered(made.namespace):
            wait_until(lambda: answers(made), seconds=30)
        looking.start()
        yield
    finally:
        made.end()
        if looking.ident:
            looking.join(timeout=60)
        process.terminate()
        process.wait(timeout=60)


def answers(made: Prometheus) -> bool:
    """Whether it answers yet."""
    try:
        made.get("alerts")
    except requests.RequestException:
        return False
    return True
