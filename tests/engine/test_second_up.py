"""What a second `up` makes of the hub's database and of images: nothing that was not asked for.

The real program on a real engine, of which only a part is brought up, so that it takes seconds.
"""

from __future__ import annotations

import io
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.engine.conftest import CONFIG, remove_leftovers
from tests.engine.stack import Stack, checkout

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

NATIVE = CONFIG | {"platform": "linux/amd64", "baseImage": CONFIG["buildImage"], "port": 15443}
HUB = ("pulumi:providers:docker::engine", "zhub:hub:Hub::hub")
STATE = (*HUB, "Volume::state")
# With what the guard depends on.
GUARD = ("Network::hub", "Command::remove-notebooks", "zhub:guard:Guard::guard")
AUDIT = (*HUB, *GUARD, "Volume::guardaudit")
DATABASE = "jupyterhub.sqlite"
FILTER = ("pulumi:providers:docker::engine", "zhub:images:Images::images", "Image::filter")


def only(parts: tuple[str, ...]) -> list[str]:
    """Arguments by which Pulumi looks at these parts of the program alone."""
    return [word for part in parts for word in ("--target", f"**{part}")]


@pytest.fixture
def stack(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Stack]:
    """A stack without protection: nothing but the program keeps its data."""
    stack = Stack("e2e-parts", tmp_path / "state")
    remove_leftovers(engine, stack.prefix)
    stack.folder.mkdir()
    stack.init(NATIVE)
    yield stack
    stack.on_stack("destroy", "--yes")
    left = [volume.name for volume in engine.volumes.list(filters={"name": f"{stack.prefix}-"})]
    assert not left


class Volume:
    """The hub's volume, reached by containers that never run."""

    def __init__(self, engine: docker.DockerClient, name: str) -> None:
        self.engine = engine
        self.name = name

    @contextmanager
    def mounted(self) -> Iterator[Any]:
        """A container with the volume in /state; it makes the volume, as `docker run -v` does."""
        volumes = {self.name: {"bind": "/state", "mode": "rw"}}
        holder = self.engine.containers.create(NATIVE["baseImage"], volumes=volumes)
        try:
            yield holder
        finally:
            holder.remove()

    def fill(self) -> None:
        """Put a database with one user into it."""
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("create table users (name text)")
            database.execute("insert into users values ('alice')")
            database.commit()
            content = database.serialize()
        member = tarfile.TarInfo(f"state/{DATABASE}")
        member.size = len(content)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.addfile(member, io.BytesIO(content))
        self.restore(packed.getvalue())

    def backup(self) -> bytes:
        """All that is in it, as a tar of the folder `state`."""
        with self.mounted() as holder:
            return b"".join(holder.get_archive("/state")[0])

    def restore(self, packed: bytes) -> None:
        """Unpack a backup into it."""
        with self.mounted() as holder:
            assert holder.put_archive("/", packed)

    def users(self) -> list[tuple[str]]:
        """Names of the users in the database; none where there is no database."""
        with tarfile.open(fileobj=io.BytesIO(self.backup())) as tar:
            if f"state/{DATABASE}" not in tar.getnames():
                return []
            file = tar.extractfile(f"state/{DATABASE}")
            assert file is not None
            content = file.read()
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            return database.execute("select name from users").fetchall()


@pytest.fixture
def volume(engine: docker.DockerClient, stack: Stack) -> Volume:
    """The volume of a stack that is up, with a user in the database."""
    stack.up(*only(STATE))
    volume = Volume(engine, f"{stack.prefix}-state")
    volume.fill()
    return volume


@pytest.mark.parametrize("first", [(), ("--refresh",)], ids=["up", "up --refresh"])
def test_a_volume_restored_by_hand_stays(
    engine: docker.DockerClient,
    stack: Stack,
    volume: Volume,
    first: tuple[str, ...],
) -> None:
    backup = volume.backup()
    engine.volumes.get(volume.name).remove()
    volume.restore(backup)
    assert not engine.volumes.get(volume.name).attrs["Labels"]
    for arguments in (first, (), ("--refresh",), ()):
        shown = stack.up(*arguments, *only(STATE))
        assert "replace" not in shown
        assert volume.users() == [("alice",)]


