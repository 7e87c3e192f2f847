"""Folders that users share: what a stack may say, and what hub and guard get of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components import variables
from components.settings import folders
from tests.components.recorder import environment, run
from tests.components.stack_config import DEMO, SITE, fixed, read, refused

GROUP = "cn=research,ou=groups,dc=example,dc=org"
ROOT = {"zhub:sharedRoot": "/srv/shared"}
FOLDERS: list[dict[str, Any]] = [
    {"name": "research", "groups": [GROUP], "mode": "read-write"},
    {"name": "data", "path": "data/2026"},
]


def having(*folders: object, root: bool = False) -> dict[str, str]:
    return DEMO | {"zhub:sharedFolders": json.dumps(folders)} | (ROOT if root else {})


def test_the_guard_learns_what_to_mount_and_the_hub_who_gets_it() -> None:
    from zhub import settings as hub_settings

    found = run(having(*FOLDERS, root=True))
    of_guard = environment(found.one("Container", "guard"))
    of_hub = environment(found.one("Container", "hub"))
    assert GROUP not in of_guard["ZHUB_SHARED_FOLDERS"]
    assert "/srv/shared" not in json.dumps(of_hub)
    research, data = hub_settings.read_guard(of_guard).shared_folders
    assert (research.name, research.path, research.read_only) == ("research", "", False)
    assert (data.path, data.read_only) == ("/srv/shared/data/2026", True)
    [research, data] = hub_settings.folders.parse(of_hub["ZHUB_SHARED_FOLDERS"])
    assert (research.groups, data.groups) == ((GROUP,), ())
    assert [one.mode for one in (research, data)] == ["rw", "ro"]


def test_a_stack_without_them_is_as_it_was() -> None:
    found = run(DEMO)
    for name in ("hub", "guard"):
        variables = environment(found.one("Container", name))
        assert not [variable for variable in variables if "SHARED_FOLDERS" in variable]


@pytest.mark.parametrize(
    ("folder", "reason", "command"),
    [
        ("x", "element 1: not a folder with a name", "config rm --path 'sharedFolders[0]'"),
        ({}, "element 1: has no name", "'sharedFolders[0].name' project"),
        ({"name": "A"}, 'folder A, name "A": not a name', "'sharedFolders[0].name' project"),
        ({"name": "../x"}, "not a name of a-z", "'sharedFolders[0].name' project"),
        (
            {"name": "a", "mode": "rw"},
            'folder a, mode "rw": not one of read-only, read-write',
            "'sharedFolders[0].mode' read-only",
        ),
        (
            {"name": "a", "group": GROUP},
            'folder a, "group": unknown; a folder has name, groups, profiles, mode, path',
            "rm --path 'sharedFolders[0][\"group\"]'",
        ),
        (
            {"name": "a", "groups": GROUP},
            ": not a list of texts",
            "rm --path 'sharedFolders[0].groups'",
        ),
        (
            {"name": "a", "groups": ["research"]},
            'groups ["research"]: "research": not a DN',
            "'sharedFolders[0].groups[0]' cn=research",
        ),
        (
            {"name": "a", "groups": [GROUP, GROUP]},
            "given twice",
            "rm --path 'sharedFolders[0].groups[1]'",
        ),
        (
            {"name": "a", "profiles": "large"},
            ": not a list of texts",
            "rm --path 'sharedFolders[0].profiles'",
        ),
        *(
            ({"name": "a", "path": path}, "not a path below sharedRoot", ".path' data")
            for path in ("/etc", "../x", "a/../../etc", "a//b", ".hidden", "a/", "a\nb", True)
        ),
    ],
)
def test_a_wrong_folder_is_refused_with_the_command_that_fixes_it(
    folder: object, reason: str, command: str
) -> None:
    message = refused(having(folder))
    assert message.startswith("sharedFolders is ")
    assert reason in message
    assert command in message


@pytest.mark.parametrize("key", ["0[", "a.b", 'a"b', "a\u0085b", "a b"])
def test_the_command_names_whatever_key_it_is_about(key: str) -> None:
    assert not fixed(having({"name": "a", key: 1}), set()).users.folders.folders[0].groups


def test_an_empty_path_is_that_of_a_volume() -> None:
    """As older releases took it."""
    assert read(having({"name": "a", "path": ""}))[0].users.folders.folders[0].path == ""


def test_a_folder_for_servers_of_a_profile_names_one_that_there_is() -> None:
    from zhub import settings as hub_settings

    folder = {"name": "models", "profiles": ["large"]}
    profiles = {"zhub:profiles": '[{"name": "small"}, {"name": "large"}]'}
    found = run(having(folder) | profiles)
    of_hub, of_guard = (environment(found.one("Container", name)) for name in ("hub", "guard"))
    assert "profiles" not in of_guard["ZHUB_SHARED_FOLDERS"]
    [models] = hub_settings.folders.parse(of_hub["ZHUB_SHARED_FOLDERS"])
    assert models.profiles == ("large",)

    message = refused(having({"name": "models", "profiles": ["large", "huge"]}) | profiles)
    assert 'has models for the profile "huge", but there are small, large' in message
    assert message.endswith("pulumi config rm --path 'sharedFolders[0].profiles[1]'")
    message = refused(having(folder))
    assert 'for the profile "large", but there are none' in message
    assert message.endswith("pulumi config rm --path 'sharedFolders[0]'")


@pytest.mark.parametrize(
    ("folder", "profiles"),
    [
        ({"profiles": ["larg"]}, ["small", "large"]),
        ({"profiles": ["larg", "medium"]}, ["small", "large"]),
        ({"profiles": ["large"]}, []),
        ({"profiles": "large"}, ["large"]),
        ({"profiles": ["gone"], "groups": [GROUP]}, ["large"]),
        ({"groups": GROUP}, []),
        ({"groups": []}, []),
        ({"profiles": []}, ["small"]),
    ],
)
def test_no_command_of_a_message_gives_a_folder_to_everybody(
    folder: dict[str, object], profiles: list[str]
) -> None:
    """As after a profile was renamed, or the last group was removed by `pulumi config rm`."""
    named = json.dumps([{"name": name} for name in profiles])
    given = having({"name": "models"} | folder) | {"zhub:profiles": named}
    for one in fixed(given, set()).users.folders.folders:
        assert one.profiles or one.groups
        assert set(one.profiles) <= set(profiles)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([{"name": "a"}, {"name": "a"}], "folder a: given twice"),
        (
            [{"name": "a", "path": "x", "mode": "read-write"}, {"name": "b", "path": "x/y"}],
            "the path x/y is in another folder's, x",
        ),
        (
            [{"name": "a", "path": "x/y/z"}, {"name": "b", "path": "x/y"}],
            "the path x/y/z is in another folder's, x/y",
        ),
    ],
)
def test_folders_are_apart(others: list[object], reason: str) -> None:
    assert reason in refused(having(*others, root=True))


def test_one_path_may_be_there_twice_to_read_and_to_write() -> None:
    writers = {"name": "data-writers", "path": "data", "groups": [GROUP], "mode": "read-write"}
    found, config = read(having({"name": "data", "path": "data"}, writers, root=True))
    assert not config.problems
    assert {one.path for one in found.users.folders.folders} == {"/srv/shared/data"}


@pytest.mark.parametrize(
    "root",
    [
        *("/etc", "/etc/x", "/var/lib/docker/volumes", "/run/x", "/var/run", "/home", "/srv"),
        *("/root", "/", "srv", "/srv/../etc", "/srv/./x", "/usr/share/data", "/proc/1/root"),
        # The guard would not start with these.
        *("/srv/.shared", "/data/-x"),
    ],
)
def test_the_root_is_no_folder_of_the_machine(root: str) -> None:
    assert "sharedRoot is " in refused(DEMO | {"zhub:sharedRoot": root})


def test_settings_that_do_not_go_together_are_refused() -> None:
    assert "must be set, since the shared folder data has a path" in refused(having(FOLDERS[1]))
    assert "has no use" in refused(having(FOLDERS[0], root=True))
    groups = {"zhub:sharedFolders": json.dumps(FOLDERS[:1])}
    message = refused(SITE | groups)
    assert "nobody would notice that somebody has left a group" in message
    assert "pulumi config set ldapBindDn" in message
    everybody = {"zhub:sharedFolders": json.dumps([{"name": "all"}])}
    assert not read(SITE | everybody)[1].problems


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([{"name": "data", "mode": "read-write"}, FOLDERS[0] | {"groups": ["cn=a"]}], []),
        (
            [FOLDERS[0] | {"mode": "read-only"}, {"name": "data"}],
            ["sharedFolders: research becomes read-only: the recheck stops servers that may write"],
        ),
        (
            [FOLDERS[0] | {"name": "science"}, {"name": "data"}],
            ["sharedFolders has no research any more: the recheck stops servers with it, and its"],
        ),
        (
            [FOLDERS[0], {"name": "data", "path": "data"}],
            ["sharedFolders: data changes from the volume zhub-x-shared_data to /srv/shared/data"],
        ),
    ],
)
def test_a_change_that_leaves_files_behind_is_said_before(
    after: list[object], said: list[str]
) -> None:
    before = read(having(FOLDERS[0], {"name": "data"}))[0].users.folders
    now = read(having(*after, root="/srv/shared" in str(said)))[0].users.folders
    found = folders.changes(now, "zhub-x", variables.guard_folders(before))
    assert len(found) == len(said)
    assert all(map(str.startswith, found, said))


def test_another_path_is_another_place() -> None:
    now = read(having(FOLDERS[1], root=True))[0].users.folders
    guard = {
        "ZHUB_SHARED_FOLDERS": '[{"name": "data", "mode": "ro", "path": "/srv/old/data/2026"}]'
    }
    [found] = folders.changes(now, "zhub-x", guard)
    assert "data changes from /srv/old/data/2026 to /srv/shared/data/2026: no files" in found
    for none in ({}, None, variables.guard_folders(now)):
        assert folders.changes(now, "zhub-x", none) == []


def test_the_preview_asks_the_guard_that_runs() -> None:
    guard = run(having(FOLDERS[0])).one("Container", "guard")
    deployed = {guard.urn: {"type": guard.type, "outputs": guard.inputs}}
    [said] = set(run(DEMO, deployed=deployed).warnings) - set(run(DEMO).warnings)
    assert "sharedFolders has no research any more" in said
    assert "zhub-test-shared_research" in said
