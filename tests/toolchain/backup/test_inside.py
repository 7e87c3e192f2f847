"""What the helper containers run, on folders of this machine."""

from __future__ import annotations

import ast
import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.built import wait_until
from tests.disks import LARGE, home_with_a_subvolume
from toolchain.backup import inside
from toolchain.backup.inside import DATABASE, Failed
from toolchain.places import ROOT


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    report = inside.save_home(folder, out)
    assert report["bytes"] == len(out.getvalue())
    assert report["sha256"] == digest(out.getvalue())
    return out.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put_home(folder: Path, content: bytes, into: str = "") -> None:
    inside.put_home(folder, io.BytesIO(content), digest(content), into)


@pytest.mark.long
def test_what_is_in_a_subvolume_counts(tmp_path: Path) -> None:
    """A quota of the home does not count it."""
    with home_with_a_subvolume(tmp_path) as home:
        # In a process of its own, as it lowers its priority.
        code = "import sys; from pathlib import Path; from toolchain.backup import inside\n"
        code += "print(inside.size(Path(sys.argv[1]), 60)['bytes'])"
        taken = subprocess.check_output([sys.executable, "-c", code, home], cwd=ROOT, text=True)
    assert int(taken) >= LARGE


def test_a_size_is_what_a_folder_takes_on_the_disk(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "in" / "ner").mkdir(parents=True)
    (home / "in" / "file").write_bytes(os.urandom(1 << 20))
    (home / "hard").hardlink_to(home / "in" / "file")
    (home / "soft").symlink_to("/usr")
    with (home / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    # In a process of its own, as it lowers its priority.
    code = f"from toolchain.backup import inside; print(inside.size({str(home)!r}, {{}}))"

    def size(seconds: float) -> dict[str, object]:
        asked = [sys.executable, "-c", code.format(seconds)]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
        found: dict[str, object] = ast.literal_eval(done.stdout)
        return found

    found = size(60)
    assert found["whole"] is True
    # Of the hard links, one: in, ner, file or hard, soft, sparse.
    assert found["files"] == 5
    assert 1 << 20 <= int(str(found["bytes"])) < 1 << 21
    assert size(0)["whole"] is False
    # What users can make and nobody can reach by its whole path.
    with contextlib.chdir(home):
        for _ in range(30):
            Path("x" * 200).mkdir()
            os.chdir("x" * 200)
    deep = size(60)
    assert deep["whole"] is False
    assert int(str(deep["files"])) > 5


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    (folder / "file").write_text("content")
    (folder / "hard").hardlink_to(folder / "file")
    (folder / "soft").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/latin-\xe9")).write_text("e")
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 24)
    (folder / "file").chmod(0o640)
    os.setxattr(folder / "file", "user.note", b"\0")
    os.utime(folder / "file", ns=(0, 123))
    return folder


