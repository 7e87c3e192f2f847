"""What is free in homesPath; test_on_engine.py looks at a real folder."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from docker.errors import APIError
from prometheus_client import CollectorRegistry, generate_latest
from zhub import settings
from zhub.guard.disk import FRESH, HomesDisk
from zhub.guard.helpers import Helpers
from zhub.guard.homes import Homes


class Folder:
    """What the container prints of the site's folder, or why it does not run."""

    def __init__(self) -> None:
        self.printed: str | Exception = "4096 1000 50\n"
        self.looks: list[tuple[list[str], list[Any]]] = []
        self.now = 0.0

    def run(self, command: list[str], *, mounts: list[Any], **__: Any) -> str:
        self.looks.append((command, mounts))
        if isinstance(self.printed, Exception):
            raise self.printed
        return self.printed


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Folder:
    folder = Folder()
    monkeypatch.setattr(Helpers, "run", folder.run)
    return folder


@pytest.fixture
def scrape(folder: Folder) -> Any:
    client: Any = None
    variables = {"ZHUB_PREFIX": "site", "ZHUB_HOMES_PATH": "/srv/homes"}
    registry = CollectorRegistry()
    homes = Homes(client, settings.read_guard(variables))
    registry.register(HomesDisk(homes, lambda: folder.now))

    def text() -> str:
        found = generate_latest(registry).decode()
        for thread in threading.enumerate():
            if thread.name == "homes disk":
                thread.join()
        return found

    return text


def test_a_scrape_has_what_was_seen_for_the_one_before(scrape: Any, folder: Folder) -> None:
    assert "guard_homes_disk" not in scrape()
    text = scrape()
    assert "guard_homes_disk_size_bytes 4.096e+06\n" in text
    assert "guard_homes_disk_free_bytes 204800.0\n" in text
    [(_, [mount])] = folder.looks
    assert (mount["Source"], mount["Type"], mount["ReadOnly"]) == ("/srv/homes", "bind", True)


def test_it_is_looked_at_once_in_a_while(scrape: Any, folder: Folder) -> None:
    for now in (0, 1, FRESH - 1, FRESH, FRESH + 1):
        folder.now = now
        scrape()
    assert len(folder.looks) == 2


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("it hangs"), APIError("bind source path does not exist"), "nonsense", ""],
)
def test_what_cannot_be_seen_is_left_out_and_looked_for_again(
    scrape: Any, folder: Folder, caplog: pytest.LogCaptureFixture, failure: str | Exception
) -> None:
    scrape()
    folder.now, seen, folder.printed = FRESH, folder.printed, failure
    scrape()
    assert "guard_homes_disk" not in scrape(), "old numbers would look like new ones"
    assert "what is free in homesPath is not known" in caplog.text
    folder.now, folder.printed = 2 * FRESH, seen
    scrape()
    assert "guard_homes_disk_free_bytes 204800.0\n" in scrape()
