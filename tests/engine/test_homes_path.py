"""Homes go to a folder of the site's choice, and from there to another one, without a loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests

from tests.docs.commands import runs
from tests.engine.conftest import native, stack_in_checkout
from tests.engine.operator import typed
from tests.engine.people import logged_in
from tests.engine.stack import PulumiError, Stack
from tests.engine.test_backup import ODD, printed
from tests.hubclient import StartFailed
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: A resource that cannot be made, when all others are; as of a hub that does not become healthy, an
#: output needs it.
BROKEN = """
import pulumi_docker

last = pulumi.ResourceOptions(provider=engine, depends_on=[hub])
broken = pulumi_docker.Volume("broken", driver="none-such", opts=last)
pulumi.export("broken", broken.name)
"""

SET, MOVE = runs("docs/homes.md", "Homes in a folder of your choice")


@pytest.fixture
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    config = native(engine) | {"port": free_port()}
    folder = tmp_path_factory.mktemp("state")
    yield from stack_in_checkout(engine, "e2e-homespath", folder, config)


def there(engine: docker.DockerClient, stack: Stack, user: str) -> str:
    """Where a user's home is, by its volume."""
    volume = engine.volumes.get(f"{stack.prefix}-home-{user}")
    return str(volume.attrs["Options"]["device"])


def test_homes_move_and_nothing_is_lost(
    stack: Stack, engine: docker.DockerClient, short_folder: Path
) -> None:
    first, second = short_folder / "first", short_folder / "second"
    alice = logged_in(stack, "alice")
    alice.start_server()
    alice.run(ODD)
    alice.stop_server()
    bob = logged_in(stack, "bob")
    bob.start_server()
    bob.save("kept.txt", "of bob")
    before = printed(engine, stack, "alice")

    # A folder that is missing is refused before anything changes.
    own = SET.replace("/srv/homes/zhub", str(first))
    stack.configure({"homesPath": str(first)})
    with pytest.raises(PulumiError, match=f"install -d -m 700 {first}"):
        stack.on_stack("preview")
    said = typed(stack, own)
    assert "make homes" in said
    # Homes from before go on working, and bob's server was left alone.
    assert bob.read("kept.txt") == "of bob"
    alice = logged_in(stack, "alice")
    alice.start_server()
    alice.stop_server()
    assert printed(engine, stack, "alice") == before
    assert not list(first.iterdir())

    # Moved, but for bob's, whose server runs.
    moved = typed(stack, MOVE)
    assert "their servers run: bob" in moved
    assert there(engine, stack, "alice") == f"{first}/{stack.prefix}-home-alice"
    assert printed(engine, stack, "alice") == before
    bob = logged_in(stack, "bob")
    bob.stop_server()
    typed(stack, MOVE)
    assert there(engine, stack, "bob") == f"{first}/{stack.prefix}-home-bob"
    # A new one is made there.
    carol = logged_in(stack, "carol")
    carol.start_server()
    carol.save("kept.txt", "of carol")
    carol.stop_server()
    assert there(engine, stack, "carol") == f"{first}/{stack.prefix}-home-carol"

    to_another_folder(stack, engine, first, second)
    assert printed(engine, stack, "alice") == before
    back_from_a_backup(stack, engine, second)
    third = short_folder / "third"
    after_an_up_that_failed(stack, engine, second, third)
    opened(stack, engine, third)
    forgotten(stack, first, second, third)


def to_another_folder(stack: Stack, engine: docker.DockerClient, first: Path, second: Path) -> None:
    """Homes in the first folder go on working until they are moved, and are left there then."""
    said = typed(stack, SET.replace("/srv/homes/zhub", str(second)))
    assert f"from {first} to {second}" in said
    alice = logged_in(stack, "alice")
    alice.start_server()
    alice.stop_server()
    assert f"is left: {first}/{stack.prefix}-home-alice" in typed(stack, MOVE)
    assert there(engine, stack, "alice") == f"{second}/{stack.prefix}-home-alice"
    assert (first / f"{stack.prefix}-home-bob" / "kept.txt").read_text() == "of bob"


def back_from_a_backup(stack: Stack, engine: docker.DockerClient, folder: Path) -> None:
    """One that was removed comes back, not over what its folder still has."""
    engine.volumes.get(f"{stack.prefix}-home-bob").remove()
    backup = max((stack.project / "backups").iterdir())
    refused = stack.make("restore", FROM=str(backup), USER="bob")
    assert refused.returncode == 1
    assert "has files in it, which are left alone" in refused.stdout
    home = folder / f"{stack.prefix}-home-bob"
    home.rename(folder / "aside")
    done = stack.make("restore", FROM=str(backup), USER="bob")
    assert done.returncode == 0, done.stdout
    assert (home / "kept.txt").read_text() == "of bob"
    bob = logged_in(stack, "bob")
    bob.start_server()
    assert bob.read("kept.txt") == "of bob"
    bob.stop_server()


def after_an_up_that_failed(
    stack: Stack, engine: docker.DockerClient, now: Path, tried: Path
) -> None:
    """A home that was made meanwhile goes on working, also back with the folder before."""
    program = stack.project / "__main__.py"
    text = program.read_text()
    program.write_text(text + BROKEN)
    tried.mkdir(mode=0o700)
    stack.configure({"homesPath": str(tried)})
    with pytest.raises(PulumiError, match="none-such"):
        stack.up()
    program.write_text(text)
    assert stack.outputs()["homesPaths"][0] == str(now)
    grace = logged_in(stack, "grace")
    grace.start_server()
    grace.save("kept.txt", "of grace")
    grace.stop_server()
    assert there(engine, stack, "grace") == f"{tried}/{stack.prefix}-home-grace"
    stack.configure({"homesPath": str(now)})
    stack.up()
    assert str(tried) in stack.outputs()["homesPaths"][1:]
    grace.start_server()
    assert grace.read("kept.txt") == "of grace"
    grace.stop_server()
    stack.up("--expect-no-changes")


def opened(stack: Stack, engine: docker.DockerClient, folder: Path) -> None:
    """No home is mounted from an earlier folder while others than root may write there."""
    grace = logged_in(stack, "grace")
    folder.chmod(0o777)
    fix = f"as root: install -d -o root -g root -m 700 {folder}"
    with pytest.raises((StartFailed, requests.HTTPError)):
        grace.ask_for_server()
    guard = engine.containers.get(f"{stack.prefix}-guard")
    assert fix.encode() in guard.logs()
    folder.chmod(0o700)
    grace.start_server()
    grace.stop_server()


def forgotten(stack: Stack, first: Path, second: Path, third: Path) -> None:
    """Nothing of a home is left in any of the folders: the next person may have the name."""
    stack.environment["ZHUB_YES"] = "1"
    done = stack.make("users", DO="forget", USER="bob")
    assert done.returncode == 0, done.stdout
    for folder in (first, second):
        assert f"what is in {folder}/{stack.prefix}-home-bob" in done.stdout
        assert not (folder / f"{stack.prefix}-home-bob").exists()
        assert (folder / f"{stack.prefix}-home-alice").exists()
    done = stack.make("users", DO="forget", USER="grace")
    assert done.returncode == 0, done.stdout
    assert f"what is in {third}/{stack.prefix}-home-grace" in done.stdout
    assert not list(third.iterdir())
