"""A stack that an earlier commit brought up, with a user in it, comes through an update."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from tests.built import wait_until
from tests.docs.commands import runs
from tests.engine.conftest import native, running_stack
from tests.engine.operator import typed
from tests.engine.people import logged_in, served_pem
from tests.engine.stack import Stack, equipped
from tests.pki import Identity
from tests.ports import free_port
from toolchain.places import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: The commit whose stacks are updated: the last before packet filters, and so before what changed
#: most for servers that run.
BEFORE = "0db4f5d90bf1f4c0b401dbb56e33f37d843e5a1f"

PUT_DATABASE_BACK, MAKE_A_HOME_ANEW = runs("docs/operations.md", "Upgrade")


def run(*command: str | Path, folder: Path = ROOT) -> None:
    """Run a command; what it printed is in the message when it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]


@pytest.fixture(scope="module")
def earlier_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the earlier commit, with its own toolchain."""
    there = subprocess.run(["git", "cat-file", "-e", f"{BEFORE}^{{commit}}"], cwd=ROOT, check=False)
    if there.returncode:
        pytest.skip("the clone is shallow: run `git fetch --unshallow`")
    clone = tmp_path_factory.mktemp("earlier") / "clone"
    run("git", "clone", "--quiet", "--no-checkout", ROOT, clone)
    run("git", "-c", "advice.detachedHead=false", "checkout", "--quiet", BEFORE, folder=clone)
    run("make", "--silent", "toolchain", folder=clone)
    return clone


@pytest.fixture
def earlier_stack(
    engine: docker.DockerClient, earlier_clone: Path, tmp_path: Path
) -> Iterator[Stack]:
    config = native(engine) | {"port": free_port()}
    yield from running_stack(engine, "e2e-upgrade", tmp_path, config, earlier_clone)


def test_a_kernel_a_login_and_the_files_come_through_an_update(
    earlier_stack: Stack, engine: docker.DockerClient
) -> None:
    alice = logged_in(earlier_stack, "alice")
    alice.start_server()
    alice.save("kept.txt", "still here")
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    certificate = served_pem(earlier_stack)
    [server] = engine.containers.list(filters=earlier_stack.labelled("notebook", "alice"))
    hub = engine.containers.get(earlier_stack.outputs()["container"])

    stack = replace(earlier_stack, project=ROOT)
    stack.up()

    assert engine.containers.get(stack.outputs()["container"]).id != hub.id
    [still] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    assert still.id == server.id
    assert still.attrs["State"]["StartedAt"] == server.attrs["State"]["StartedAt"]
    # In the session from before: nobody has to log in again.
    assert kernel.run("print(answer)") == "42\n"
    assert served_pem(stack) == certificate
    stack.up("--expect-no-changes")

    # In a server of the new image, too.
    alice = logged_in(stack, "alice")
    alice.stop_server()
    alice.start_server()
    [new] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    assert new.attrs["Image"] == stack.outputs()["notebookDigest"]
    assert alice.read("kept.txt") == "still here"
    alice.stop_server()


def test_a_protected_key_of_earlier_gives_way_to_a_brought_pair_in_one_up(
    earlier_stack: Stack, engine: docker.DockerClient
) -> None:
    """And back: what an earlier commit protected, Pulumi would refuse to delete."""
    earlier_stack.configure({"protect": True})
    earlier_stack.up()
    alice = logged_in(earlier_stack, "alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    made = served_pem(earlier_stack)

    stack = replace(earlier_stack, project=ROOT)
    Identity.create("localhost").write(stack.folder, "brought")
    file = stack.folder / "brought"
    pair = {"tlsCertFile": f"{file}.crt", "tlsKeyFile": f"{file}.key"}
    stack.configure(pair)
    stack.up()
    wait_until(lambda: served_pem(stack) == file.with_suffix(".crt").read_text(), seconds=60)
    assert kernel.run("print(answer)") == "42\n"

    for key in pair:
        stack.on_stack("config rm", f"zhub:{key}")
    stack.configure({"protect": False})
    stack.up()
    both = (made, file.with_suffix(".crt").read_text())
    wait_until(lambda: served_pem(stack) not in both, seconds=60)
    assert kernel.run("print(answer)") == "42\n"
    alice.stop_server()


def operators(stack: Stack, folder: Path) -> Stack:
    """The stack as who works in a clone of today's has it, where `make` finds its stack file."""
    project = equipped(folder / "today")
    shutil.copy(stack.config_file, project)
    return replace(stack, project=project)


def test_the_way_back_to_the_release_before(
    earlier_stack: Stack, engine: docker.DockerClient, tmp_path: Path
) -> None:
    """By the commands of docs/operations.md: by `up` alone, and with the database of then."""
    alice = logged_in(earlier_stack, "alice")
    alice.start_server()
    alice.save("kept.txt", "of alice")
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    before = engine.containers.get(earlier_stack.outputs()["container"])
    stack = operators(earlier_stack, tmp_path)
    stack.up()
    bob = logged_in(stack, "bob")
    bob.start_server()
    bob.save("kept.txt", "of bob")
    of_bob = bob.start_kernel()
    of_bob.run("answer = 54")

    earlier_stack.up()
    hub = engine.containers.get(earlier_stack.outputs()["container"])
    assert hub.attrs["Image"] == before.attrs["Image"]
    earlier_stack.up("--expect-no-changes")
    assert kernel.run("print(answer)") == "42\n"
    assert of_bob.run("print(answer)") == "54\n"
    # Nobody has to log in again, and what the newer release knew is known.
    assert bob.read("kept.txt") == "of bob"

    # A home of the newer release is refused until it is made anew.
    bob.stop_server()
    guard = engine.containers.get(f"{stack.prefix}-guard")
    bob.request("POST", "hub/api/users/bob/server")
    refusal = f"volume {stack.prefix}-home-bob is not a plain one"
    wait_until(lambda: refusal in guard.logs().decode(), seconds=60)
    typed(stack, MAKE_A_HOME_ANEW)
    bob.start_server()
    assert bob.read("kept.txt") == "of bob"
    bob.stop_server()

    # The database of before the upgrade, from the copy that the newer release's hub made.
    [copy] = copies(engine, stack)
    typed(stack, PUT_DATABASE_BACK.replace("20261129T030000Z.sqlite", copy))
    wait_until(
        lambda: engine.containers.get(str(hub.id)).attrs["State"]["Health"]["Status"] == "healthy",
        seconds=120,
    )
    assert not engine.containers.list(all=True, filters=stack.labelled("notebook"))
    for name in ("alice", "bob"):
        user = logged_in(earlier_stack, name)
        user.start_server()
        assert user.read("kept.txt") == f"of {name}"
        user.stop_server()

    # And once more to today's, whose hub copies the database again.
    stack.up()
    assert len(copies(engine, stack)) == 2
    alice = logged_in(stack, "alice")
    alice.start_server()
    assert alice.read("kept.txt") == "of alice"
    alice.stop_server()


def copies(engine: docker.DockerClient, stack: Stack) -> list[str]:
    """Names of the copies of the database that the hub's volume has."""
    printed: bytes = engine.containers.run(
        str(engine.containers.get(f"{stack.prefix}-hub").attrs["Image"]),
        ["-c", "ls copies/*.sqlite"],
        entrypoint="sh",
        working_dir="/srv/jupyterhub",
        volumes={f"{stack.prefix}-state": {"bind": "/srv/jupyterhub", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )
    return [Path(line).name for line in printed.decode().split()]
