"""`make users`, where it needs no stack; tests/engine/test_documented_commands.py has one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from zhub.guard.policy import escaped

from toolchain import people, user_list, users
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers
from toolchain.backup.jobs import Job, remove_folder
from toolchain.console import Problem
from toolchain.people import People, Wish

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


@pytest.mark.parametrize("arrived", [b"whole", b"half", b""])
def test_half_an_export_is_not_taken_for_one(
    arrived: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever has it may have the user forgotten next. What tar says of files is shown."""

    def receive(_: Helpers, __: Job, take: Callable[[bytes], object]) -> dict[str, object]:
        take(arrived)
        if not arrived:
            raise KeyboardInterrupt
        return {"bytes": len(b"whole"), "warnings": ["./notes: file changed as we read it"]}

    monkeypatch.setattr(Engine, "image", lambda _: "hub")
    monkeypatch.setattr(People, "homes", lambda *_: ["zhub-site-home-bob"])
    listed = {"users": [{"name": "bob", "known": True}]}
    monkeypatch.setattr(People, "hub", lambda *_: listed)
    monkeypatch.setattr(Helpers, "receive", receive)
    site, folder = People("site", Engine(("docker",), "zhub-site")), tmp_path / "left"
    wish = Wish("bob", "", "", str(folder))
    if arrived == b"whole":
        users.export(site, wish)
        assert {path.name for path in folder.iterdir()} == {"home.tar.gz", "hub.json"}
        assert "WARNING: ./notes: file changed as we read it" in capsys.readouterr().err
        return
    for _ in range(2):
        # The same command can be typed again.
        with pytest.raises((Problem, KeyboardInterrupt), match=r"not all has arrived|^$"):
            users.export(site, wish)
        assert list(folder.iterdir()) == []


def test_a_time_is_of_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert people.seconds("2026-12-01 18:00", "AT") == 1796144400
    finally:
        monkeypatch.undo()
        time.tzset()
    for name in ("AT", "UNTIL"):
        with pytest.raises(Problem, match=f"{name}=tomorrow: not a time of this machine"):
            people.seconds("tomorrow", name)


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
    monkeypatch.setattr(Engine, "homes_driver", lambda _: "")
    monkeypatch.setattr(Engine, "image", lambda _: "hub")
    monkeypatch.setattr(Engine, "servers", lambda *_: [])
    monkeypatch.setattr(Engine, "homes", lambda _: {})
    answers = {"list": {"users": [{"name": "o.brien", "known": True}]}, "record": {"tokens": []}}
    monkeypatch.setattr(People, "hub", lambda _, do, *__: answers.get(do))
    done: list[Job] = []
    monkeypatch.setattr(Helpers, "ask", lambda _, job: done.append(job))
    users.forget(People("site", Engine(("docker",), "zhub-site")), Wish("o.brien", "", "", ""))
    assert "what is in /srv/homes/zhub-site-home-o-2ebrien" in capsys.readouterr().out
    assert done == [remove_folder("/srv/homes", "zhub-site-home-o-2ebrien")]


