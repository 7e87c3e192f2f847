"""The site's folder for homes: which are refused, and what a change of it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
from zhub import settings as hub_settings

from components import variables
from components.settings import folders, homes
from components.settings.deployed import STACK
from components.settings.homes import HOME_LIMIT, HOMES_PATH, Homes
from components.settings.parsing import RefusedError
from tests.components.recorder import Recording, environment, run
from tests.components.stack_config import DEMO, read
from tests.components.stacks import SITE


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
    first = Homes(path="/srv/a").after(was_up, {})
    assert first.output == ["/srv/a"]
    outputs = was_up | {homes.OUTPUT: first.output}
    second = Homes(path="/srv/b").after(outputs, {})
    assert second.former == ("/srv/a",)
    outputs |= {homes.OUTPUT: second.output}
    none = Homes().after(outputs, {})
    assert none.former == ("/srv/a", "/srv/b")
    assert none.output == ["", "/srv/a", "/srv/b"]
    back = Homes(path="/srv/a").after(outputs | {homes.OUTPUT: none.output}, {})
    assert back.former == ("/srv/b",)


def test_what_a_guard_had_after_an_up_that_failed_is_not_forgotten() -> None:
    outputs = {"prefix": "zhub-dev", homes.OUTPUT: ["/srv/a"]}
    guard = {"ZHUB_HOMES_PATH": "/srv/b", "ZHUB_FORMER_HOMES_PATHS": '["/srv/a"]'}
    assert Homes(path="/srv/a").after(outputs, guard).former == ("/srv/b",)
    assert Homes(path="/srv/c").after(outputs, guard).former == ("/srv/a", "/srv/b")
    assert Homes().after({"prefix": "zhub-dev"}, guard).former == ("/srv/a", "/srv/b")
    # As long as that does not change, the next up finds nothing to do.
    again = Homes(path="/srv/b").after(outputs, guard)
    assert variables.homes_paths(again) == guard


def test_the_program_asks_the_guard_that_an_up_that_failed_has_left() -> None:
    def up(path: str, deployed: dict[str, Any], outputs: dict[str, Any]) -> Recording:
        stack = {"type": STACK, "outputs": outputs}
        site = SITE | {"zhub:homesPath": path}
        return run(site, deployed={**deployed, "urn:pulumi:dev::zhub::pulumi:Stack::x": stack})

    before = {"prefix": "zhub-test", homes.OUTPUT: ["/srv/a"]}
    failed = up("/srv/b", {}, before).one("Container", "guard")
    left = {failed.urn: {"type": failed.type, "outputs": failed.inputs}}
    back = up("/srv/a", left, before)
    guard = environment(back.one("Container", "guard"))
    assert hub_settings.read_guard(guard).homes_paths == ("/srv/a", "/srv/b")
    assert back.outputs[homes.OUTPUT]["value"] == ["/srv/a", "/srv/b"]


def test_a_stack_without_such_a_folder_exports_nothing() -> None:
    assert Homes().after({"prefix": "zhub-dev"}, None).output == []


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
    (tmp_path / "docker-homes").mkdir(mode=0o700)
    homes.refuse_unusable(str(tmp_path / "docker-homes"), str(root))


@pytest.mark.parametrize("mode", [0o755, 0o750 | 0o020, 0o701, 0o702])
def test_a_folder_that_is_open_to_others_is_refused_with_the_command_that_closes_it(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "homes"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(RefusedError, match=f"open to others than root .mode {mode:o}") as refusal:
        homes.refuse_unusable(str(path), "/var/lib/docker")
    assert refusal.value.fix == f"install -d -o root -g root -m 700 {path}"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "homes").touch(mode=0o600)
    with pytest.raises(RefusedError, match="not a folder"):
        homes.refuse_unusable(f"{tmp_path}/homes", "/var/lib/docker")


@pytest.mark.parametrize(
    ("homes_path", "root", "path", "fix"),
    [
        ("/srv/shared", "/srv/shared", "data", "config set homesPath /srv/homes/zhub"),
        ("/srv/homes", "/srv/homes/all", "data", "config set sharedRoot /srv/shared"),
        ("/srv/shared/data", "/srv/shared", "data", "'sharedFolders[0].path' all-data"),
        ("/srv/shared/data/homes", "/srv/shared", "data", "'sharedFolders[0].path' all-data"),
        ("/srv/shared/homes", "/srv/shared", "homes/a", "'sharedFolders[0].path' all-data"),
        ("/srv/shared/homes", "/srv/shared", "data", ""),
        ("/srv/shared-homes", "/srv/shared", "homes", ""),
    ],
)
def test_a_shared_folder_is_not_where_homes_are(
    homes_path: str, root: str, path: str, fix: str
) -> None:
    shared = json.dumps([{"name": "all", "path": path}])
    site = DEMO | {"zhub:sharedFolders": shared, "zhub:sharedRoot": root}
    for paths in ([homes_path], ["/srv/now", homes_path]):  # now, and before
        settings, config = read(site)
        folders.refuse_in_homes(config, settings.users.folders, paths)
        assert bool(config.problems) == bool(fix)
        for problem in config.problems:
            assert f"all at {root}/{path}, and homes are in {homes_path}" in str(problem)
            assert fix in str(problem)


def test_the_program_refuses_such_a_shared_folder() -> None:
    shared = json.dumps([{"name": "all", "path": "data"}])
    site = DEMO | {"zhub:sharedFolders": shared, "zhub:sharedRoot": "/srv/shared"}
    with pytest.raises(pulumi.RunError, match="neither may be in the other"):
        run(site | {"zhub:homesPath": "/srv/shared/data"})


def test_a_folder_that_is_missing_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="mount that first") as refusal:
        homes.refuse_unusable(f"{tmp_path}/homes", "/var/lib/docker")
    assert refusal.value.fix == f"install -d -m 700 {tmp_path}/homes"


def test_a_limit_of_homes_is_a_size_that_one_can_work_with() -> None:
    assert HOME_LIMIT.parse("") is None
    assert HOME_LIMIT.parse("20G") == 20 << 10
    with pytest.raises(RefusedError, match="too little to work with; 128M is the least"):
        HOME_LIMIT.parse("64M")
    with pytest.raises(RefusedError, match="not an amount of disk space"):
        HOME_LIMIT.parse("20 GB")
