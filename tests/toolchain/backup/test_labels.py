"""Labels that a captured hub has chosen: what counts as a home, and what a terminal shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolchain import stack, user_list
from toolchain.backup import homes, labels, sizes
from toolchain.backup.engine import Engine
from toolchain.backup.save import _Folder
from toolchain.console import Problem, fail, say
from toolchain.people import People, Wish

HOME = "zhub-site-home-"

#: Read line by line, it would be two homes: the second is a volume of somebody else.
TWO = "x\npgdata\tpgdata"


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    labels._warn.cache_clear()


def engine_with(folder: Path, *listed: list[Any]) -> Engine:
    """One whose client prints these rows, whatever it is asked."""
    (folder / "listed").write_text("".join(f"{json.dumps(row)}\n" for row in listed))
    client = folder / "docker"
    client.write_text(f"#!/bin/sh\nexec cat {folder}/listed\n")
    client.chmod(0o755)
    return Engine((str(client),), "zhub-site")


def test_the_format_is_one_list_in_json_for_each_thing() -> None:
    assert labels.row(".Name", '(.Label "zhub.user")') == (
        '[{{json .Name}},{{json (.Label "zhub.user")}}]'
    )
    # Python takes more characters for an end of a line than JSON escapes.
    assert labels.rows('["a","x\\ny\\u2028\x85z"]\n["b",null]\n') == [
        ["a", "x\ny\u2028\x85z"],
        ["b", None],
    ]


def test_a_home_is_a_volume_with_the_name_of_its_user_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = labels.home_of("zhub-site", TWO)
    found = engine_with(
        tmp_path,
        [f"{HOME}o-2ebrien", "o.brien"],
        # Of names that a site's own authenticator may give.
        [f"{HOME}m-c3-bcller", "müller"],
        [odd, TWO],
        [labels.home_of("zhub-site", "a\tb"), "a\tb"],
        [labels.home_of("zhub-site", "\x1b[2J"), "\x1b[2J"],
        ["pgdata", "pgdata"],
        [f"{HOME}bob", "alice"],
        [f"{HOME}x", ""],
    )
    wanted = {f"{HOME}m-c3-bcller": "müller", f"{HOME}o-2ebrien": "o.brien"}
    assert found.homes() == wanted
    assert found.homes() == wanted
    said = capsys.readouterr().err
    assert said.count("left out") == 1
    assert said.count("\n") == 1
    for name in (odd, "pgdata", f"{HOME}bob", f"{HOME}x", f"{HOME}a-09b"):
        assert name in said
    assert "o-2ebrien" not in said
    site = People("site", found)
    assert site.homes("o.brien") == [f"{HOME}o-2ebrien"]
    assert site.homes("alice") == site.homes("pgdata") == []
    assert site.owners() == ["müller", "o.brien"]


def test_a_shared_folder_is_a_volume_with_its_name(tmp_path: Path) -> None:
    listed = [["zhub-site-shared_team", "team"], ["zhub-site-state", "../state"]]
    assert engine_with(tmp_path, *listed).shared() == {"team": "zhub-site-shared_team"}


def test_what_servers_have_written_is_read_whatever_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Engine, "on_swarm", lambda _: False)
    monkeypatch.setattr(Engine, "servers", lambda *_: ["zhub-site-user-x"])
    found = engine_with(tmp_path, [TWO, 1 << 30], ["alice", 0])
    assert found.written() == {TWO: 1 << 30, "alice": 0}

    monkeypatch.setattr(sizes, "Engine", lambda *_: found)
    monkeypatch.setattr(stack, "docker_options", lambda _: [])
    for name, answer in {"image": "hub", "home_limit": 0, "homes": {}, "shared": {}}.items():
        monkeypatch.setattr(Engine, name, lambda *_, answer=answer: answer)
    sizes.show("site", "docker", "")
    assert "server of x?pgdata?pgdata: 1.00 GiB" in capsys.readouterr().err


def test_on_a_swarm_the_guard_says_what_servers_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "on_swarm", lambda _: True)
    said = [["alice", 432_013_312, 2 << 30, 7], [TWO, 800, 3 << 40, None]]
    found = engine_with(tmp_path, *said)
    assert found.written() == {"alice": 7}
    containers = {"alice": "a" * 64, TWO: "b" * 64, "bob": "c" * 64, "carol": "--format=x"}
    assert People("site", found).memory(containers) == {
        "alice": "412MiB / 2GiB",
        TWO: "800B / 3TiB",
    }


@pytest.mark.parametrize(
    "name", ["homes/../../.ssh/x.tar.gz", "homes/a/b.tar.gz", "homes/a\n.tar.gz", "other", "/etc/x"]
)
def test_a_backup_writes_only_names_that_it_would_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(Problem, match="cannot be the name of a part of a backup"):
        _Folder(tmp_path, None).add(name, lambda _: pytest.fail("it is written"))
    assert not list(tmp_path.iterdir())


def test_nothing_reaches_a_terminal_but_text(capsys: pytest.CaptureFixture[str]) -> None:
    say("step", "müller \x1b]0;x\x07 \u202e a\nerror: b \x9b2J")
    fail(Problem("of two\r\n\tlines \x1b[2J\x9b\u2028"))
    assert capsys.readouterr().err == (
        "      step  müller ?]0;x? ? a?error: b ?2J\n\nerror: of two\n\tlines ?[2J??\n"
    )


def test_what_the_hub_says_of_users_is_only_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"server": True, "old": None, "active": None, "admin": False, "known": True, "memory": 1}
    answer = {
        "users": [
            row | {"name": "a\x1b[2J\nb", "groups": ["g\x1b"], "container": "--format=x"},
            row | {"name": "alice", "groups": [], "container": "0123456789ab"},
        ],
        "home_limit": 0,
        "homes": {},
        "plan": None,
        "messages": [{"user": "a\x1b", "text": "one\ntwo\x9b", "until": None}],
    }
    site = People("site", engine_with(tmp_path))
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(People, "hub", lambda *_: answer)
    monkeypatch.setattr(Engine, "on_swarm", lambda _: False)
    monkeypatch.setattr(Engine, "users_memory", lambda _: 0)
    monkeypatch.setattr(Engine, "find", lambda _, *arguments: asked.append(arguments))
    user_list.show(site, Wish("", "", "", ""))
    shown = capsys.readouterr().out
    assert "a?[2J?b  runs" in shown
    assert "Message to a?: one?two?\n" in shown
    assert not set(shown) & set("\x1b\x9b\x07")
    # What is to be an id is no option of a command.
    assert [words[-1] for words in asked] == ["0123456789ab"]
    assert "--format=x" not in asked[0]


def test_homes_that_are_left_out_are_not_moved_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine is asked to inspect are the homes, and nothing that a label names."""
    found = engine_with(tmp_path, [labels.home_of("zhub-site", TWO), TWO], ["pgdata", "pgdata"])
    monkeypatch.setattr(Engine, "device", lambda *_: pytest.fail("there is a home"))
    assert homes._elsewhere(found, "/srv/homes") == {}


def test_a_volume_that_is_there_is_not_taken_for_one_that_was_made(tmp_path: Path) -> None:
    """A restore that fails removes what it has made."""
    found = engine_with(tmp_path, ["zhub-site-home-bob", "alice"])
    with pytest.raises(Problem, match="there is a volume zhub-site-home-bob already"):
        found.make_home("zhub-site-home-bob", "bob", mounted=False)
    with pytest.raises(Problem, match="there is a volume zhub-site-shared_team already"):
        found.make_shared("team")
