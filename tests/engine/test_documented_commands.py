"""Commands of docs/operations.md that change nothing, and the backup, run as printed on a stack."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.docs.commands import as_typed, blocks, section, shown
from tests.engine.people import logged_in
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

PAGE = "docs/operations.md"


def run(stack: Stack, folder: Path, script: str) -> str:
    """Run commands of the page for the stack, for Alice; returns what they print."""
    script = as_typed([script.replace("anna.maier", "alice")], stack.name, stack.config_file)
    return stack.shell(script, folder)


@pytest.fixture(scope="module", autouse=True)
def _alice(stack: Stack) -> Iterator[None]:
    alice = logged_in(stack, "alice")
    alice.start_server()
    yield
    alice.stop_server()


def test_a_look_at_the_stack_and_at_a_users_things(stack: Stack, tmp_path: Path) -> None:
    look = "\n".join(blocks(section(PAGE, "Look")))
    # The others need a shell of `make env`.
    commands = [line for line in look.splitlines() if line.startswith("docker")]
    assert len(commands) == 5
    printed = run(stack, tmp_path, "\n".join(commands))
    for name in ("hub", "guard", "user-alice", "home-alice"):
        assert f"{stack.prefix}-{name}" in printed
    assert "User logged in: alice" in printed


def test_why_alice_may_log_in(stack: Stack, tmp_path: Path) -> None:
    command = "docker exec zhub-<stack>-hub zhub check-directory alice"
    [shown_there] = [one.text for one in shown() if one.text.startswith(command)]
    assert "allowed" in run(stack, tmp_path, shown_there)


def test_a_backup(stack: Stack, engine: docker.DockerClient, tmp_path: Path) -> None:
    run(stack, tmp_path, "\n".join(blocks(section(PAGE, "Back up"))))
    with tarfile.open(tmp_path / "state.tar.gz") as state:
        assert "./jupyterhub.sqlite" in state.getnames()
    with tarfile.open(tmp_path / f"{stack.prefix}-home-alice.tar.gz") as home:
        assert home.getnames()
    assert engine.containers.get(f"{stack.prefix}-hub").status == "running"
