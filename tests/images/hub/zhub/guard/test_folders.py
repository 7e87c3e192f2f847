"""Which requests for shared folders the guard understands, and which folders it mounts.

What it does not understand stays for the policy.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests
from docker.errors import NotFound
from zhub.guard.bodies import Refused
from zhub.guard.folders import FRESH, Folders, asked
from zhub.guard.helpers import Helpers, UnusableError
from zhub.guard.policy import Policy
from zhub.settings.folders import SharedFolder

from tests.images.hub.zhub.guard.test_policy import NAME, POLICY, changed
from toolchain.places import ROOT

TEAM = SharedFolder(name="team", read_only=False)
DATA = SharedFolder(name="data", read_only=True, path="/srv/shared/data")
HOME = "site-home-alice:/home/jovyan:rw"
TEAMS, DATAS = "site-shared_team:/shared/team:rw", "site-shared_data:/shared/data:ro"
SHARING = Policy(replace(POLICY.settings, shared_folders=(TEAM, DATA)), POLICY.images)


def body(*binds: Any, places: Any = None) -> dict[str, Any]:
    named = [bind for bind in binds if isinstance(bind, str)]
    wanted: dict[str, Any] = {bind.split(":")[1]: {} for bind in named}
    made = changed("HostConfig.Binds", list(binds))
    made["Volumes"] = wanted if places is None else places
    return made


def decided(request: dict[str, Any]) -> list[SharedFolder]:
    folders, rest = asked(request, SHARING.settings.shared_folders, "site")
    made = SHARING.container(NAME, rest)
    # The policy itself never mounts more than the home.
    assert made["HostConfig"]["Binds"] == [HOME]
    assert "Mounts" not in made["HostConfig"]
    return folders


def test_the_folders_of_the_stack_are_taken_out_of_the_request() -> None:
    assert decided(body(HOME)) == []
    assert decided(body(HOME, TEAMS)) == [TEAM]
    assert decided(body(DATAS, HOME, TEAMS)) == [DATA, TEAM]


@pytest.mark.parametrize(
    "bind",
    [
        "site-shared_other:/shared/other:rw",
        "other-shared_team:/shared/team:rw",
        "site-shared_team:/shared/team:ro",
        "site-shared_team:/shared/team",
        "site-shared_team:/shared/team:rw,z",
        "site-shared_team:/usr/local/bin:rw",
        "site-shared_team:/home/jovyan/shared/team:rw",
        "site-shared_team:/shared/../etc:rw",
        "site-shared_data:/shared/data:rw",
        "/srv/shared/data:/shared/data:ro",
        "/srv/shared:/shared/data:ro",
        "/:/shared/data:ro",
        "site-home-bob:/shared/team:rw",
        "site-state:/shared/team:rw",
        ["site-shared_team:/shared/team:rw"],
        None,
    ],
)
def test_any_other_mount_is_refused(bind: Any) -> None:
    for binds in ([HOME, bind], [HOME, TEAMS, bind], [bind]):
        with pytest.raises(Refused):
            decided(body(*binds))


def test_a_folder_is_asked_for_once() -> None:
    with pytest.raises(Refused):
        decided(body(HOME, TEAMS, TEAMS))


def test_places_without_a_folder_are_refused() -> None:
    wrong: list[dict[str, Any]] = [{"/shared/data": {}}, {"/shared/team": {"x": 1}}, {"/etc": {}}]
    for places in wrong:
        with pytest.raises(Refused):
            decided(body(HOME, TEAMS, places={"/home/jovyan": {}, **places}))


def test_a_mount_in_another_form_is_refused() -> None:
    mount = {"Type": "volume", "Source": "site-shared_team", "Target": "/shared/team"}
    with pytest.raises(Refused):
        decided(changed("HostConfig.Mounts", [mount]))


ROOTS = 0, stat.S_IFDIR | 0o755


class Machine:
    """What `stat` prints of folders below /srv/shared, as owner and mode; looks are counted."""

    def __init__(self, **there: tuple[int, int]) -> None:
        self.there = {"/seen": ROOTS, "/seen/teamA": ROOTS, "/seen/teamA/data": (1000, 0o40777)}
        self.there |= {place.replace("_", "/"): found for place, found in there.items()}
        self.looks = 0

    def run(self, command: list[str], **given: Any) -> str:
        [mount] = given["mounts"]
        assert (mount["Source"], mount["Target"]) == ("/srv/shared", "/seen")
        assert mount["ReadOnly"]
        self.looks += 1
        found = [self.there[path] for path in command[4:]]
        return "".join(f"{owner} 0 {mode:x}\n" for owner, mode in found)


def mounting(
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    clock: Callable[[], float] = lambda: 0,
    *,
    read_only: bool = True,
) -> Folders:
    monkeypatch.setattr(Helpers, "run", lambda _, *given, **more: machine.run(*given, **more))
    deep = replace(DATA, path="/srv/shared/teamA/data", read_only=read_only)
    found = replace(POLICY.settings, shared_folders=(deep,), shared_root="/srv/shared")
    engine: Any = None
    return Folders(engine, Helpers(engine, "filter", "site"), found, clock)


def test_a_folder_is_mounted_whoevers_it_is_where_only_root_can_replace_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [mount] = mounting(monkeypatch, Machine()).mounts(["data"])
    assert mount["Source"] == "/srv/shared/teamA/data"


WRONG = {
    "another owner": (1001, 0o40755),
    "another owner, who may change the mode": (1001, 0o40555),
    "the group": (0, 0o40775),
    "everybody": (0, 0o40757),
    "everybody, but each only what is theirs": (0, 0o41777),
}


@pytest.mark.parametrize("place", ["_seen", "_seen_teamA"])
@pytest.mark.parametrize("found", WRONG.values(), ids=WRONG)
def test_it_is_not_mounted_where_others_could_replace_it_by_a_link(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
    found: tuple[int, int],
) -> None:
    folders = mounting(monkeypatch, Machine(**{place: found}))
    path = "/srv/shared" + place.removeprefix("_seen").replace("_", "/")
    # The guard starts all the same, and says so.
    folders.look()
    wanted = f"{path} (owner {found[0]}, mode {stat.S_IMODE(found[1]):o})"
    assert wanted in caplog.text
    with pytest.raises(UnusableError) as caught:
        folders.mounts(["data"])
    text = str(caught.value)
    assert text.startswith("Shared folder data cannot be mounted now, so servers with it do not")
    assert wanted in text
    assert text.endswith(f"as root: chown root {path} && chmod go-w {path}")


@pytest.mark.parametrize(
    ("end", "read_only", "says"),
    [
        ((0, 0o40755), False, "users may not write in /srv/shared/teamA/data (owner 0, mode 755)"),
        ((0, 0o40755), True, ""),
        ((1000, 0o40700), False, ""),
        (
            (1000, 0o40077),
            True,
            "users may not look in /srv/shared/teamA/data (owner 1000, mode 77)",
        ),
        ((0, 0o40750), True, "users may not look in"),
    ],
)
def test_a_folder_that_is_closed_to_servers_is_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end: tuple[int, int],
    *,
    read_only: bool,
    says: str,
) -> None:
    folders = mounting(monkeypatch, Machine(_seen_teamA_data=end), read_only=read_only)
    folders.look()
    said = [line for line in caplog.messages if "as far as owner and mode tell" in line]
    assert len(said) == bool(says)
    assert says in "".join(said)
    if said:
        assert said[0].startswith("shared folder data: ")
        assert said[0].endswith("as root: chown 1000:1000 /srv/shared/teamA/data")
    assert folders.mounts(["data"])


def test_the_page_shows_what_is_said_then(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = mounting(monkeypatch, Machine(_seen_teamA=(1001, 0o40755)))
    with pytest.raises(UnusableError) as caught:
        folders.mounts(["data"])
    page = (ROOT / "docs" / "shared-folders.md").read_text()
    assert str(caught.value) in " ".join(page.split())


def test_all_folders_to_be_changed_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(_seen=(0, 0o40775), _seen_teamA=(1001, 0o40755))
    with pytest.raises(UnusableError) as caught:
        mounting(monkeypatch, machine).mounts(["data"])
    both = "/srv/shared /srv/shared/teamA"
    assert str(caught.value).endswith(f"as root: chown root {both} && chmod go-w {both}")


def test_a_path_that_has_changed_is_noticed_and_one_that_is_right_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    machine = Machine()
    folders = mounting(monkeypatch, machine, lambda: now)
    for _ in range(3):
        folders.mounts(["data"])
    assert machine.looks == 1
    machine.there["/seen/teamA"] = 1001, 0o40755
    now += FRESH
    for _ in range(2):
        with pytest.raises(UnusableError):
            folders.mounts(["data"])
    machine.there["/seen/teamA"] = ROOTS
    # What was wrong is looked at each time, so that it works as soon as it is put right.
    folders.mounts(["data"])
    assert machine.looks == 4


class Volumes:
    """The part of an engine that has volumes."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": "/var/lib/docker"}

    def inspect_volume(self, name: str) -> Any:
        if name not in self.there:
            raise NotFound(name)
        return self.there[name]

    def create_volume(self, name: str, **given: Any) -> Any:
        self.there[name] = {
            "Driver": given["driver"],
            "Options": given["driver_opts"],
            "Labels": given["labels"],
            "Mountpoint": given["driver_opts"]["device"],
        }
        return self.there[name]


