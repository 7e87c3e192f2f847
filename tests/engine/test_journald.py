"""journald as logDriver: who logs what is in the journal, and one that hangs holds nobody up."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.types import LogConfig

from components.settings.logs import DEFAULTS, Driver
from tests.built import wait_until
from tests.docs.commands import runs
from tests.engine.conftest import CONFIG, native, remove_leftovers
from tests.engine.journal import Journal, journal
from tests.engine.journal import able as has_journald
from tests.engine.namespaces import entered
from tests.engine.operator import typed
from tests.engine.people import Entrance
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.engine.stack import Stack, equipped
from tests.plugins.docker_tools import debian_tool
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

LABELS = {"zhub.stack": "zhub-site", "zhub.role": "notebook", "zhub.user": "alice"}

#: Logs a line, and when it is told to, 20 MB: more than journald, the engine and a pipe keep for
#: each other. Then it says that it is done.
CHATTERS = """
trap 'exit 0' TERM
text=$(/busybox printf %0999d 0)
echo begins
until [ -e /go ]; do /busybox sleep 0.1; done
n=0
while [ $n -lt 20000 ]; do echo "$text"; n=$((n + 1)); done
: >/done
while :; do /busybox sleep 0.1; done
"""

SECONDS = 12
"""More than a stop takes that waits for nothing: the engine gives up a log after ten."""


@dataclass(frozen=True)
class Machine:
    """An engine, and the journal of its machine."""

    engine: SecondEngine
    journal: Journal


@pytest.fixture
def machine(short_folder: Path) -> Iterator[Machine]:
    if not able() or not has_journald():
        pytest.skip("an engine with journald needs root, ip, iptables, dockerd, systemd")
    with (
        journal(short_folder) as lines,
        second_engine(short_folder, mounts=lines.mounts) as engine,
    ):
        yield Machine(engine, lines)


def chatty(machine: Machine, name: str, **options: str) -> Container:
    """Run such a container, with the options that a stack's have, or others."""
    return machine.engine.client.containers.run(
        "zhub-tiny:1",
        ["/busybox", "sh", "-c", CHATTERS],
        name=name,
        labels=LABELS,
        detach=True,
        network_mode="none",
        log_config=LogConfig(type=Driver.JOURNALD, config={**DEFAULTS[Driver.JOURNALD], **options}),
    )


def go(container: Container) -> None:
    container.exec_run(["/busybox", "touch", "/go"])


def done(container: Container) -> bool:
    return bool(container.exec_run(["/busybox", "test", "-e", "/done"]).exit_code == 0)


def test_one_that_hangs_holds_nobody_up_but_who_ends(machine: Machine) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(debian_tool("busybox-static", "bin/busybox"), "busybox")
    api: Any = machine.engine.client.api
    api.import_image_from_data(packed.getvalue(), repository="zhub-tiny", tag="1")
    alice, carol = chatty(machine, "alice"), chatty(machine, "carol", mode="blocking")
    wait_until(lambda: bool(machine.journal.lines(CONTAINER_NAME="alice")), seconds=SECONDS)
    [line] = machine.journal.lines(CONTAINER_NAME="alice")
    named = [line[name] for name in ("ZHUB_STACK", "ZHUB_ROLE", "ZHUB_USER", "CONTAINER_TAG")]
    assert named == ["zhub-site", "notebook", "alice", "alice"]
    assert alice.logs() == b"begins\n", "the engine reads the journal"

    with machine.journal.hangs(), ThreadPoolExecutor() as threads:
        bob = chatty(machine, "bob")
        for container in (alice, bob, carol):
            go(container)
        wait_until(lambda: done(alice) and done(bob), seconds=4 * SECONDS)
        assert not done(carol), "without the stack's option, it waits"
        stopped = threads.submit(alice.stop, timeout=1)
        with pytest.raises(TimeoutError):
            # If it does not wait any more, correct docs/logs.md.
            stopped.result(timeout=SECONDS)
        listed = {one["Names"][0] for one in api.containers()}
        assert listed == {"/alice", "/bob", "/carol"}, "the engine answers"
        machine.journal.goes_on()
        stopped.result(timeout=4 * SECONDS)
    wait_until(lambda: done(carol), seconds=4 * SECONDS)
    for container in (bob, carol):
        container.remove(force=True)


@pytest.mark.long
def test_a_stack_whose_logs_go_to_the_journal(
    engine: docker.DockerClient, machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = machine.engine
    base = engine.images.get(CONFIG["buildImage"])
    own.client.images.load(b"".join(base.save(named=True)))
    project = equipped(tmp_path_factory.mktemp("journald") / "project")
    stack = Stack("e2e-journald", project, {"DOCKER_HOST": own.address}, project)
    stack.init(
        native(engine)
        | {"port": free_port(), "engineSocket": str(own.socket), "notebookPackages": []}
    )
    stack.on_stack("config set", "docker:host", own.address)
    try:
        with entered(own.apart.name):
            stack.up()
            lives_with_it(stack, machine)
        stack.on_stack("destroy", "--yes")
    finally:
        remove_leftovers(own.client, stack.prefix)


def lives_with_it(stack: Stack, machine: Machine) -> None:
    """Users are at work when the site begins to log to journald, and when that hangs."""
    entrance = Entrance.of(stack)
    alice = entrance.logged_in("alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    change, look = runs("docs/logs.md", "Send them elsewhere")
    assert "replaced" in typed(stack, change)
    assert kernel.run("print(answer)") == "42\n"
    stack.on_stack("preview", "--expect-no-changes")

    bob = entrance.logged_in("bob")
    bob.start_server()
    bob.stop_server()
    found = machine.journal.lines

    def of(role: str) -> list[str]:
        lines = found(ZHUB_STACK=stack.prefix, ZHUB_ROLE=role)
        return [text for line in lines if isinstance(text := line["MESSAGE"], str)]

    wait_until(lambda: any("server of bob: " in text for text in of("guard")), seconds=60)
    assert any("User logged in: bob" in text for text in of("hub"))
    of_user, of_guard = look.replace("anna.maier", "bob").splitlines()
    assert "Jupyter" in machine.journal.shell(of_user.replace("zhub-<stack>", stack.prefix))
    printed = machine.journal.shell(of_guard.replace("zhub-<stack>", stack.prefix))
    audit = [json.loads(line) for line in printed.splitlines()]
    assert {"login", "container.make"} <= {line["event"] for line in audit}
    assert [line["now"] for line in audit if line.get("name") == "ZHUB_LOG_DRIVER"]
    assert not found(ZHUB_USER="alice"), "her server was started before"

    with machine.journal.hangs():
        carol = entrance.logged_in("carol")
        carol.start_server()
        assert carol.start_kernel().run("print(6 * 7)") == "42\n"
        assert kernel.run("print(answer)") == "42\n"
    carol.stop_server()
    assert kernel.run("print(answer)") == "42\n"
