"""What is in a backup when not all can be read; the real thing is in tests/engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.toolchain.backup.local import LocalEngine, LocalHelpers, local_stack
from toolchain.backup import engine, homes, manifest, save
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers
from toolchain.backup.jobs import put_home, save_home, save_state
from toolchain.console import Problem

pytestmark = pytest.mark.slow

#: A tar that cannot read what is in a folder with this name, the first times.
TAR = """#!/bin/sh
case "$*" in
*--create*{name}*)
    echo x >>{folder}/tries
    if [ "$(wc -l <{folder}/tries)" -le {times} ]; then
        echo some bytes
        echo "tar: ./file: Cannot read: Input/output error" >&2
        exit 2
    fi
    ;;
esac
exec /usr/bin/env PATH="{path}" tar "$@"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    return local_stack(tmp_path / "volumes", monkeypatch, "alice bob")


def spoil(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """Have tar fail so many times to read a volume."""
    (folder / "bin").mkdir()
    tar = folder / "bin" / "tar"
    path = os.environ["PATH"]
    tar.write_text(TAR.format(name=name, folder=folder, times=times, path=path))
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{path}")


def back_up(place: Path, keep: str = "") -> Path:
    return save.save("site", "docker", str(place), "", keep)


def test_a_whole_backup(site: LocalEngine, tmp_path: Path) -> None:
    folder = back_up(tmp_path / "backups")
    save.check_whole(folder)
    found = manifest.read(folder)
    assert found.format == 1
    assert found.users == ("alice", "bob")
    assert list(found.homes()) == ["alice", "bob"]
    assert "failed" not in (folder / manifest.FILE).read_text()
    assert (site.state() / "last-backup").exists()


def test_a_backup_that_the_hub_cannot_be_told_of_is_one(
    site: LocalEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk of the engine, when it is needed most; older ones go all the same."""
    old = back_up(tmp_path / "backups").rename(tmp_path / "backups" / "site-20260101T000000Z")
    (site.state() / ".last-backup.part").mkdir()
    folder = back_up(tmp_path / "backups", keep="1")
    save.check_whole(folder)
    assert not old.exists()
    assert "WARNING: the backup is whole, but the hub's metrics do" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["home", "shared"])
def test_what_cannot_be_read_does_not_keep_the_rest_from_being_backed_up(
    site: LocalEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    place = tmp_path / "backups"
    old = back_up(place).rename(place / "site-20261129T030000Z")
    (site.state() / "last-backup").unlink()
    (site.place / site.make_shared("team") / "file").write_text("team")
    name = {"home": "home-alice", "shared": "shared_team"}[kind]
    spoil(tmp_path, monkeypatch, name, 2)
    folder = back_up(place, keep="1")
    found = manifest.read(folder)
    assert found.failed == (("alice",) if kind == "home" else ())
    assert found.failed_shared == (("team",) if kind == "shared" else ())
    assert [*found.homes(), *found.shared()] == [
        there for there in ("alice", "bob", "team") if not name.endswith(there)
    ]
    for part in found.parts:
        manifest.check(folder, part)
    # Nothing half made, and no earlier program takes it for a whole one.
    assert len(list(folder.rglob("*.tar.gz"))) == len(found.homes()) + len(found.shared()) + 1
    assert found.format == manifest.FORMAT
    said = capsys.readouterr().err
    assert "Cannot read: Input/output error" in said
    # It does not count as the last backup, and none goes for it.
    assert not (site.state() / "last-backup").exists()
    assert old.exists()
    words = {"home": "homes: alice", "shared": "shared folders: team"}[kind]
    with pytest.raises(Problem, match=f"what could not be read: {words}. See above"):
        save.check_whole(folder)


def test_a_home_that_can_be_read_the_second_time(
    site: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(tmp_path, monkeypatch, "home-alice", 1)
    folder = back_up(tmp_path / "backups")
    save.check_whole(folder)
    found = manifest.read(folder)
    manifest.check(folder, found.homes()["alice"])
    assert (site.state() / "last-backup").exists()


def test_a_home_that_was_removed_meanwhile_is_not_missed(
    site: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = site.homes()
    volumes = save._volumes(site)
    site.ask("volume", "rm", next(iter(seen)))
    monkeypatch.setattr(save, "_volumes", lambda _: volumes)
    folder = back_up(tmp_path / "backups")
    save.check_whole(folder)
    assert list(manifest.read(folder).homes()) == ["bob"]


def test_an_engine_that_is_gone_fails_the_backup(
    site: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no home that cannot be read."""
    spoil(tmp_path, monkeypatch, "home-alice", 2)
    volumes = save._volumes(site)

    def gone(_: LocalEngine) -> dict[str, str]:
        raise Problem("cannot connect")

    monkeypatch.setattr(LocalEngine, "homes", gone)
    monkeypatch.setattr(save, "_volumes", lambda _: volumes)
    with pytest.raises(Problem, match="cannot connect"):
        back_up(tmp_path / "backups")
    assert not list((tmp_path / "backups").iterdir())


def test_homes_are_made_anew_but_one_that_cannot_be_read(
    site: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(tmp_path, monkeypatch, "home-alice", 2)
    found = dict.fromkeys(site.homes(), "")
    monkeypatch.setattr(homes, "_elsewhere", lambda *_: found)
    monkeypatch.setattr(save, "PLACE", tmp_path / "backups")
    suffixes = {user: f"zhub-site-home-{user}" for user in ("alice", "bob")}
    journal = tmp_path / "backups" / ".homes-site"
    with pytest.raises(Problem, match=r"could not be read \(see above\): alice\. "):
        homes._make_anew("site", LocalHelpers(site, "image"), suffixes, journal)
    assert [words for words in site.asked if words.startswith("volume rm")] == [
        "volume rm zhub-site-home-bob"
    ]
    for user in suffixes:
        assert (site.home(user) / "file").read_text() == user
    assert not journal.exists()


def test_who_comes_after_homes_were_killed_is_told_of_the_one_that_is_not_whole(
    site: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is where new ones are made, as those that are done."""
    monkeypatch.setattr(save, "PLACE", tmp_path / "backups")
    monkeypatch.setattr(homes, "Engine", lambda *_: site)
    monkeypatch.setattr(homes, "Helpers", LocalHelpers)
    monkeypatch.setattr(homes, "_elsewhere", lambda *_: dict.fromkeys(site.homes(), ""))
    ask = LocalHelpers.ask
    monkeypatch.setattr(LocalHelpers, "ask", lambda self, job: {**ask(self, job), "mounted": True})

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    real = LocalHelpers.send
    monkeypatch.setattr(LocalHelpers, "send", killed)
    with pytest.raises(Killed):
        homes.take_over("site", "docker")
    monkeypatch.setattr(LocalHelpers, "send", real)
    [folder] = (tmp_path / "backups").glob("site-*")
    with pytest.raises(Problem) as told:
        homes.take_over("site", "docker")
    for line in (
        "docker volume rm zhub-site-home-alice",
        f"make restore STACK=site FROM={folder} USER=alice",
        f"rm {tmp_path}/backups/.homes-site",
    ):
        assert f"\n{line}\n" in str(told.value)
    # Nothing else has changed.
    assert (site.home("bob") / "file").read_text() == "bob"


@pytest.mark.parametrize("keep", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_is_refused_first(tmp_path: Path, keep: str) -> None:
    with pytest.raises(Problem, match=f"KEEP={keep}: must be a whole number"):
        save.save("site", "docker", str(tmp_path), "", keep)


def options(*words: str) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_a_helper_has_the_least_rights() -> None:
    helpers = Helpers(Engine(("docker", "--host", "ssh://ops@z"), "zhub-site"), "sha256:abc")
    mount = "type=volume,source=zhub-site-home-a,target=/data,volume-nocopy"
    read = helpers.command(save_home("zhub-site-home-a"), "helper")
    state = helpers.command(save_state("v"), "helper")
    assert read[:4] == ["docker", "--host", "ssh://ops@z", "run"]
    assert f"{mount},readonly" in read
    for command in (read, state, helpers.command(put_home("v", "0"), "helper")):
        assert {
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--log-driver=none",
        } <= options(*command)
        assert not options(*command) & {"--privileged", "--volume", "--env-file"}
    assert [word for word in read if word.startswith("--cap-add")] == ["--cap-add=DAC_OVERRIDE"]
    assert "--user=1000:1000" in state
    assert not [word for word in state if word.startswith("--cap-add")]


class Replacing(Engine):
    """An engine on which an `up` has just removed hub and guard, and will make them anew."""

    looks = 3
    others = "0123"

    def ask(self, *arguments: str) -> str:
        if arguments[:2] == ("container", "ls"):
            return self.others
        if arguments[:2] != ("container", "inspect"):
            return "20.10"
        Replacing.looks -= 1
        if Replacing.looks:
            raise Problem("no such container")
        return '["ZHUB_HOMES_PATH=/srv"]'

    def find(self, *arguments: str) -> str | None:
        try:
            return self.ask(*arguments)
        except Problem:
            return None


def test_a_backup_waits_for_containers_that_an_up_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAUSE", 0)
    site = Replacing((), "zhub-site")
    assert site.image()
    monkeypatch.setattr(Replacing, "looks", 3)
    assert site.homes_path() == "/srv"
    # Of a stack that is not up, nothing comes.
    monkeypatch.setattr(Replacing, "looks", 3)
    monkeypatch.setattr(Replacing, "others", "")
    with pytest.raises(Problem, match="the engine has no container zhub-site-hub"):
        site.image()
    monkeypatch.setattr(Replacing, "others", "0123")
    monkeypatch.setattr(engine, "REPLACED_SECONDS", -1)
    monkeypatch.setattr(Replacing, "looks", 3)
    with pytest.raises(Problem, match="the engine has no container zhub-site-guard"):
        site.homes_path()
