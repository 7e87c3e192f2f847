"""What somebody does to a stack outside Pulumi, with users in it, and what makes it whole again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest
import requests

from tests.built import wait_until
from tests.docs.commands import as_typed, runs
from tests.engine.conftest import CONFIG, running_stack
from tests.engine.people import Entrance, logged_in
from tests.engine.stack import Stack
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A native stack."""
    config = CONFIG | {
        "platform": "linux/amd64",
        "baseImage": CONFIG["buildImage"],
        "port": free_port(),
        "engineSocket": SOCKET,
    }
    yield from running_stack(engine, "e2e-drift", tmp_path_factory.mktemp("drift"), config)


def typed(stack: Stack, commands: str) -> None:
    """Run commands of the docs as an operator does."""
    stack.shell(as_typed([commands], stack.name, stack.config_file))


def healthy(container: Any) -> bool:
    container.reload()
    return bool(container.attrs["State"]["Health"]["Status"] == "healthy")


def pause(container: Any) -> None:
    """Pause a container; on a busy machine runc gives up at first."""
    for _ in range(10):
        try:
            container.pause()
        except docker.errors.APIError as error:
            if "unable to freeze" not in str(error):
                raise
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"{container.name} cannot be paused")


def test_who_starts_a_server_without_a_guard_is_told(
    stack: Stack, engine: docker.DockerClient
) -> None:
    guard = engine.containers.get(f"{stack.prefix}-guard")
    bob = logged_in(stack, "bob")
    begin = int(time.time())
    guard.stop(timeout=1)
    try:

        def told(method: str, path: str) -> bool:
            """Whether it says so, after some seconds; on a busy machine, the page comes first."""
            answer = bob.request(method, path)
            unavailable = answer.status_code == requests.codes.unavailable
            return unavailable and "guard does not answer. Please try again" in answer.text

        wait_until(lambda: told("GET", "hub/spawn"), seconds=60)
        wait_until(lambda: told("POST", "hub/api/users/bob/server"), seconds=60)
        log = engine.containers.get(f"{stack.prefix}-hub").logs(since=begin).decode()
        assert "guard does not answer" in log
        assert "Traceback" not in log

        # It ends when the guard works again.
        assert "1 updated" in stack.up("--refresh")
    finally:
        # Nothing, unless the test has failed: the next ones use it.
        guard.start()
    assert healthy(guard)
    bob.start_server()
    bob.stop_server()


@pytest.mark.parametrize("who", ["server", "hub"])
def test_a_server_whose_network_was_torn_out_is_given_up_within_seconds(
    stack: Stack, engine: docker.DockerClient, who: str
) -> None:
    """Also for a browser that was just there, whose connection could be used again."""
    bob = logged_in(stack, "bob")
    bob.start_server()
    kernel = bob.start_kernel()
    assert kernel.run("import time; time.sleep(12); print('late')") == "late\n"
    server = f"{stack.prefix}-user-bob"
    network = engine.networks.get(server)
    assert bob.request("GET", f"{bob.home}api/contents").ok
    network.disconnect({"server": server, "hub": f"{stack.prefix}-hub"}[who], force=True)
    begin = time.monotonic()
    answer = bob.request("GET", f"{bob.home}api/contents")
    assert answer.status_code == requests.codes.unavailable
    assert "Try restarting it" in answer.text
    assert f"{stack.prefix}/hub/home" in answer.text
    assert time.monotonic() - begin < 15
    # As the page says.
    bob.stop_server()
    bob.start_server()
    assert bob.run("print(6 * 7)") == "42\n"
    bob.stop_server()


def test_a_plain_up_builds_a_lost_image_again(stack: Stack, engine: docker.DockerClient) -> None:
    digest = stack.outputs()["notebookDigest"]
    hub = engine.containers.get(f"{stack.prefix}-hub")
    engine.containers.get(f"{stack.prefix}-notebookimage").remove(force=True)
    engine.images.remove(digest, force=True)
    bob = logged_in(stack, "bob")
    page = bob.request("POST", "hub/api/users/bob/server")
    assert "an image is missing on the engine" in page.json()["message"]

    named = f":{stack.prefix} ({digest}) is missing on the engine, so it is built again"
    assert named in stack.on_stack("preview")
    shown = stack.up()
    assert named in shown
    assert "3 replaced" in shown
    hub.reload()  # the same one
    bob.start_server()
    bob.stop_server()
    assert engine.containers.get(f"{stack.prefix}-notebookimage").status == "running"
    assert "missing" not in stack.on_stack("preview", "--expect-no-changes")


def test_one_command_makes_all_of_it_whole_again(stack: Stack, engine: docker.DockerClient) -> None:
    [command] = runs("docs/operations.md", "Something was changed outside Pulumi")
    alice = logged_in(stack, "alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    guard, hub, files = (
        engine.containers.get(f"{stack.prefix}-{role}") for role in ("guard", "hub", "files")
    )
    variables = dict(line.split("=", 1) for line in guard.attrs["Config"]["Env"])
    certs = {f"{stack.prefix}-certs": {"bind": "/certs"}}
    engine.containers.run(
        CONFIG["buildImage"], ["sh", "-c", "rm /certs/*"], volumes=certs, remove=True
    )
    files.remove()
    engine.networks.get(f"{stack.prefix}-hub").disconnect(hub, force=True)
    engine.containers.get(f"{stack.prefix}-filterimage").remove(force=True)
    engine.images.remove(variables["ZHUB_FILTER_IMAGE"], force=True)
    pause(guard)
    pause(hub)
    engine.containers.get(f"{stack.prefix}-directory").remove(force=True)

    typed(stack, command)

    assert healthy(engine.containers.get(f"{stack.prefix}-guard"))
    assert healthy(engine.containers.get(f"{stack.prefix}-hub"))
    assert kernel.run("print(answer)") == "42\n"
    bob = logged_in(stack, "bob")
    bob.start_server()
    bob.stop_server()
    stack.on_stack("preview", "--refresh", "--expect-no-changes")


def test_a_destroy_that_retains_keeps_the_database_for_the_next_up(
    stack: Stack, engine: docker.DockerClient
) -> None:
    """With users on it, and with protection on, which is the default."""
    carol = logged_in(stack, "carol")
    carol.start_server()
    carol.save("kept.txt", "kept")
    token = carol.request("POST", "hub/api/users/carol/tokens", json={"note": "kept"}).json()
    stack.configure({"protect": True, "retain": True})
    stack.up()
    stack.on_stack("destroy", "--yes")
    ours: dict[str, Any] = {"label": f"zhub.stack={stack.prefix}"}
    assert not engine.containers.list(all=True, filters=ours)
    assert not engine.networks.list(filters=ours)
    kept = {volume.name for volume in engine.volumes.list(filters=ours)}
    assert {f"{stack.prefix}-{part}" for part in ("state", "audit", "home-carol")} <= kept
    assert not {f"{stack.prefix}-{part}" for part in ("certs", "guardsocket")} & kept

    shown = stack.up()
    for part in ("state", "audit"):
        assert f"volume {stack.prefix}-{part} was there already" in shown
    carol.authority.write_text(Entrance.of(stack).authority.read_text())
    tokens = carol.request("GET", "hub/api/users/carol/tokens").json()["api_tokens"]
    assert token["id"] in {known["id"] for known in tokens}, "still logged in, and known"
    carol.start_server()
    assert carol.read("kept.txt") == "kept"
    stack.configure({"protect": False, "retain": False})
    stack.up()