class Forgetting:
    """A stack in which bob has a home, in a folder of the site's; what is done to it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.failing = ""
        self.known, self.homes, self.names = True, ["home-of-bob"], ["alice", "bob"]
        monkeypatch.setenv("ZHUB_YES", "1")
        for name, answer in (
            ("homes_paths", lambda _: ["/srv/homes"]),
            ("homes_driver", lambda _: ""),
            ("image", lambda _: "hub"),
            ("servers", lambda *_: []),
            ("ask", lambda _, *asked: self.remove_home(asked)),
        ):
            monkeypatch.setattr(Engine, name, answer)
        monkeypatch.setattr(People, "homes", lambda *_: list(self.homes))
        monkeypatch.setattr(People, "hub", lambda _, do, *__: self.hub(do))
        monkeypatch.setattr(Helpers, "ask", lambda _, job: self.step(job.name))

    def step(self, name: str) -> None:
        if name == self.failing:
            raise Problem(f"{name} failed")
        self.done.append(name)

    def remove_home(self, asked: tuple[str, ...]) -> str:
        self.step(" ".join(asked[:2]))
        self.homes = []
        return ""

    def hub(self, do: str) -> dict[str, object]:
        if do == "list":
            return {"users": [{"name": "bob", "known": self.known}], "recorded": self.names}
        if do == "record":
            return {"tokens": []}
        self.step(do)
        if do == "forget":
            self.known = False
        elif do == "accept":
            self.names = ["alice"]
        return {}

    def run(self) -> list[str]:
        """Forget bob; return what was done."""
        self.done = []
        users.forget(People("site", Engine(("docker",), "zhub-site")), Wish("bob", "", "", ""))
        return self.done


STEPS = ["forget", "volume rm", "remove-folder", "accept"]


@pytest.mark.parametrize("failing", STEPS)
def test_whose_name_it_is_is_forgotten_last_and_a_second_run_finishes(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Until then a new person with the name is refused, who would get what is left."""
    site = Forgetting(monkeypatch)
    site.failing = failing
    with pytest.raises(
        Problem,
        match=rf"^bob is not forgotten completely: .*{failing}.*: make users STACK=site DO=forget",
    ):
        site.run()
    assert site.done == STEPS[: STEPS.index(failing)]
    assert "bob" in site.names
    site.failing = ""
    again = site.run()
    assert [again[0], *again[-2:]] == ["forget", "remove-folder", "accept"]
    assert "bob" not in site.names
    with pytest.raises(Problem, match="there is no home of bob, and the hub does not know"):
        site.run()


def on_engine(folder: Path, command: str) -> People:
    """A site's people, with a shell command in the place of Docker's client."""
    client = folder / "docker"
    client.write_text(f"#!/bin/sh\n{command}\n")
    client.chmod(0o755)
    return People("site", Engine((str(client),), "zhub-site"))


def test_half_an_answer_is_said(tmp_path: Path) -> None:
    site = on_engine(tmp_path, "[ $1 = exec ] || echo abc")
    with pytest.raises(Problem, match=r"not complete; .*docker exec abc zhub users list$"):
        site.hub("list")


def test_a_hub_that_ends_meanwhile_is_said(tmp_path: Path) -> None:
    """`docker exec` says nothing where the container ends, as while an `up` replaces the hub."""
    site = on_engine(tmp_path, "[ $1 = exec ] && exit 137; echo abc")
    with pytest.raises(Problem, match=r"has ended meanwhile \(code 137\).*make users STACK=site"):
        site.hub("stop", "bob")


def test_a_hub_that_is_stopped_is_to_be_started(tmp_path: Path) -> None:
    """`make up` leaves it as it is."""
    client = tmp_path / "docker"
    client.write_text('#!/bin/sh\n[ "$3" != --all ] || echo zhub-site-hub is exited\n')
    client.chmod(0o755)
    site = People("site", Engine((str(client),), "zhub-site"))
    start = re.escape(f"{client} start zhub-site-hub")
    with pytest.raises(Problem, match=rf"^zhub-site-hub is exited\. .*: {start}$"):
        site.hub("list")
    client.write_text("#!/bin/sh\n")
    with pytest.raises(Problem, match="no hub of stack site is on its engine: make up STACK=site"):
        site.hub("list")


@pytest.mark.parametrize(
    ("guard", "what_to_do"),
    [
        ("zhub-site-guard is exited", r"start zhub-site-guard"),
        ("zhub-site-guard is paused", r"unpause zhub-site-guard"),
        ("", "the engine has no container zhub-site-guard: pulumi up --refresh"),
        ("zhub-site-guard is running", "docker logs"),
    ],
)
@pytest.mark.parametrize("do", ["export", "forget"])
def test_while_the_guard_is_away_nothing_is_done_and_it_is_said_how_to_get_it_back(
    do: str, guard: str, what_to_do: str, tmp_path: Path
) -> None:
    said = "[zhub] CRITICAL: the guard has not answered in 10 s: its log (docker logs) says why"
    client = tmp_path / "docker"
    client.write_text(
        f"#!/bin/sh\ncase \"$*\" in exec*) echo '{said}' >&2; exit 2;; volume*) ;;"
        f" *role=guard*) echo -n '{guard}';; *) echo zhub-site-hub;; esac\n"
    )
    client.chmod(0o755)
    site, to = People("site", Engine((str(client),), "zhub-site")), tmp_path / "left"
    with pytest.raises(Problem, match=rf"^the guard has not answered in 10 s.*\s.*{what_to_do}"):
        users.DO[do](site, Wish("bob", "", "", str(to)))
    assert not to.exists()


