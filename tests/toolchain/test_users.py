"""`make users`, where it needs no stack; tests/engine/test_documented_commands.py has one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from zhub.guard.policy import escaped

from toolchain import users
from toolchain.backup import helper
from toolchain.backup.helper import Engine, Helpers, Job
from toolchain.console import Problem
from toolchain.users import People, Wish

NOBODY = Wish("", "", "", "")


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(Problem, match="DO=fly: must be one of list, stop, drain"):
        users.run("dev", "docker", "fly", NOBODY)


@pytest.mark.parametrize("do", ["stop", "export", "forget", "accept"])
def test_what_is_about_one_user_needs_a_name(do: str) -> None:
    with pytest.raises(Problem, match=f"make users STACK=site DO={do} USER=NAME"):
        users.run("site", "docker", do, NOBODY)


def test_an_export_needs_a_folder() -> None:
    with pytest.raises(Problem, match="DO=export USER=bob TO=FOLDER"):
        users.run("site", "docker", "export", Wish("bob", "", "", ""))


def test_a_time_is_of_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert users._seconds("2026-12-01 18:00") == 1796144400
    finally:
        monkeypatch.undo()
        time.tzset()
    with pytest.raises(Problem, match="AT=tomorrow: not a time of this machine"):
        users._seconds("tomorrow")


def test_who_cannot_be_asked_removes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ZHUB_YES", raising=False)
    with (tmp_path / "empty").open("w+") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(Problem, match="nothing was removed"):
            users._confirm("?", "bob", "nothing was removed")
    monkeypatch.setenv("ZHUB_YES", "1")
    users._confirm("?", "bob", "nothing was removed")


@pytest.mark.parametrize("user", ["alice", "o.brien", "ibm@corp", "a-b_c", "$x", "müller"])
def test_the_name_of_a_home_is_the_guards(user: str) -> None:
    assert Engine(("docker",), "zhub-site").home_of(user) == f"zhub-site-home-{escaped(user)}"


def test_a_home_whose_volume_is_gone_leaves_no_folder_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next person with the name would get it; the engine here has nothing but the folder."""
    monkeypatch.setenv("ZHUB_YES", "1")
    monkeypatch.setattr(Engine, "homes_paths", lambda _: ["/srv/homes"])
    monkeypatch.setattr(Engine, "image", lambda _: "hub")
    monkeypatch.setattr(Engine, "servers", lambda *_: [])
    monkeypatch.setattr(People, "labelled", lambda *_: [])
    answers = {"list": {"users": [{"name": "o.brien", "known": True}]}, "record": {"tokens": []}}
    monkeypatch.setattr(People, "hub", lambda _, do, *__: answers.get(do))
    jobs: list[Job] = []
    monkeypatch.setattr(Helpers, "ask", lambda _, job: jobs.append(job))
    users.forget(People("site", Engine(("docker",), "zhub-site")), Wish("o.brien", "", "", ""))
    assert "what is in /srv/homes/zhub-site-home-o-2ebrien" in capsys.readouterr().out
    assert jobs == [helper.remove_folder("/srv/homes", "zhub-site-home-o-2ebrien")]


def test_half_an_answer_is_said(tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\n[ $1 = exec ] || echo abc\n")
    client.chmod(0o755)
    people = People("site", Engine((str(client),), "zhub-site"))
    with pytest.raises(Problem, match=r"not complete; .*docker exec abc zhub users list$"):
        people.hub("list")
