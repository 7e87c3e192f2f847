"""Whether the kernel limits homes, and folders that were the site's before; on stand-ins.

One is an engine whose file system has project quotas. No machine of these tests has such a file
system; test_on_engine.py, beside this, shows an engine that refuses. What the stand-in answers is
what volume/local/local_unix.go of moby does.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from zhub import settings
from zhub.guard.helpers import Helpers, UnusableError
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


FORMER = {"ZHUB_HOME_LIMIT": "", "ZHUB_FORMER_HOMES_PATHS": '["/srv/old"]'}


class OldHomes:
    """An engine with a home in /srv/old, and what a helper finds there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> None:
        self.answer = answer
        self.asked: list[list[str]] = []
        self.device = "/srv/old/site-home-alice"

        def run(_: Helpers, command: list[str], **__: Any) -> str:
            self.asked.append(command)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        monkeypatch.setattr(Helpers, "run", run)

    def inspect_volume(self, name: str) -> dict[str, Any]:
        options = {"type": "none", "o": "bind", "device": self.device}
        return {"Name": name, "Driver": "local", "Options": options}

    @property
    def homes(self) -> Homes:
        client: Any = self
        return Homes(client, settings.read_guard({"ZHUB_PREFIX": "site"} | FORMER))


CLOSE = "as root: install -d -o root -g root -m 700 /srv/old"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("0 0 41ff\n1000 0 41c0", f"may write in /srv/old .owner 0, mode 777.*{CLOSE}"),
        ("0 0 43ff\n1000 0 41c0", f"owner 0, mode 1777.*{CLOSE}"),
        ("0 0 41f8\n1000 0 41c0", f"owner 0, mode 770.*{CLOSE}"),
        ("1000 0 41c0\n1000 0 41c0", f"owner 1000, mode 700.*{CLOSE}"),
        (RuntimeError("site-home-alice is a link"), "site-home-alice is a link"),
        (APIError("bind source path does not exist"), "path does not exist"),
    ],
)
def test_no_home_is_mounted_where_others_could_have_replaced_it_by_a_link(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: str | Exception,
    said: str,
) -> None:
    """The folder is one that homesPath was before; a guard starts also where it is away."""
    engine = OldHomes(monkeypatch, answer)
    engine.homes.check()
    assert re.search(f"no server starts with a home in /srv/old: .*{said}", caplog.text)
    with (
        pytest.raises(UnusableError, match=f"/srv/old, where homesPath was before: .*{said}"),
        engine.homes.mounting("site-home-alice"),
    ):
        pytest.fail("it is mounted")
    assert engine.asked[-1][-1].endswith("/site-home-alice")


def test_a_home_in_a_folder_from_before_is_mounted_where_only_root_writes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = OldHomes(monkeypatch, "0 0 41ed\n1000 0 41c0")
    found = engine.homes
    found.check()
    assert not caplog.text
    with found.mounting("site-home-alice"):
        pass
    # Each time: somebody may have opened the folder since.
    engine.answer = "0 0 41ff\n1000 0 41c0"
    with pytest.raises(UnusableError), found.mounting("site-home-alice"):
        pass
    # Of homes that are elsewhere, nothing is asked.
    asked = len(engine.asked)
    engine.device = "/srv/homes/site-home-alice"
    with found.mounting("site-home-alice"):
        pass
    assert len(engine.asked) == asked