@pytest.mark.parametrize("do", ["drain", "stop", "forget"])
def test_whoever_interrupts_is_told_what_goes_on(
    do: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What runs in the hub's container goes on; only a forget is done from here, step by step."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("toolchain.stack.docker_options", lambda _: ())
    monkeypatch.setattr("toolchain.stack.prefix", lambda _: "zhub-site")
    monkeypatch.setattr(People, "hub", interrupted)
    monkeypatch.setattr(People, "homes", lambda *_: ["home-of-bob"])
    wish = Wish("" if do == "drain" else "bob", "", "", "")
    with pytest.raises(KeyboardInterrupt):
        users.run("site", "docker", do, wish)
    said = capsys.readouterr().err
    assert ("it does all the same: make users STACK=site shows it" in said) is (do != "forget")
    assert ("make users STACK=site DO=open" in said) is (do == "drain")


def docker_that_notes(folder: Path) -> Path:
    """A client that writes what it is asked and given into files; it has one container, abc."""
    client = folder / "docker"
    client.write_text(
        "#!/bin/sh\n"
        "[ $1 = exec ] || { echo abc; exit; }\n"
        f'echo "$@" > {folder}/asked; cat > {folder}/given; echo null\n'
    )
    client.chmod(0o755)
    return client


def test_a_message_is_no_argument_of_a_command_on_the_engines_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = docker_that_notes(tmp_path)
    site = People("site", Engine((str(client),), "zhub-site"))

    def sent(**wish: str) -> tuple[str, object]:
        users.message(site, Wish(**{"user": "", "at": "", "notice": "", "to": ""} | wish))
        given = json.loads((tmp_path / "given").read_text())
        return (tmp_path / "asked").read_text().strip(), given

    to_one = sent(user="o.brien", text="It's 'you' & \"me\" <b>", until="2026-12-01 18:00+01:00")
    assert to_one == (
        "exec --interactive abc zhub users message o.brien",
        {"text": "It's 'you' & \"me\" <b>", "until": 1796144400},
    )
    assert "make users STACK=site DO=message USER=o.brien TEXT=" in capsys.readouterr().err
    to_all = sent(text="Hello.")
    assert to_all == (
        "exec --interactive abc zhub users message",
        {"text": "Hello.", "until": None},
    )
    assert "everybody can read it" in capsys.readouterr().err
    assert sent()[1] == {"text": "", "until": None}
    assert "the message to everybody is removed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("do", "wish", "said"),
    [
        ("drain", Wish("bob", "", "", ""), "USER=bob: DO=drain takes only AT, NOTICE"),
        ("renew", Wish("bob", "", "", ""), "USER=bob: DO=renew takes only AT, NOTICE"),
        ("open", Wish("bob", "", "", ""), "USER=bob: DO=open takes nothing more"),
        ("", Wish("bob", "", "", ""), "USER=bob: DO=list takes nothing more"),
        ("stop", Wish("bob", "18:00", "", ""), "AT=18:00: DO=stop takes only USER"),
        ("forget", Wish("bob", "18:00", "", ""), "AT=18:00: DO=forget takes only USER"),
        ("message", Wish("bob", "18:00", "", "", "Hi."), "AT=18:00: DO=message takes only USER"),
        ("message", Wish("bob", "", "Hi.", ""), "NOTICE=Hi.: DO=message takes only USER, TEXT"),
    ],
)
def test_what_would_not_be_looked_at_is_refused(do: str, wish: Wish, said: str) -> None:
    """A drain of one user would stop all servers; a stop with a time would stop one at once."""
    with pytest.raises(Problem, match=f"^{said}.*Nothing was done"):
        users.run("site", "docker", do, wish)


def test_all_that_can_be_done_says_what_it_takes() -> None:
    assert people.TAKES.keys() == users.DO.keys()