@pytest.mark.parametrize(("role", "parts"), [("state", STATE), ("audit", AUDIT)])
def test_a_volume_that_was_there_before_the_stack_stays(
    engine: docker.DockerClient, stack: Stack, role: str, parts: tuple[str, ...]
) -> None:
    volume = Volume(engine, f"{stack.prefix}-{role}")
    engine.volumes.create(volume.name, labels={"made": "by hand"})
    volume.fill()
    assert f"volume {volume.name} was there already" in stack.up(*only(parts))
    for arguments in ((), ("--refresh",), ()):
        shown = stack.up(*arguments, *only(parts))
        assert "replace" not in shown
        assert volume.users() == [("alice",)]


def test_a_volume_that_is_gone_is_made_by_a_refresh_and_can_be_restored_then(
    engine: docker.DockerClient, stack: Stack, volume: Volume
) -> None:
    backup = volume.backup()
    engine.volumes.get(volume.name).remove()
    stack.up("--refresh", *only(STATE))
    assert engine.volumes.get(volume.name).attrs["Labels"]["zhub.role"] == "state"
    volume.restore(backup)
    stack.up("--refresh", "--expect-no-changes", *only(STATE))
    assert volume.users() == [("alice",)]


def test_what_a_later_version_declares_does_not_replace_it(
    stack: Stack, volume: Volume, tmp_path: Path
) -> None:
    later = checkout(tmp_path / "later")
    names = later / "components" / "names.py"
    old = '{"label": "zhub.role", "value": role},'
    text = names.read_text()
    assert text.count(old) == 1
    names.write_text(text.replace(old, f'{old} {{"label": "zhub.new", "value": "yes"}},'))
    hub = later / "components" / "hub.py"
    old = 'labels=names.labels("state"),'
    text = hub.read_text()
    assert text.count(old) == 1
    options = 'driver="local", driver_opts={"o": "size=1g", "type": "tmpfs", "device": "tmpfs"},'
    hub.write_text(text.replace(old, f"{old} {options}"))
    upgraded = Stack(stack.name, stack.folder, project=later)
    for arguments in ((), ("--refresh",), ()):
        shown = upgraded.up(*arguments, *only(STATE))
        assert "replace" not in shown
        assert volume.users() == [("alice",)]
    # And back again.
    stack.up("--expect-no-changes", *only(STATE))


@pytest.mark.parametrize("umask", [0o002, 0o077], ids=oct)
def test_a_clone_with_another_umask_and_path_changes_nothing(
    stack: Stack, tmp_path: Path, umask: int
) -> None:
    stack.up(*only(FILTER))
    clone = Stack(stack.name, stack.folder, project=checkout(tmp_path / "clone", umask))
    shown = clone.on_stack("preview", "--expect-no-changes", *only(FILTER))
    assert "set the modes of" in shown
    # With the modes as they are, it shows changes.
    again = Stack(stack.name, stack.folder, project=checkout(tmp_path / "again", umask))
    program = again.project / "__main__.py"
    program.write_text(program.read_text().replace("checkout.settle_modes()\n", ""))
    assert "filter update" in again.on_stack("preview", *only(FILTER))


@pytest.mark.parametrize("part", ["Volume::certs", "Network::hub"])
def test_what_is_replaced_on_demand_is_there_afterwards(
    engine: docker.DockerClient, stack: Stack, part: str
) -> None:
    """The new one has the name of the old one, which is not to be taken for it."""
    parts = only((*STATE, part))
    stack.up(*parts)
    name = f"{stack.prefix}-{part.rpartition('::')[2]}"
    found = engine.volumes if part.startswith("Volume") else engine.networks
    before = found.get(name).attrs
    shown = stack.up("--target-replace", f"**{part}")
    assert "replaced" in shown
    after = found.get(name).attrs
    assert after != before
    stack.up("--refresh", "--expect-no-changes", *parts)
