"""The site's folder for homes: which are refused, and what a change of it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.settings import homes
from components.settings.homes import HOMES_PATH, Homes
from components.settings.parsing import RefusedError


@pytest.mark.parametrize("path", ["/srv/homes", "/homes", "/mnt/pool/homes", "/home/jupyter"])
def test_a_folder_made_for_homes_is_taken(path: str) -> None:
    assert HOMES_PATH.parse(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("srv/homes", "not an absolute path"),
        ("/srv/homes/", "not an absolute path"),
        ("/srv/ho mes", "not an absolute path"),
        ("/srv/homes:ro", "not an absolute path"),
        ("/srv/homes,source=x", "not an absolute path"),
        ("/", "all of the engine's machine"),
        ("/srv/../etc", "not a path without"),
        ("/srv/./homes", "not a path without"),
        ("/etc", "of the machine itself"),
        ("/etc/homes", "of the machine itself"),
        ("/var/lib/docker", "of the machine itself"),
        ("/var/lib/docker/volumes", "of the machine itself"),
        ("/home", "of the machine itself"),
        ("/srv", "of the machine itself"),
    ],
)
def test_other_folders_are_refused(path: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        HOMES_PATH.parse(path)


def test_homes_stay_where_they_are_when_the_folder_changes() -> None:
    was_up = {"prefix": "zhub-dev"}
    first = Homes(path="/srv/a").after(was_up)
    assert first.output == ["/srv/a"]
    outputs = was_up | {homes.OUTPUT: first.output}
    second = Homes(path="/srv/b").after(outputs)
    assert second.former == ("/srv/a",)
    outputs |= {homes.OUTPUT: second.output}
    none = Homes().after(outputs)
    assert none.former == ("/srv/a", "/srv/b")
    assert none.output == ["", "/srv/a", "/srv/b"]
    back = Homes(path="/srv/a").after(outputs | {homes.OUTPUT: none.output})
    assert back.former == ("/srv/b",)


def test_a_stack_without_such_a_folder_exports_nothing() -> None:
    assert Homes().after({"prefix": "zhub-dev"}).output == []


@pytest.mark.parametrize(
    ("before", "path", "said"),
    [
        ([], None, ""),
        ([], "/srv/a", "from the engine's own folder to /srv/a"),
        (["/srv/a"], "/srv/a", ""),
        (["/srv/a"], "/srv/b", "from /srv/a to /srv/b"),
        (["/srv/a"], None, "from /srv/a to the engine's own folder"),
        (["", "/srv/a"], None, ""),
    ],
)
def test_a_change_is_said_with_what_moves_homes(
    before: list[str], path: str | None, said: str
) -> None:
    found = Homes(path=path).changes({"prefix": "zhub-dev", homes.OUTPUT: before})
    assert bool(found) == bool(said)
    for text in found:
        assert said in text
        assert "make homes" in text


def test_of_a_new_stack_nothing_is_said() -> None:
    assert not Homes(path="/srv/a").changes({})


def test_the_engines_own_folder_and_those_around_it_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "docker"
    (root / "volumes").mkdir(parents=True)
    for path in (root, root / "volumes", tmp_path):
        with pytest.raises(RefusedError, match="the engine's own folder"):
            homes.refuse_unusable(str(path), str(root))
    homes.refuse_unusable(str(tmp_path), None)
    (tmp_path / "docker-homes").mkdir()
    homes.refuse_unusable(str(tmp_path / "docker-homes"), str(root))


def test_a_folder_that_is_missing_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="mount that first") as refusal:
        homes.refuse_unusable(f"{tmp_path}/homes", "/var/lib/docker")
    assert refusal.value.fix == f"install -d -m 700 {tmp_path}/homes"