def test_a_volume_that_was_removed_is_made_and_given_to_the_users_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator may empty a folder by it, while the guard runs."""
    prepared: list[str] = []
    monkeypatch.setattr(Helpers, "run", lambda _, command, **__: prepared.append(command[-1]))
    engine: Any = Volumes()
    settings = replace(POLICY.settings, shared_folders=(TEAM,))
    folders = Folders(engine, Helpers(engine, "filter", "site"), settings)
    for _ in range(3):
        folders.mounts(["team"])
    assert len(prepared) == 1
    engine.there.clear()
    folders.mounts(["team"])
    assert engine.there.keys() == {"site-shared_team"}
    assert len(prepared) == 2
    assert prepared[1].startswith("chown 1000:1000 ")


def test_an_engine_that_is_silent_for_one_folder_ends_no_look(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(Volumes):
        def inspect_volume(self, name: str) -> Any:
            if name.endswith("_team"):
                raise requests.exceptions.ConnectionError("no answer")
            return super().inspect_volume(name)

    monkeypatch.setattr(Helpers, "run", lambda *_, **__: "")
    engine: Any = Silent()
    other = SharedFolder(name="other", read_only=False)
    settings = replace(POLICY.settings, shared_folders=(TEAM, other))
    Folders(engine, Helpers(engine, "filter", "site"), settings).look()
    assert engine.there.keys() == {"site-shared_other"}
    assert "no answer" in caplog.text


def test_several_paths_are_looked_at_together_and_one_that_is_wrong_keeps_no_other_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(_seen_b=(1000, 0o40777), _seen_teamA_c=(1000, 0o120777))
    monkeypatch.setattr(Helpers, "run", lambda _, *given, **more: machine.run(*given, **more))
    names = {"a": "teamA/data", "b": "b", "c": "teamA/c", "again": "b"}
    shared = tuple(
        SharedFolder(name=name, read_only=True, path=f"/srv/shared/{path}")
        for name, path in names.items()
    )
    found = replace(POLICY.settings, shared_folders=shared, shared_root="/srv/shared")
    engine: Any = None
    folders = Folders(engine, Helpers(engine, "filter", "site"), found, lambda: 0)
    mounts = folders.mounts(["a", "b", "again"])
    assert [mount["Source"] for mount in mounts] == [
        f"/srv/shared/{path}" for path in ("teamA/data", "b", "b")
    ]
    assert machine.looks == 1
    with pytest.raises(UnusableError, match="teamA/c is a link"):
        folders.mounts(["a", "b", "c"])
    # A path that is due is looked at with the others; those that are fine need no second look.
    folders = Folders(engine, Helpers(engine, "filter", "site"), found, lambda: 0)
    folders.look()
    assert machine.looks == 4