def test_names_are_quoted_in_commands_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `USER=$x` a shell makes nobody, and so everybody."""
    site = People("site", Engine((str(docker_that_notes(tmp_path)),), "zhub-site"))
    users.message(site, Wish("$x", "", "", "", "Hello."))
    assert "make users STACK=site DO=message USER='$x' TEXT=" in capsys.readouterr().err
    with pytest.raises(Problem, match=r"DO=export USER='#1@corp' TO=FOLDER"):
        users.export(site, Wish("#1@corp", "", "", ""))


@pytest.mark.parametrize("do", ["drain", "renew"])
def test_a_plan_for_a_time_that_has_passed_is_refused(do: str) -> None:
    """As with a typo in the year: it would stop servers at once."""
    with pytest.raises(Problem, match="AT=2025-12-01 18:00: has passed; without AT it happens now"):
        users.run("site", "docker", do, Wish("", "2025-12-01 18:00", "", "", ""))


@pytest.mark.parametrize("known", [True, False])
def test_what_another_operator_has_planned_is_not_replaced_in_silence(
    known: bool,  # noqa: FBT001 - of a parameter
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A hub of the release before does not say what it was."""
    before = {"action": "renew", "at": 1796144400.0, "done": False} if known else None
    site = People("site", Engine(("docker",), "zhub-site"))
    answers = {"drain": before, "open": before, "list": {"plan": None}}
    monkeypatch.setattr(People, "hub", lambda _, do, *__: answers[do])
    users.plan(site, NOBODY, do="drain")
    said = capsys.readouterr().err
    was = r"servers of an old image are restarted at 2026-12-01 \d\d:00$"
    found = re.search(rf"takes the place of what was planned before: {was}", said, re.MULTILINE)
    assert bool(found) is known, said
    users.open_(site, NOBODY)
    said = capsys.readouterr().err
    assert bool(re.search(f"taken back: {was}", said, re.MULTILINE)) is known, said
    assert "servers can be started" in said


def test_messages_are_in_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(People, "owners", lambda _: [])
    monkeypatch.setattr(Engine, "users_memory", lambda _: 0)
    found = {"users": [], "home_limit": 0, "homes": {}, "plan": None}
    said = [
        {"user": "", "text": "New disks.", "until": None},
        {"user": "bob", "text": "Call us.", "until": 1796144400.0},
    ]
    site = People("site", Engine(("docker",), "zhub-site"))
    monkeypatch.setattr(People, "hub", lambda *_: found | {"messages": said})
    user_list.show(site, NOBODY)
    shown = capsys.readouterr().out
    assert "Message to everybody: New disks.\n" in shown
    assert re.search(r"Message to bob until 2026-12-01 \d\d:00: Call us\.\n", shown)
    # A hub of the release before has none.
    monkeypatch.setattr(People, "hub", lambda *_: found)
    user_list.show(site, NOBODY)
    assert "Message" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("most", "limit", "shown"),
    [
        ({"most_servers": 500}, 96, "2 of 500 servers, which may take 2.5 of 96.0 GiB of memory"),
        ({"most_servers": 500}, 0, "2 of 500 servers, which may take 2.5 GiB of memory"),
        ({}, 0, "2 servers, which may take 2.5 GiB of memory"),
    ],
)
def test_how_full_the_hub_is(most: dict[str, int], limit: int, shown: str) -> None:
    """A hub of the release before does not say how many servers there may be."""
    servers = [{"container": "a", "memory": 2 << 30}, {"container": "b", "memory": 512 << 20}]
    found = {"users": [*servers, {"container": None, "memory": None}], **most}
    assert user_list._totals(found, limit << 30) == f"{shown} together."


def test_who_would_forget_most_users_is_asked_to_look_at_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = People("site", Engine(("docker",), "zhub-site"))
    monkeypatch.setattr(People, "owners", lambda _: ["alice", "$bob", "carol", "dave"])
    monkeypatch.setattr(People, "homes", lambda _, user: [f"home-of-{user}"])
    for refused, doubted in ((["$bob", "carol"], False), (["$bob", "carol", "dave"], True)):
        answer = dict.fromkeys(refused, "no entry")
        monkeypatch.setattr(People, "hub", lambda *_, _answer=answer, **__: _answer)
        users.orphans(site, NOBODY)
        shown = capsys.readouterr().out
        assert "home-of-carol" in shown
        assert ("make doctor STACK=site LDAP='$bob'" in shown) is doubted
