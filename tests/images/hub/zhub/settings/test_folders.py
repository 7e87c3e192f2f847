"""Shared folders in the environment of hub and guard, and who gets which."""

from __future__ import annotations

import json

import pytest
from zhub import settings
from zhub.settings import SettingsError, folders

TEXT = json.dumps(
    [
        {"name": "all", "mode": "ro"},
        {"name": "team", "mode": "rw", "groups": ["cn=team"]},
        {"name": "site", "mode": "ro", "groups": ["cn=team", "cn=other"], "path": "/srv/shared/x"},
        {"name": "models", "mode": "ro", "profiles": ["large"]},
        {"name": "both", "mode": "rw", "groups": ["cn=other"], "profiles": ["large", "huge"]},
    ]
)


def test_members_get_the_folders_of_their_groups() -> None:
    found = folders.parse(TEXT)

    def names(*groups: str, profile: str | None = None) -> list[str]:
        return [folder.name for folder in folders.granted(found, groups, profile)]

    assert names() == names("cn=else") == names("cn=else", profile="small") == ["all"]
    assert names("cn=team") == ["all", "team", "site"]
    assert names("cn=other", "cn=else") == ["all", "site", "both"]
    # A profile brings its folders, whoever has it.
    assert names("cn=else", profile="large") == ["all", "models", "both"]
    assert names("cn=team", profile="huge") == ["all", "team", "site", "both"]


def test_what_is_asked_for_names_the_folder_and_no_path() -> None:
    found = folders.parse(TEXT)
    assert [folder.bind("zhub-x") for folder in found] == [
        "zhub-x-shared_all:/shared/all:ro",
        "zhub-x-shared_team:/shared/team:rw",
        "zhub-x-shared_site:/shared/site:ro",
        "zhub-x-shared_models:/shared/models:ro",
        "zhub-x-shared_both:/shared/both:rw",
    ]


def test_a_server_with_more_than_its_user_may_have_is_noticed() -> None:
    found = folders.parse(TEXT)
    assert folders.revoked(found, {"cn=team"}, None, ["all:ro", "team:rw", "team:ro"]) == []
    has = ["all:rw", "team:rw", "gone:ro", "site:ro"]
    assert folders.revoked(found, {"cn=other"}, None, has) == ["all", "team", "gone"]
    assert folders.revoked(found, {"cn=team"}, "large", ["models:ro"]) == []
    assert folders.revoked(found, {"cn=team"}, "small", ["models:ro"]) == ["models"]


@pytest.mark.parametrize(
    "item",
    [
        1,
        {},
        {"name": "a"},
        {"name": "a", "mode": "read-write"},
        {"name": "A", "mode": "ro"},
        {"name": "a/b", "mode": "ro"},
        {"name": "..", "mode": "ro"},
        {"name": "a:rw", "mode": "ro"},
        {"name": "a", "mode": "ro", "path": "etc"},
        {"name": "a", "mode": "ro", "path": "/srv/../etc"},
        {"name": "a", "mode": "ro", "path": "/srv/a:/etc"},
        {"name": "a", "mode": "ro", "groups": "cn=team"},
        {"name": "a", "mode": "ro", "groups": [""]},
        {"name": "a", "mode": "ro", "profiles": "large"},
        {"name": "a", "mode": "ro", "more": 1},
    ],
)
def test_anything_else_is_refused(item: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any text: parsers say no more
        folders.parse(json.dumps([item]))


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        folders.parse(json.dumps([{"name": "a", "mode": "ro"}, {"name": "a", "mode": "rw"}]))


@pytest.mark.parametrize("root", ["", "/srv/share", "/srv/shared/x"])
def test_a_guard_does_not_start_with_a_path_outside_of_the_root(root: str) -> None:
    with pytest.raises(SettingsError, match="must be below ZHUB_SHARED_ROOT"):
        settings.read_guard({"ZHUB_SHARED_FOLDERS": TEXT, "ZHUB_SHARED_ROOT": root})


def test_a_hub_looks_up_the_groups_that_folders_need() -> None:
    variables = {
        "ZHUB_LDAP_SERVERS": "ldap",
        "ZHUB_LDAP_ALLOWED_GROUPS": '["cn=team"]',
        "ZHUB_SHARED_FOLDERS": TEXT,
    }
    with pytest.raises(SettingsError, match="needs the guard"):
        settings.read(variables)
    found = settings.read(variables | {"ZHUB_CONFINED": "true"})
    assert found.ldap.configured_groups == ("cn=team", "cn=other")
