"""How the guard counts homes; the engine and its containers here only say what they are asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests.exceptions
from prometheus_client import CollectorRegistry, generate_latest
from zhub import settings
from zhub.guard import homes, sizes
from zhub.guard.helpers import Helpers
from zhub.guard.sizes import AT_A_TIME, Sizes

from tests.disks import LARGE, home_with_a_subvolume

ROOT = "/var/lib/docker/volumes"


class Engine:
    """Has homes and servers, and counts a home by the table `bytes`."""

    def __init__(self, *users: str) -> None:
        self.bytes = dict.fromkeys(users, 1 << 20)
        self.running: set[str] = set()
        self.options: dict[str, str] = {}
        self.silent = False

    def volumes(self, **_: Any) -> dict[str, Any]:
        if self.silent:
            raise requests.exceptions.ConnectionError("no answer")
        return {
            "Volumes": [
                {
                    "Name": f"site-home-{user}",
                    "Driver": "local",
                    "Mountpoint": f"{ROOT}/site-home-{user}/_data",
                    "Labels": {"zhub.user": user},
                    "Options": user in self.options and homes.options(self.options[user]),
                }
                for user in self.bytes
            ]
        }

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Names": [f"/site-user-{user}"]} for user in self.running]


class Counted:
    """What was counted, and how long the guard rested."""

    def __init__(self) -> None:
        self.folders: list[list[str]] = []
        self.missing: set[str] = set()
        self.rests: list[float] = []

    def users(self) -> list[list[str]]:
        """Whose homes each container has counted, since the last time."""
        found = [[folder.split("-")[-1].split("/")[0] for folder in few] for few in self.folders]
        self.folders.clear()
        return found


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def engine() -> Engine:
    return Engine("alice", "bob")


@pytest.fixture
def found(engine: Any, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> Sizes:
    def run(_: Helpers, command: list[str], *, mounts: list[Any], **__: Any) -> str:
        folders = [mount["Source"] for mount in mounts]
        assert all(mount["ReadOnly"] and mount["Type"] == "bind" for mount in mounts)
        if gone := counted.missing & set(folders):
            raise RuntimeError(f"bind source path does not exist: {gone}")
        counted.folders.append(folders)
        lines = []
        for number, folder in zip(command[4:], folders, strict=True):
            size = engine.bytes[folder.split("-")[-1].split("/")[0]]
            if size:
                lines.append(f"{size}\t/homes/{number}\n")
        return "".join(lines)

    monkeypatch.setattr(Helpers, "run", run)
    own = settings.read_guard({"ZHUB_PREFIX": "site", "ZHUB_HOME_LIMIT": "10M"})
    return Sizes(engine, own, enforced=False, rest=counted.rests.append)


def text(found: Sizes) -> str:
    registry = CollectorRegistry()
    registry.register(found)
    return generate_latest(registry).decode()


def test_all_homes_are_counted_once_and_then_those_whose_servers_run_or_have_ended_since(
    found: Sizes, engine: Engine, counted: Counted
) -> None:
    found.count()
    assert counted.users() == [["alice", "bob"]]
    found.count()
    assert counted.users() == []
    engine.running = {"bob"}
    engine.bytes["carol"] = 1
    found.count()
    assert counted.users() == [["bob", "carol"]]
    engine.running = set()
    found.count()
    assert counted.users() == [["bob"]], "files may have changed until the server ended"
    found.count()
    assert counted.users() == []


def test_what_is_known_is_shown_with_the_limit(found: Sizes, engine: Engine) -> None:
    assert "guard_home_bytes{" not in text(found)
    engine.bytes["bob"] = 11 << 20
    found.count()
    assert 'guard_home_bytes{user="alice"} 1.048576e+06\n' in text(found)
    assert 'guard_home_bytes{user="bob"} 1.1534336e+07\n' in text(found)
    assert "guard_home_limit_bytes 1.048576e+07\n" in text(found)
    assert "guard_home_limit_enforced 0.0\n" in text(found)
    del engine.bytes["bob"]
    found.count()
    assert "bob" not in text(found), "the home was removed"
    assert found.of_users() == {"alice": 1 << 20}


def test_a_home_that_has_become_full_is_logged_once(
    found: Sizes, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.running = {"alice"}
    for size in (9 << 20, 10 << 20, 11 << 20, 1 << 20, 10 << 20):
        engine.bytes["alice"] = size
        found.count()
    assert caplog.messages == ["the home of alice is full: 0.0 of 0.0 GiB"] * 2


def test_a_few_are_counted_at_a_time_and_the_guard_rests_in_between(
    found: Sizes, engine: Engine, counted: Counted
) -> None:
    engine.bytes = dict.fromkeys((f"user{number}" for number in range(AT_A_TIME + 1)), 1)
    found.count()
    assert [len(few) for few in counted.users()] == [AT_A_TIME, 1]
    assert len(counted.rests) == 2


def test_one_that_is_not_mounted_keeps_no_other_from_being_counted(
    found: Sizes, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    counted.missing = {f"{ROOT}/site-home-alice/_data"}
    found.count()
    assert found.of_users() == {"bob": 1 << 20}
    assert "site-home-alice is not counted: bind source path does not exist" in caplog.text


def test_one_that_takes_too_long_is_left_as_it_was_known(
    found: Sizes, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    found.count()
    engine.bytes["alice"] = 0  # nothing is printed of it
    engine.running = {"alice"}
    found.count()
    assert found.of_users()["alice"] == 1 << 20
    assert "site-home-alice is not counted: du did not end in 300 s" in caplog.text


@pytest.mark.parametrize(
    ("fails", "printed"),
    [("kill -KILL $$", "2\t/homes/0\n2\t/homes/1\n"), ("exit 124", ""), ("exit 1", "")],
)
def test_in_a_home_with_too_many_files_of_several_names_each_name_counts(
    tmp_path: Path, fails: str, printed: str
) -> None:
    """Otherwise nobody who makes that many would ever be full."""
    du = tmp_path / "du"
    du.write_text(
        f"#!/bin/sh\nfor last; do :; done\ncase $* in *--count-links*) ;; *) {fails} ;; esac\n"
        'printf "2\\t%s\\n" "$last"\n'
    )
    du.chmod(0o755)
    counted = subprocess.run(
        ["sh", "-c", sizes.COUNT, "sh", "0", "1"],
        env={"PATH": f"{tmp_path}:{os.defpath}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert counted.stdout == printed


@pytest.mark.long
def test_what_is_in_a_subvolume_counts(tmp_path: Path) -> None:
    """A quota of the home does not count it."""
    with home_with_a_subvolume(tmp_path) as home:
        script = sizes.COUNT.replace(sizes.SEEN, str(home.parent))
        printed = subprocess.check_output(["sh", "-c", script, "sh", home.name], text=True)
    assert int(printed.split()[0]) >= LARGE


def test_a_volume_that_leads_elsewhere_is_not_read(
    found: Sizes, engine: Engine, counted: Counted
) -> None:
    engine.options["alice"] = "/etc"
    found.count()
    assert counted.users() == [["bob"]]


def test_only_what_is_in_the_engines_own_folder_follows_the_mounts_there(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file system whose mounts are private, the engine would refuse it."""
    mounted = {}

    def run(_: Helpers, __: list[str], *, mounts: list[Any], **___: Any) -> str:
        mounted.update({one["Source"]: one["BindOptions"]["Propagation"] for one in mounts})
        return ""

    monkeypatch.setattr(Helpers, "run", run)
    there = "/srv/homes/site-home-alice"
    engine.options["alice"] = there
    path = {"ZHUB_HOMES_PATH": "/srv/homes"}
    own = settings.read_guard({"ZHUB_PREFIX": "site", "ZHUB_HOME_LIMIT": "10M"} | path)
    Sizes(engine, own, enforced=False, rest=lambda _: None).count()
    assert mounted == {there: "rprivate", f"{ROOT}/site-home-bob/_data": "rslave"}


def test_a_silent_engine_ends_nothing(
    found: Sizes, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    found.count()
    engine.silent = True
    found.count()
    assert "homes are not counted: no answer" in caplog.text
    assert found.of_users()["alice"] == 1 << 20


def test_one_that_is_asked_for_is_counted_before_its_turn(
    found: Sizes, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Exception):
        pass

    def count(_: Sizes, only: Any = ()) -> None:
        counted.folders.append(sorted(only))
        if len(counted.folders) == 2:
            raise Ended

    monkeypatch.setattr(sizes.Sizes, "count", count)
    assert found.of("site-home-alice") is None
    found.soon("site-home-bob")
    with pytest.raises(Ended):
        found.keep()
    assert counted.folders == [[], ["site-home-alice", "site-home-bob"]]


def test_a_hub_that_asks_without_end_fills_no_memory(found: Sizes) -> None:
    for number in range(2 * sizes.MOST_ASKED):
        assert found.of(f"site-home-{number}") is None
    assert found._asked.qsize() == sizes.MOST_ASKED
