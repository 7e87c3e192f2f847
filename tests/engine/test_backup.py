"""A stack with users in it is backed up, and restored into another one."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from zhub.guard import homes
from zhub.guard.policy import escaped

from tests.built import healthy, wait_until
from tests.docs.commands import runs
from tests.engine.conftest import native, stack_in_checkout
from tests.engine.people import Entrance, logged_in
from tests.engine.stack import PASSPHRASE, Stack
from tests.hubclient import Kernel
from tests.ports import free_port
from toolchain.backup import turn
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: What a user may have in a home, made by a kernel.
ODD = """
import os
os.makedirs("odd/shut")
open(b"odd/latin-\\xe9\\xff", "w").write("not UTF-8")
long = "odd/" + "long" * 50 + "\\u00fc"
open(long, "w").write("a name that does not fit into tar's own header")
os.link(long, "odd/hard")
os.symlink("../nowhere", "odd/soft")
os.setxattr("odd/hard", "user.note", bytes(range(256)))
with open("odd/sparse", "wb") as file:
    file.truncate(1 << 30)
    file.seek(1 << 29)
    file.write(b"in the middle of nothing")
os.chmod("odd/sparse", 0o2640)
os.mkfifo("odd/fifo", 0o600)
open("odd/shut/in", "w").write("behind a closed door")
os.utime("odd/shut/in", ns=(1, 123456789))
os.chmod("odd/shut", 0)
"""

#: Makes a path that is too long for a system call, and so for tar when it unpacks.
DEEP = """
import os
os.chdir("/d")
open("file", "w").write("short")
for _ in range(17):
    os.mkdir("x" * 250)
    os.chdir("x" * 250)
"""

#: A folder that all users share.
TEAM = {"name": "team", "mode": "read-write"}

#: Prints all that a copy of a folder must have, as JSON.
LIST = """
import hashlib, json, os, stat, sys
found = {}
for place, folders, files in os.walk(b"/d"):
    for path in [place] + [os.path.join(place, name) for name in folders + files]:
        s = os.lstat(path)
        regular, link = stat.S_ISREG(s.st_mode), stat.S_ISLNK(s.st_mode)
        found[path.hex()] = [
            s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns,
            s.st_nlink, s.st_size if regular else 0, s.st_blocks if regular else 0,
            os.readlink(path).hex() if link else "",
            {} if link else {
                name: os.getxattr(path, name).hex()
                for name in os.listxattr(path) if name.startswith("user.")
            },
            hashlib.file_digest(open(path, "rb"), "sha256").hexdigest() if regular else "",
        ]
print(json.dumps(found, sort_keys=True))
"""

#: Prints what a hub knows of people, as JSON.
PEOPLE = """
import json, sqlite3
db = sqlite3.connect("/srv/jupyterhub/jupyterhub.sqlite")
print(json.dumps({
    query: db.execute(query).fetchall()
    for query in (
        "select name, admin, created, cookie_id from users order by name",
        "select name, properties from groups order by name",
        "select * from user_group_map order by user_id, group_id",
        "select name, at from zhub_logins order by name",
        "select user_id, hashed, prefix, created, expires_at, note, scopes from api_tokens"
        " where user_id is not null and note = 'of tests' order by id",
    )
}))
"""


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that is backed up, with people at work in it."""
    folder = tmp_path_factory.mktemp("backup")
    config = native(engine) | {"port": free_port(), "sharedFolders": [TEAM]}
    for stack in stack_in_checkout(engine, "e2e-backup", folder, config):
        for name in ("alice", "bob"):
            user = logged_in(stack, name)
            user.start_server()
            user.run(ODD)
        user.run(f"import os\nos.chdir('/shared/team')\n{ODD}")
        yield stack


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    """An API token of Alice."""
    answer = logged_in(stack, "alice").request(
        "POST", "hub/api/users/alice/tokens", json={"note": "of tests"}
    )
    answer.raise_for_status()
    return str(answer.json()["token"])


