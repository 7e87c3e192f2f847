"""Whether the kernel limits homes; a stand-in for an engine whose file system has project quotas.

No machine of these tests has such a file system; test_on_engine.py, beside this, shows
an engine that refuses. What the stand-in answers is what volume/local/local_unix.go of moby does.
"""

from __future__ import annotations

from typing import Any

import pytest
from docker.errors import APIError, NotFound
from zhub import settings
from zhub.guard.helpers import Helpers
from zhub.guard.homes import Homes

LIMIT = 10 << 20


class QuotaEngine:
    """Takes the option `size`, or not, and has this many bytes in a volume that has it."""

    def __init__(self, shown: int, *, takes: bool = True) -> None:
        self.shown = shown
        self.takes = takes
        self.made: dict[str, Any] = {}
        self.removed: list[str] = []

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": "/var/lib/docker"}

    def inspect_volume(self, _: str) -> None:
        raise NotFound("no such volume")

    def create_volume(self, name: str, **more: Any) -> dict[str, Any]:
        if "size" in more["driver_opts"] and not self.takes:
            raise APIError("x", explanation="quota size requested but no quota support")
        self.made[name] = more
        return {"Name": name}

    def remove_volume(self, name: str, *, force: bool) -> None:
        assert force
        self.removed.append(name)


def homes(engine: Any, monkeypatch: pytest.MonkeyPatch, **more: str) -> Homes:
    def run(_: Helpers, command: list[str], **__: Any) -> str:
        if command[0] == "df":
            return f"1B-blocks\n{engine.shown}\n"
        return ""

    monkeypatch.setattr(Helpers, "run", run)
    variables = {"ZHUB_PREFIX": "site", "ZHUB_HOME_LIMIT": f"{LIMIT >> 20}M"} | more
    return Homes(engine, settings.read_guard(variables))


def test_new_homes_have_the_kernels_limit_where_a_volume_with_it_has_that_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = QuotaEngine(LIMIT)
    found = homes(engine, monkeypatch)
    assert found.limited
    # It was tried with a volume such as homes are, of which nothing is left.
    tried = engine.made.pop("site-quota")
    assert engine.removed == ["site-quota"]
    assert tried["labels"] == {"zhub.stack": "site", "zhub.role": "guard-helper"}
    found.make("site-home-alice", {"zhub.user": "alice"})
    folder = "/var/lib/docker/volumes/site-home-alice/_data"
    assert engine.made["site-home-alice"]["driver_opts"] == {
        "type": "none",
        "o": "bind",
        "device": folder,
        "size": str(LIMIT),
    }


def test_they_have_none_where_the_engine_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = QuotaEngine(0, takes=False)
    found = homes(engine, monkeypatch)
    assert not found.limited
    found.make("site-home-alice", {"zhub.user": "alice"})
    assert "size" not in engine.made["site-home-alice"]["driver_opts"]


def test_they_have_none_where_the_engine_promises_what_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = QuotaEngine(1 << 40)
    assert not homes(engine, monkeypatch).limited
    assert "a volume of 10485760 bytes has a file system of 1099511627776 bytes" in caplog.text
    assert engine.removed == ["site-quota"]


@pytest.mark.parametrize("more", [{"ZHUB_HOMES_PATH": "/srv/homes"}, {"ZHUB_HOME_LIMIT": ""}])
def test_nothing_is_tried_for_a_folder_of_the_sites_choice_or_without_a_limit(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    engine = QuotaEngine(LIMIT)
    assert not homes(engine, monkeypatch, **more).limited
    assert not engine.made