def test_a_home_comes_back_as_it_was(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    put_home(copy, packed(home))
    assert sorted(path.name for path in copy.iterdir()) == sorted(
        path.name for path in home.iterdir()
    )
    file = copy / "file"
    assert file.read_text() == "content"
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.stat().st_mtime_ns == 123
    assert file.stat().st_ino == (copy / "hard").stat().st_ino
    assert os.getxattr(file, "user.note") == b"\0"
    assert (copy / "soft").readlink() == Path("nowhere")
    sparse = (copy / "sparse").stat()
    assert (sparse.st_size, sparse.st_blocks) == (1 << 24, 0)
    assert copy.stat().st_mode & 0o777 == 0o700
    assert copy.stat().st_mtime_ns == home.stat().st_mtime_ns


def long_path(folder: Path, name: str = "x" * 250, depth: int = 16, last: int = 78) -> None:
    """Make a file with a path that is too long for a system call, as programs in a home can.

    Args:
        folder: where.
        name: of the folders.
        depth: how many.
        last: bytes of the file's name; by default, so that the path in the archive has 4096.
    """
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("y" * last, os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


def test_a_path_that_cannot_be_unpacked_is_warned_of(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    copy.mkdir()
    (home / "file").write_text("content")
    long_path(home, last=77)
    # The longest that can be unpacked, as this shows.
    out = io.BytesIO()
    assert inside.save_home(home, out)["warnings"] == []
    assert inside.put_home(copy, io.BytesIO(out.getvalue()), digest(out.getvalue())) == {
        "whole": True,
        "into": "",
    }
    long_path(home, "z" * 250)
    out = io.BytesIO()
    [warning] = inside.save_home(home, out)["warnings"]
    assert warning.startswith(
        "WARNING: paths of more than 4095 bytes cannot be restored (1): ./zzz"
    )
    content = out.getvalue()
    with pytest.raises(Failed, match="tar failed"):
        put_home(copy, content, "restored")
    assert not (copy / "restored").exists()
    found = inside.put_home(copy, io.BytesIO(content), digest(content), "restored", "partly")
    assert found == {"whole": False, "into": "restored"}
    assert (copy / "restored" / "file").read_text() == "content"


def test_what_fails_for_another_reason_does_not_stay_in_part(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a full disk, which half a home would keep full."""
    content = packed(home)
    tar = tmp_path / "tar"
    tar.write_text(
        "#!/bin/sh\ncat >/dev/null\n"
        "echo 'tar: ./a: Cannot mkdir: File name too long' >&2\n"
        "echo 'tar: ./file: Wrote only 512 of 10240 bytes: No space left on device' >&2\n"
        "echo 'tar: Exiting with failure status due to previous errors' >&2\nexit 2\n"
    )
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Failed, match=f"^{inside.FULL}$"):
        inside.put_home(home, io.BytesIO(content), digest(content), "restored", "partly")
    assert not (home / "restored").exists()
    # A name does not end a line.
    tar.write_text(
        "#!/bin/sh\ncat >/dev/null\n"
        "echo 'tar: ./No space left on device: File name too long' >&2\nexit 2\n"
    )
    with pytest.raises(Failed, match="tar failed"):
        inside.put_home(home, io.BytesIO(content), digest(content), "restored")


@pytest.mark.slow
def test_what_is_killed_leaves_no_half_of_a_home(home: Path, tmp_path: Path) -> None:
    """As by the engine's end, or with `docker rm --force`; what then comes finds an empty one."""
    (home / "large").write_bytes(os.urandom(1 << 22))
    content = packed(home)
    volume = tmp_path / "volume"
    volume.mkdir()
    text = Path(inside.__file__).read_text().replace("/data", str(volume))
    command = [sys.executable, "-I", "-c", text, "put-home", digest(content), "restored", ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as job:
        source = inside.pipe(job.stdin)
        source.write(content[: len(content) // 2])
        source.flush()
        wait_until(lambda: bool(list(volume.glob("*/large"))), seconds=30)
        # Another one leaves alone what this one works with.
        with pytest.raises(Failed, match="not empty"):
            put_home(volume, content)
        job.kill()
    [left] = volume.iterdir()
    (volume / f"{inside.UNPACKING}-mine").mkdir()
    os.chown(volume / f"{inside.UNPACKING}-mine", os.geteuid() + 1000, -1)
    put_home(volume, content, "restored")
    assert not left.exists()
    assert sorted(path.name for path in volume.iterdir()) == [
        f"{inside.UNPACKING}-mine",
        "restored",
    ]
    (volume / f"{inside.UNPACKING}-mine").rmdir()
    shutil.rmtree(volume / "restored")
    put_home(volume, content, "restored")
    assert (volume / "file").read_text() == "content"
    assert not (volume / "restored").exists()


def test_who_begins_to_work_while_a_home_is_unpacked_gets_it_beside(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = packed(home)
    volume = tmp_path / "volume"
    volume.mkdir()
    real = inside._unpack

    def unpack(*arguments: object) -> bool:
        (volume / "new").write_text("of today")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(inside, "_unpack", unpack)
    found = inside.put_home(volume, io.BytesIO(content), digest(content), "restored")
    assert found["into"] == "restored"
    assert (volume / "new").read_text() == "of today"
    assert (volume / "restored" / "file").read_text() == "content"
    (volume / "new").unlink()
    shutil.rmtree(volume / "restored")
    with pytest.raises(Failed, match="its user has begun to work"):
        put_home(volume, content)
    assert [path.name for path in volume.iterdir()] == ["new"]


def test_the_same_file_is_packed_to_the_same_bytes(tmp_path: Path) -> None:
    """So that a tool that looks for what two backups have in common finds it."""
    home = tmp_path / "home"
    home.mkdir()
    content = b"".join(os.urandom(32).hex().encode() for _ in range(1 << 15))
    (home / "b").write_bytes(content)
    first = packed(home)
    (home / "a").write_text("new, and before the other in the archive")
    second = packed(home)
    middle = first[len(first) // 2 : len(first) // 2 + (1 << 16)]
    assert middle in second


def test_a_home_into_a_new_folder_of_one_that_is_in_use(home: Path) -> None:
    content = packed(home)
    (home / "file").write_text("newer")
    put_home(home, content, "restored")
    assert (home / "file").read_text() == "newer"
    assert (home / "restored" / "file").read_text() == "content"
    assert not list(home.glob(f"{inside.UNPACKING}*"))
    with pytest.raises(Failed, match="already has a folder restored"):
        put_home(home, content, "restored")


def test_nothing_is_put_over_files(home: Path) -> None:
    with pytest.raises(Failed, match="not empty"):
        put_home(home, b"")


@pytest.mark.parametrize("cut", [0.5, 1.0])
def test_a_home_that_does_not_arrive_is_no_folder(home: Path, cut: float) -> None:
    content = packed(home)
    part = content[: int(len(content) * cut)]
    with pytest.raises(Failed, match=r"tar failed|checksum"):
        inside.put_home(home, io.BytesIO(part), digest(b"another"), "restored")
    assert not (home / "restored").exists()
    assert not list(home.glob(f"{inside.UNPACKING}*"))


def test_a_home_that_cannot_be_read_fails(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="tar or gzip failed"):
        inside.save_home(tmp_path / "missing", io.BytesIO())


SCHEMA = """
CREATE TABLE users (id INTEGER, name TEXT);
CREATE TABLE zhub_logins (name TEXT, at REAL);
CREATE TABLE alembic_version (version_num TEXT);
CREATE TABLE servers (id INTEGER, base_url TEXT);
CREATE TABLE spawners (user_id INTEGER, server_id INTEGER, state TEXT, started TEXT);
CREATE TABLE api_tokens (id INTEGER, user_id INTEGER, expires_at TEXT, note TEXT);
INSERT INTO users VALUES (1, 'alice'), (2, 'bob');
INSERT INTO zhub_logins VALUES ('alice', 1);
INSERT INTO alembic_version VALUES ('f460b0348206');
INSERT INTO servers VALUES (1, '/zhub-one/user/alice/'), (2, '/of-a-service/');
INSERT INTO spawners VALUES (1, 1, '{"object_name": "zhub-one-user-alice"}', 'now');
INSERT INTO api_tokens VALUES
    (1, 1, NULL, 'Server at /zhub-one/user/alice/'),
    (2, 1, 'later', 'Server at /zhub-one/user/alice/'),
    (3, 2, NULL, 'Server at /zhub-one/user/alice/'),
    (4, 1, NULL, 'of a script');
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "cookie_secret").touch(0o600)
    (folder / "cookie_secret").write_text("secret")
    (folder / "copies").mkdir()
    return folder


def test_a_database_in_use_is_packed_whole(state: Path) -> None:
    with closing(sqlite3.connect(state / DATABASE)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.executescript(SCHEMA)
        live.execute("BEGIN IMMEDIATE")
        live.execute("INSERT INTO users VALUES (3, 'not committed')")
        assert (state / f"{DATABASE}-wal").stat().st_size > (state / DATABASE).stat().st_size
        out = io.BytesIO()
        report = inside.save_state(state, out)
    assert report["users"] == ["alice", "bob"]
    assert report["logins"] == ["alice"]
    assert report["revision"] == "f460b0348206"
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert archive.getnames() == [DATABASE, "cookie_secret"]
        content = archive.extractfile(DATABASE)
        assert content
        with closing(sqlite3.connect(":memory:")) as copy:
            copy.deserialize(content.read())
            assert copy.execute("SELECT count(*) FROM users").fetchone() == (2,)


@pytest.fixture
def saved(state: Path) -> bytes:
    with closing(sqlite3.connect(state / DATABASE)) as live:
        live.executescript(SCHEMA)
    out = io.BytesIO()
    inside.save_state(state, out)
    return out.getvalue()


@pytest.mark.slow
def test_a_database_replaces_another_one(saved: bytes, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for name in (DATABASE, f"{DATABASE}-wal", "cookie_secret"):
        (new / name).write_text("of an unused hub")
    inside.put_state(new, io.BytesIO(saved), digest(saved))
    assert sorted(path.name for path in new.iterdir()) == ["cookie_secret", DATABASE]
    assert (new / "cookie_secret").read_text() == "secret"
    assert (new / "cookie_secret").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(new / DATABASE)) as db:
        servers = db.execute("SELECT base_url FROM servers").fetchall()
        assert servers == [("/of-a-service/",)]
        spawners = db.execute("SELECT server_id, state, started FROM spawners").fetchall()
        assert spawners == [(None, "{}", None)]
        # Only the token that JupyterHub gave to the server that ran.
        assert db.execute("SELECT id FROM api_tokens").fetchall() == [(2,), (3,), (4,)]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["cut", "checksum", "database"])
def test_a_database_that_is_not_sound_replaces_nothing(
    saved: bytes, tmp_path: Path, wrong: str
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / DATABASE).write_text("there")
    content, sha256 = saved, digest(saved)
    if wrong == "cut":
        content = saved[: len(saved) // 2]
    elif wrong == "checksum":
        sha256 = digest(b"another")
    else:
        member = tarfile.TarInfo(DATABASE)
        member.size = 4096
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(member, io.BytesIO(bytes(range(256)) * 16))
        content = gzip.compress(out.getvalue())
        sha256 = digest(content)
    with pytest.raises(Failed):
        inside.put_state(new, io.BytesIO(content), sha256)
    assert [path.name for path in new.iterdir()] == [DATABASE]
    assert (new / DATABASE).read_text() == "there"


def test_the_time_of_a_backup_is_left_for_the_hub(tmp_path: Path) -> None:
    for now in (1795938748.4, 1795942348.0):
        inside.mark(tmp_path, lambda: now)  # noqa: B023 - called at once
        assert (tmp_path / "last-backup").read_text() == f"{now:.0f}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["last-backup"]


def test_a_volume_without_a_database(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="was the hub ever up"):
        inside.save_state(tmp_path, io.BytesIO())


def test_the_release_knows_its_own_databases() -> None:
    found = inside.release()
    assert "f460b0348206" in found["revisions"]
    assert found["jupyterhub"].split(".")[0].isdecimal()


def test_the_last_line_is_the_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        assert inside.main(["release"]) == 0
        line = capsys.readouterr().err.splitlines()[-1]
        assert json.loads(line.removeprefix(inside.MARK))["revisions"]
        assert inside.main(["save-state"], tmp_path) == 1
        assert capsys.readouterr().err == f"there is no {DATABASE}: was the hub ever up?\n"
    finally:
        os.umask(umask)


def test_it_needs_nothing_but_the_standard_library() -> None:
    """It is given as text to the Python of images of any release."""
    source = Path(inside.__file__).read_text()
    imported = {
        line.split()[1].partition(".")[0]
        for line in source.splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names | {"__future__"}


def test_a_folder_is_made_or_taken_if_nothing_is_in_it(tmp_path: Path) -> None:
    inside.make_folder(tmp_path, "home")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    inside.make_folder(tmp_path, "home")
    (tmp_path / "home" / "file").write_text("kept")
    with pytest.raises(Failed, match="has files in it"):
        inside.make_folder(tmp_path, "home")
    assert (tmp_path / "home" / "file").read_text() == "kept"


def test_a_folder_is_not_made_in_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path)
    with pytest.raises(Failed, match="is a link"):
        inside.make_folder(tmp_path, "home")


def test_a_folder_is_removed_with_what_is_in_it_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "home" / "below").mkdir(parents=True)
    (tmp_path / "home" / "below" / "file").write_text("gone")
    (tmp_path / "home" / "link").symlink_to(tmp_path / "other")
    inside.remove_folder(tmp_path, "home")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert (tmp_path / "other").read_text() == "kept"
    inside.remove_folder(tmp_path, "home")


def test_what_a_link_leads_to_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("kept")
    (tmp_path / "home").symlink_to("other")
    inside.remove_folder(tmp_path, "home")
    assert (tmp_path / "other" / "file").read_text() == "kept"