@pytest.fixture(scope="module")
def backup(stack: Stack, token: str, engine: docker.DockerClient) -> Path:
    """The backup, made while they work."""
    [alice] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    hub = engine.containers.get(f"{stack.prefix}-hub")
    done = stack.make("backup")
    assert done.returncode == 0, done.stdout
    assert "home 2 of 2: bob" in done.stdout
    assert "the shared folder team, " in done.stdout
    for before in (alice, hub):
        after = engine.containers.get(str(before.id))
        assert after.attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]
    [folder] = (stack.project / "backups").iterdir()
    assert str(folder) in done.stdout
    return folder


@pytest.fixture(scope="module")
def other(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack under another name, which nobody has used."""
    folder = tmp_path_factory.mktemp("restored")
    config = native(engine) | {"port": free_port(), "sharedFolders": [TEAM]}
    yield from stack_in_checkout(engine, "e2e-restored", folder, config)


def printed(engine: docker.DockerClient, stack: Stack, name: str, kind: str = "home-") -> str:
    """All that is in a user's home, or in a shared folder, in words that can be compared."""
    found: bytes = engine.containers.run(
        str(engine.containers.get(f"{stack.prefix}-hub").attrs["Image"]),
        ["-c", LIST],
        entrypoint="/opt/jupyter/bin/python3",
        user="0",
        volumes={f"{stack.prefix}-{kind}{name}": {"bind": "/d", "mode": "ro"}},
        network_mode="none",
        remove=True,
    )
    return found.decode()


def in_home(engine: docker.DockerClient, stack: Stack, user: str, command: str) -> None:
    """Run a shell command that sees the user's home at /d."""
    engine.containers.run(
        str(engine.containers.get(f"{stack.prefix}-hub").attrs["Image"]),
        ["-c", command],
        entrypoint="sh",
        user="0",
        volumes={f"{stack.prefix}-home-{user}": {"bind": "/d", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )


def people(engine: docker.DockerClient, stack: Stack) -> Any:
    hub = engine.containers.get(f"{stack.prefix}-hub")
    code, found = hub.exec_run(["/opt/jupyter/bin/python3", "-c", PEOPLE])
    assert code == 0, found
    assert isinstance(found, bytes)
    return json.loads(found)


@dataclass(frozen=True)
class Seen:
    """What a refused restore must leave as it is."""

    started: str
    volumes: list[str]

    @classmethod
    def of(cls, engine: docker.DockerClient, stack: Stack) -> Seen:
        hub = engine.containers.get(f"{stack.prefix}-hub")
        own = {"label": f"zhub.stack={stack.prefix}"}
        volumes = sorted(str(volume.name) for volume in engine.volumes.list(filters=own))
        return cls(hub.attrs["State"]["StartedAt"], volumes)


def refused(engine: docker.DockerClient, stack: Stack, folder: Path) -> str:
    """What a restore says that is refused and changes nothing."""
    before = Seen.of(engine, stack)
    done = stack.make("restore", FROM=str(folder))
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert Seen.of(engine, stack) == before
    return done.stdout


def changed(folder: Path, **values: str) -> None:
    """Change a backup's manifest."""
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_sizes_are_shown_while_people_work(stack: Stack, engine: docker.DockerClient) -> None:
    server = engine.containers.list(filters=stack.labelled("notebook", "alice"))[0]
    in_home(engine, stack, "alice", "head -c 3000000 /dev/urandom >/d/random")
    shown = stack.make("sizes", LIMIT="2M")
    assert shown.returncode == 0, shown.stdout
    lines = [line.partition("home of ")[2] for line in shown.stdout.splitlines()]
    # The file with a hole of a gibibyte does not count as one.
    [alice] = [line for line in lines if line.startswith("alice: 0.00 GiB in ")]
    assert "% of the limit - OVER IT" in alice
    assert "shared folder team: 0.00 GiB" in shown.stdout
    assert "over 2M: alice" in shown.stdout
    server.reload()
    assert server.status == "running"
    in_home(engine, stack, "alice", "rm /d/random")
    wrong = stack.make("sizes", LIMIT="much")
    assert wrong.returncode == 1
    assert "LIMIT=much: must be a size, as in LIMIT=10G" in wrong.stdout


def test_only_its_owner_can_read_it(backup: Path) -> None:
    for path in (backup, *backup.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_it_has_no_private_key_and_no_passphrase(stack: Stack, backup: Path) -> None:
    assert not list(backup.glob("passphrase*"))
    state = gzip.decompress((backup / "state.tar.gz").read_bytes())
    whole = b"".join(path.read_bytes() for path in backup.glob("*.*")) + state
    assert b'"type": "tls:index/privateKey:PrivateKey"' in whole
    assert b"PRIVATE KEY" not in whole
    assert PASSPHRASE.encode() not in whole
    for password in stack.outputs()["demoUsers"].values():
        assert password.encode() not in whole
    with tarfile.open(backup / "state.tar.gz") as archive:
        assert {"jupyterhub.sqlite", "cookie_secret"} <= set(archive.getnames())
        assert not [name for name in archive.getnames() if name.endswith(("-wal", "-shm"))]


def test_the_hub_knows_when_it_was(stack: Stack, engine: docker.DockerClient, backup: Path) -> None:
    """The metrics show it."""
    hub = engine.containers.get(f"{stack.prefix}-hub")
    code, said = hub.exec_run(["cat", "/srv/jupyterhub/last-backup"])
    assert (code, bool(re.fullmatch(r"b'[0-9]{10}\\n'", str(said)))) == (0, True), said


def test_a_changed_file_is_refused(
    other: Stack, engine: docker.DockerClient, backup: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(backup, tmp_path / "copy"))
    home = copy / "homes" / "bob.tar.gz"
    content = bytearray(home.read_bytes())
    content[len(content) // 2] ^= 1
    home.write_bytes(content)
    assert "bob.tar.gz is not what was backed up" in refused(engine, other, copy)


def test_another_operators_command_is_waited_for(
    stack: Stack, other: Stack, engine: docker.DockerClient, backup: Path, tmp_path: Path
) -> None:
    helpers = {
        each.name: Helpers(
            Engine(("docker",), each.prefix),
            str(engine.containers.get(f"{each.prefix}-hub").attrs["Image"]),
        )
        for each in (stack, other)
    }
    with turn.alone(helpers[other.name], "make restore"):
        said = refused(engine, other, backup)
        assert f"`make restore` is under way on {other.prefix}, since " in said
    with turn.among_others(helpers[other.name], turn.BACKUP):
        assert "`make backup` is under way on" in refused(engine, other, backup)
    with turn.alone(helpers[stack.name], "make homes"):
        done = stack.make("backup", TO=str(tmp_path))
        assert done.returncode == 1, done.stdout
        assert "`make homes` is under way on" in done.stdout
    assert not list(tmp_path.iterdir())
    assert not engine.containers.list(all=True, filters=other.labelled("backup"))


def test_a_newer_database_is_refused(
    other: Stack, engine: docker.DockerClient, backup: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(backup, tmp_path / "copy"))
    changed(copy, revision="fedcba987654", jupyterhub="99.1")
    said = refused(engine, other, copy)
    assert "is of JupyterHub 99.1" in said
    assert "Bring the stack up with the backup's release" in said


def test_a_stack_with_users_is_refused(
    stack: Stack, engine: docker.DockerClient, backup: Path
) -> None:
    said = refused(engine, stack, backup)
    assert "stack e2e-backup has users in it (logged in: alice, bob; servers:" in said


def test_what_an_interrupted_backup_leaves_is_none(
    stack: Stack, engine: docker.DockerClient, tmp_path: Path
) -> None:
    large = stack.labelled("home")["label"] + ["zhub.user=large"]
    labels = dict(label.split("=") for label in large)
    volume = engine.volumes.create(f"{stack.prefix}-home-large", labels=labels)
    in_home(engine, stack, "large", "head -c 200000000 /dev/urandom > /d/random")
    for number, left in ((signal.SIGTERM, 0), (signal.SIGKILL, 1)):
        backing_up = subprocess.Popen(
            stack.operator("backup", TO=str(tmp_path)),
            cwd=stack.project,
            env=stack.variables(),
        )
        end = time.monotonic() + 60
        while not list(tmp_path.glob(".*/homes/large*")):
            assert backing_up.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        backing_up.send_signal(number)
        backing_up.wait(timeout=60)
        assert len(list(tmp_path.iterdir())) == left
        wait_until(lambda: not engine.containers.list(filters=stack.labelled("backup")), seconds=60)
    volume.remove()
    [partial] = tmp_path.iterdir()
    done = stack.make("restore", FROM=str(partial))
    assert f"{partial} is no whole backup: it was interrupted" in done.stdout
    done = stack.make("backup", TO=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert f"removing what an interrupted backup has left: {partial}" in done.stdout
    [whole] = tmp_path.iterdir()
    assert whole.name.startswith("e2e-backup-")


def test_a_home_that_cannot_be_read_keeps_nobody_else_from_being_backed_up(
    stack: Stack, engine: docker.DockerClient, backup: Path, tmp_path: Path
) -> None:
    hub = engine.containers.get(f"{stack.prefix}-hub")
    stamp = hub.exec_run(["cat", "/srv/jupyterhub/last-backup"])
    labels = dict(label.split("=") for label in stack.labelled("home")["label"])
    broken = engine.volumes.create(
        f"{stack.prefix}-home-broken",
        driver_opts={"type": "none", "o": "bind", "device": "/nonexistent/zhub"},
        labels=labels | {"zhub.user": "broken"},
    )
    copy = Path(shutil.copytree(backup, tmp_path / backup.name))
    try:
        done = stack.make("backup", TO=str(tmp_path), KEEP="1")
    finally:
        broken.remove()
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert "the home of broken cannot be read; once more" in done.stdout
    assert "it does not have what could not be read: homes: broken" in done.stdout
    [folder] = (path for path in tmp_path.iterdir() if path != copy)
    assert sorted(path.name for path in (folder / "homes").iterdir()) == [
        "alice.tar.gz",
        "bob.tar.gz",
    ]
    assert hub.exec_run(["cat", "/srv/jupyterhub/last-backup"]) == stamp


def test_one_home_into_a_folder_of_its_owner_who_works(
    stack: Stack, backup: Path, engine: docker.DockerClient, tmp_path: Path
) -> None:
    alice = logged_in(stack, "alice")
    alice.open_lab()
    alice.save("later.txt", "not in the backup")
    before = json.loads(printed(engine, stack, "alice"))
    done = stack.make("restore", FROM=str(backup), USER="alice")
    assert done.returncode == 0, done.stdout
    after = json.loads(printed(engine, stack, "alice"))
    top = b"/d".hex()
    new = {path: what for path, what in after.items() if path not in before}
    assert {path: what for path, what in after.items() if path in before and path != top} == {
        path: what for path, what in before.items() if path != top
    }
    [folder] = [path for path in new if bytes.fromhex(path).count(b"/") == 2]
    assert bytes.fromhex(folder).startswith(b"/d/restored-")
    for path, what in new.items():
        if path != folder and what != before[top + path.removeprefix(folder)]:
            # What the running server has written since.
            assert b"/.ipython/" in bytes.fromhex(path) or b"/.local/" in bytes.fromhex(path)
    name = bytes.fromhex(folder).decode().removeprefix("/d/")
    assert alice.run(f"print(open('{name}/odd/hard').read())").startswith("a name that")


def test_a_damaged_database_is_replaced_while_people_work(
    stack: Stack, engine: docker.DockerClient, backup: Path
) -> None:
    alice = logged_in(stack, "alice")
    alice.open_lab()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    hub = engine.containers.get(f"{stack.prefix}-hub")
    hub.stop()
    engine.containers.run(
        str(hub.attrs["Image"]),
        ["-ec", "rm -f jupyterhub.sqlite-*; head -c 100000 /dev/urandom > jupyterhub.sqlite"],
        entrypoint="sh",
        user="1000",
        working_dir="/state",
        volumes={f"{stack.prefix}-state": {"bind": "/state", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )
    hub.start()
    done = stack.make("restore", FROM=str(backup), ONLY="database")
    assert done.returncode == 0, done.stdout
    assert "WARNING: the present database cannot be read" in done.stdout
    assert f"kept, in {stack.prefix}-state: copies/replaced-" in done.stdout
    # The one of the backup knows who is logged in, and whose servers these are.
    wait_until(lambda: bool(alice.server().get("ready")), seconds=120)
    alice.open_lab()
    assert Kernel(alice, kernel.url).run("print(answer)") == "42\n"


def test_homes_of_releases_before_are_made_anew(stack: Stack, engine: docker.DockerClient) -> None:
    """They have no options, so that pruning would delete them; who works is left alone."""
    labels = dict(label.split("=") for label in stack.labelled("home")["label"])
    for name in ("carol", "dora"):
        engine.volumes.create(f"{stack.prefix}-home-{name}", labels=labels | {"zhub.user": name})
    in_home(engine, stack, "carol", "cd /d && chown 1000:1000 . && chmod 700 . && echo x > file")
    before = printed(engine, stack, "carol")
    done = stack.make("homes")
    assert done.returncode == 0, done.stdout
    assert "home 2 of 2: dora" in done.stdout
    assert printed(engine, stack, "carol") == before
    for name in ("alice", "bob", "carol", "dora"):
        found = engine.volumes.get(f"{stack.prefix}-home-{name}")
        assert homes.plain(found.attrs)
        assert found.attrs["Options"]
    again = stack.make("homes")
    assert "nothing to do" in again.stdout
    for name in ("carol", "dora"):
        engine.volumes.get(f"{stack.prefix}-home-{name}").remove()


def test_labels_that_a_captured_hub_chose_lead_to_no_other_volume(
    stack: Stack, engine: docker.DockerClient, tmp_path: Path
) -> None:
    """Read line by line, they named volumes of others: to copy, to make anew, to remove."""
    own = dict(label.split("=") for label in stack.labelled("home")["label"])
    foreign = engine.volumes.create(f"{stack.prefix}-foreign")
    text = f"x\n{foreign.name}\t{foreign.name}"
    made = [
        foreign,
        *(
            engine.volumes.create(
                f"{stack.prefix}-home-{escaped(user)}", labels=own | {"zhub.user": user}
            )
            for user in (text, "a\tb", "\x1b[2J")
        ),
        engine.volumes.create(f"{stack.prefix}-home-evil", labels=own | {"zhub.user": "../x"}),
    ]
    try:
        for command, options in {
            "homes": {},
            "sizes": {},
            "backup": {"TO": str(tmp_path)},
            "users": {"DO": "list"},
        }.items():
            done = stack.make(command, **options)
            assert done.returncode == 0, done.stdout
            assert "left out" in done.stdout
            for volume in made[1:]:
                assert volume.name in done.stdout
            assert f"home of {foreign.name}" not in done.stdout
            assert not set(done.stdout) & set("\t\x1b")
        [folder] = tmp_path.iterdir()
        homes_ = {path.name for path in (folder / "homes").iterdir()}
        assert homes_ == {"alice.tar.gz", "bob.tar.gz"}
        engine.volumes.get(foreign.name)
    finally:
        for volume in made:
            volume.remove()


def test_restored_under_another_name_all_is_the_same(
    stack: Stack, other: Stack, engine: docker.DockerClient, backup: Path, token: str
) -> None:
    # Nobody works, so that both sides can be compared.
    for server in engine.containers.list(filters=stack.labelled("notebook")):
        server.stop()
    labels = dict(label.split("=") for label in stack.labelled("home")["label"])
    deep = engine.volumes.create(f"{stack.prefix}-home-deep", labels=labels | {"zhub.user": "deep"})
    try:
        in_home(engine, stack, "deep", f"/opt/jupyter/bin/python3 -c '{DEEP}'")
        made = stack.make("backup", TO=str(backup.parent))
    finally:
        deep.remove()
    assert made.returncode == 0, made.stdout
    assert "WARNING: paths of more than 4095 bytes cannot be restored (" in made.stdout
    folder = max(backup.parent.iterdir())
    # One user's home that cannot be unpacked keeps nobody else from theirs.
    done = other.make("restore", FROM=str(folder))
    assert done.returncode == 1, done.stdout
    assert "all is restored but what cannot be unpacked (see above): home of deep." in done.stdout
    with pytest.raises(docker.errors.NotFound):
        engine.volumes.get(f"{other.prefix}-home-deep")
    # The rest of it, as the message says.
    done = other.make("restore", FROM=str(folder), USER="deep")
    assert done.returncode == 1, done.stdout
    assert "some of it has paths too long to be unpacked" in done.stdout
    in_home(engine, other, "deep", "grep short /d/file")
    engine.volumes.get(f"{other.prefix}-home-deep").remove()
    assert people(engine, other) == people(engine, stack)
    for user in ("alice", "bob"):
        assert printed(engine, other, user) == printed(engine, stack, user)
    team = printed(engine, stack, "team", "shared_")
    assert len(json.loads(team)) > 8
    assert printed(engine, other, "team", "shared_") == team

    entrance = Entrance.of(other)
    stranger = entrance.browser()
    stranger.open_login_form()
    asked = stranger.request("GET", "hub/api/user", headers={"Authorization": f"token {token}"})
    assert asked.json()["name"] == "alice"
    # Their servers start, though the database was that of a stack with other names.
    alice = entrance.logged_in("alice")
    alice.start_server()
    assert alice.read("odd/hard").startswith("a name that")
    assert alice.read("shared/team/odd/hard").startswith("a name that")
    alice.stop_server()
    other.up("--expect-no-changes")
    # It has an audit log of its own, which goes on through the restore.
    [log] = runs("docs/logs.md", "The audit log", "docker exec")
    lines = other.shell(log.replace("zhub-<stack>", other.prefix)).splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["number"] for line in found] == list(range(1, len(found) + 1))
    restored = [line["user"] for line in found if line.get("command") == "restored"]
    assert restored == ["", "deep"]
    events = [line["event"] for line in found]
    assert events.index("guard.start") < events.index("hub.start") < events.index("login")
    assert events.count("hub.start") > 1
    of_alice = {line["event"] for line in found if line.get("user") == "alice"}
    assert {"login", "token.use", "server.start", "container.make"} <= of_alice


@pytest.mark.long
def test_the_state_is_lost_after_an_up_that_the_backup_does_not_know(
    stack: Stack, engine: docker.DockerClient, backup: Path, tmp_path: Path
) -> None:
    """The stack's own containers are others than the state knows, under the same names."""
    commands = runs("docs/backup.md", "Restore", "pulumi", "docker")
    alice = logged_in(stack, "alice")
    if not alice.server():
        alice.ask_for_server()
    alice.open_lab()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    stack.configure({"idleTimeout": 7200})
    stack.up()
    lost = replace(stack, folder=tmp_path)
    script = "\n".join(commands).replace("<stack>", stack.name)
    for shown, here in {
        f"backups/{stack.name}-20261129T030000Z": str(backup),
        "pulumi up": "pulumi up --yes --skip-preview",
    }.items():
        assert shown in script
        script = script.replace(shown, here)
    said = lost.shell(
        f"set -euo pipefail; export PULUMI_STACK={stack.name}\n{script}", stack.project
    )
    print(said)
    wait_until(lambda: healthy(engine.containers.get(f"{stack.prefix}-hub")), seconds=120)
    assert kernel.run("print(answer)") == "42\n"
    # The fixture destroys the stack with the state in its own place.
    exported = tmp_path / "state.json"
    exported.write_text(lost.pulumi("stack", "export", "--stack", stack.name))
    stack.pulumi("stack", "import", "--stack", stack.name, "--file", str(exported))
    stack.up("--expect-no-changes")
