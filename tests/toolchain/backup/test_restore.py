"""What a restore does when something is in its way; the real thing is in tests/engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.toolchain.backup.local import LocalEngine, local_stack
from tests.toolchain.backup.test_inside import long_path
from toolchain.backup import manifest, restore, save
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
    assert other.asked.count("start zhub-site-hub") == 1
    said = capsys.readouterr().err
    assert "File name too long" in said
    assert "2 users and 1 homes are in stack site" in said
    # What the message says: all that can be unpacked.
    with pytest.raises(Problem, match=r"paths too long to be unpacked:\n(?s:.*)File name too long"):
        run(backup, user="alice")
    assert (other.home("alice") / "file").read_text() == "alice"


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
    asked = [words for words in other.asked if words.startswith(("stop", "start"))]
    assert asked == ["stop zhub-site-hub", "start zhub-site-hub"]


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
