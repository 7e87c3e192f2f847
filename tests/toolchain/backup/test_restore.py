"""What a restore does when something is in its way; the real thing is in tests/engine."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.toolchain.backup.local import LocalEngine, LocalHelpers, local_stack
from tests.toolchain.backup.test_inside import long_path
from toolchain.backup import jobs, manifest, restore, save
from toolchain.backup.inside import DATABASE
from toolchain.console import Problem

pytestmark = pytest.mark.slow


@pytest.fixture
def backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of a stack in which Alice has a path that cannot be unpacked."""
    site = local_stack(tmp_path / "site", monkeypatch, "alice bob")
    long_path(site.home("alice"))
    folder = save.save("site", "docker", str(tmp_path / "backups"), "", "")
    save.check_whole(folder)
    return folder


@pytest.fixture
def other(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    """A stack that nobody has used."""
    return local_stack(tmp_path / "other", monkeypatch)


def run(folder: Path, user: str = "", only: str = "", replace: str = "") -> None:
    restore.restore("site", "docker", str(folder), user, only, replace)


def test_a_home_that_cannot_be_unpacked_keeps_nobody_else_from_theirs(
    other: LocalEngine, backup: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "WARNING: paths of more" in str(manifest.read(backup).homes()["alice"].warnings)
    before = (other.state() / DATABASE).read_bytes()
    with pytest.raises(Problem, match=r"cannot be unpacked .*: home of alice") as failed:
        run(backup)
    assert f"make restore STACK=site FROM={backup} USER=NAME" in str(failed.value)
    assert other.homes() == {"zhub-site-home-bob": "bob"}
    assert (other.home("bob") / "file").read_text() == "bob"
    assert (other.state() / DATABASE).read_bytes() != before
    assert other.asked.count("restart zhub-site-hub") == 1
    said = capsys.readouterr().err
    assert "File name too long" in said
    assert "2 users and 1 homes are in stack site" in said
    # What the message says: all that can be unpacked.
    with pytest.raises(Problem, match=r"paths too long to be unpacked:\n(?s:.*)File name too long"):
        run(backup, user="alice")
    assert (other.home("alice") / "file").read_text() == "alice"
    # The audit log has both, by the hub.
    told = [words for words in other.asked if words.startswith("exec ")]
    assert told == ["exec zhub-site-hub zhub users restored" + of for of in ("", " alice")]
    assert other.asked.index("restart zhub-site-hub") < other.asked.index(told[0])


def test_people_who_come_while_files_are_checked_are_not_restored_over(
    other: LocalEngine, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = restore._check_key

    def log_in(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        (other.home("bob") / "new").touch()

    monkeypatch.setattr(restore, "_check_key", log_in)
    before = (other.state() / DATABASE).read_bytes()
    with pytest.raises(Problem, match=r"homes: zhub-site-home-bob.*nothing was changed"):
        run(backup)
    assert (other.home("bob") / "new").exists()
    assert (other.state() / DATABASE).read_bytes() == before
    asked = [words for words in other.asked if words.startswith(("stop", "restart"))]
    assert asked == ["stop zhub-site-hub", "restart zhub-site-hub"]


def test_a_volume_that_the_restore_has_not_made_stays(
    other: LocalEngine, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine makes no volume anew that is there, and says nothing."""
    foreign = other.place / "zhub-site-home-bob"
    real = restore._put

    def appear(*arguments: object) -> bool:
        foreign.mkdir(exist_ok=True)
        (foreign / "file").write_text("of somebody else")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(restore, "_put", appear)
    with pytest.raises(Problem, match=f"there is a volume {foreign.name} already"):
        run(backup)
    assert (foreign / "file").read_text() == "of somebody else"
    assert not other.homes()


def test_what_does_not_arrive_leaves_the_stack_as_it_was(
    other: LocalEngine, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as when the key's passphrase was not typed: no home is at fault."""

    def content(folder: Path, _: manifest.Manifest, part: manifest.Part) -> Iterator[bytes]:
        if part.user == "bob":
            raise Problem("gpg could not decrypt it")
        yield from manifest.blocks(folder / part.file)

    monkeypatch.setattr(restore, "content", content)
    before = (other.state() / DATABASE).read_bytes()
    with pytest.raises(Problem, match="gpg could not decrypt it"):
        run(backup)
    assert not other.homes()
    assert (other.state() / DATABASE).read_bytes() == before


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup with nothing wrong in it."""
    local_stack(tmp_path / "before", monkeypatch, "alice bob")
    return save.save("site", "docker", str(tmp_path / "sound"), "", "")


def test_with_a_full_disk_the_stack_is_as_it_was_and_can_be_restored_then(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All homes that follow would be left out, and no second restore be possible."""
    engine = local_stack(tmp_path / "full", monkeypatch)
    tar = tmp_path / "tar"
    tar.write_text(
        "#!/bin/sh\ncat >/dev/null\n"
        "echo 'tar: ./x: Cannot write: No space left on device' >&2\nexit 2\n"
    )
    tar.chmod(0o755)
    before = (engine.state() / DATABASE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(Problem, match=r"the engine's disk is full\nMake room"):
            run(sound)
    assert not engine.homes()
    assert (engine.state() / DATABASE).read_bytes() == before
    run(sound)
    assert sorted(engine.homes().values()) == ["alice", "bob"]


def test_who_interrupts_twice_gets_the_stack_as_it_was(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second Ctrl-C comes while homes are removed; what is left of them would be in the way."""
    engine = local_stack(tmp_path / "interrupted", monkeypatch)
    real = LocalHelpers.remove_home

    def send(*_: object) -> None:
        raise KeyboardInterrupt

    def remove(helpers: LocalHelpers, volume: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(helpers, volume)

    monkeypatch.setattr(jobs, "put_state", send)
    monkeypatch.setattr(LocalHelpers, "remove_home", remove)
    with pytest.raises(KeyboardInterrupt):
        run(sound)
    assert not engine.homes()
    assert engine.asked[-1] == "restart zhub-site-hub"


def test_a_hub_that_somebody_has_started_meanwhile_does_not_keep_the_database_before(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an `up` after a merge: it would go on with a file that is not there any more."""
    engine = local_stack(tmp_path / "deployed", monkeypatch)
    run(sound)
    asked = [words for words in engine.asked if words.endswith(" zhub-site-hub")]
    assert asked[:3] == ["stop zhub-site-hub", "stop zhub-site-hub", "restart zhub-site-hub"]
    state = f"volume inspect --format {{{{.Name}}}} {engine.state().name}"
    last = len(engine.asked) - 1 - engine.asked[::-1].index(state)
    assert engine.asked[last - 1] == "stop zhub-site-hub"


def test_who_comes_after_a_restore_that_was_killed_is_told_how_to_go_on(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = local_stack(tmp_path / "killed", monkeypatch)
    (engine.home("alice") / "file").write_text("alice")
    with pytest.raises(Problem) as told:
        run(sound)
    last = str(told.value).splitlines()[-1]
    listed = "--filter label=zhub.stack=zhub-site --filter label=zhub.role=home"
    assert last == (
        "If they are what a restore has left that was killed:"
        f" docker volume rm $(docker volume ls --quiet {listed})"
    )
    monkeypatch.setattr(LocalEngine, "homes_path", lambda _: "/srv/homes")
    with pytest.raises(Problem, match=r"as root: rm -r /srv/homes/zhub-site-home-\*$"):
        run(sound)
    # Not where people have logged in.
    monkeypatch.setattr(LocalEngine, "homes_path", lambda _: "")
    used = local_stack(tmp_path / "used", monkeypatch, "alice")
    assert used.homes()
    with pytest.raises(Problem) as refused:
        run(sound)
    assert "killed" not in str(refused.value)


def test_a_home_that_is_left_empty_by_a_killed_restore_is_filled(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = local_stack(tmp_path / "killed", monkeypatch)
    engine.home("alice")
    run(sound, user="alice")
    assert (engine.home("alice") / "file").read_text() == "alice"
    run(sound, user="bob")
    assert (engine.home("bob") / "file").read_text() == "bob"
    assert capsys.readouterr().err.count("in a new home") == 2
    run(sound, user="bob")
    [beside] = engine.home("bob").glob("restored-*")
    assert (beside / "file").read_text() == "bob"


def test_it_says_what_the_backup_does_not_have(
    other: LocalEngine, backup: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = manifest.read(backup)
    parts = tuple(part for part in found.parts if part.user != "alice")
    replace(found, parts=parts, failed=("alice",), failed_shared=("team",)).write(backup)
    with pytest.raises(Problem, match="no home of alice: it could not be read then"):
        run(backup, user="alice")
    run(backup)
    said = capsys.readouterr().err
    assert (
        "not in the backup, since it could not be read then: homes: alice; shared folders: team"
        in said
    )


def logins(file: Path) -> list[str]:
    """Who has logged in to a database."""
    with closing(sqlite3.connect(file)) as db:
        return [name for (name,) in db.execute("SELECT name FROM zhub_logins ORDER BY name")]


@pytest.fixture
def used(backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    """A stack with a new database, of which bob knows already, and servers that run."""
    engine = local_stack(tmp_path / "used", monkeypatch, "bob")
    monkeypatch.setattr(LocalEngine, "servers", lambda *_: ["zhub-site-user-bob"])
    return engine


def test_a_database_that_cannot_be_read_is_replaced_and_kept(
    used: LocalEngine, backup: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While servers run: the hub takes them over."""
    file = used.state() / DATABASE
    file.write_bytes(spoiled := b"no database" * 1000)
    with pytest.raises(Problem, match=r"cannot be read: nothing was changed(?s:.*)ONLY=database$"):
        run(backup)
    assert file.read_bytes() == spoiled
    run(backup, only="database")
    assert logins(file) == ["alice", "bob"]
    [kept] = (used.state() / "copies").iterdir()
    assert (kept / DATABASE).read_bytes() == spoiled
    said = capsys.readouterr().err
    assert "WARNING: the present database cannot be read" in said
    assert f"the database before is kept, in zhub-site-state: copies/{kept.name}" in said
    assert (used.home("bob") / "file").read_text() == "bob"


def test_a_database_with_logins_is_replaced_only_if_that_is_said(
    used: LocalEngine, backup: Path
) -> None:
    file = used.state() / DATABASE
    with pytest.raises(
        Problem,
        match=r"users in it \(logged in: bob\): nothing was changed\..* ONLY=database REPLACE=yes$",
    ):
        run(backup, only="database")
    assert logins(file) == ["bob"]
    for wrong in ({"replace": "yes"}, {"only": "database", "replace": "no"}):
        with pytest.raises(
            Problem, match=r"REPLACE=(yes|no): can only be yes, and only with ONLY="
        ):
            run(backup, **wrong)
    run(backup, only="database", replace="yes")
    assert logins(file) == ["alice", "bob"]
    [kept] = (used.state() / "copies").iterdir()
    assert logins(kept / DATABASE) == ["bob"]
