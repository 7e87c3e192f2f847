"""The packet filters from the operator's side: after restarts, without a guard, by settings.

The attacks test them from inside of the containers.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from zhub.guard.confinement import LEAST_PAUSE

from tests.built import bridge_address, wait_until
from tests.engine.mirror import MODULE, PACKAGE
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine


@pytest.fixture
def filter_of(stack: Stack, engine: docker.DockerClient) -> Callable[[Container], str]:
    """Reads the packet filter in a container's network namespace from the kernel."""
    guard = engine.containers.get(f"{stack.prefix}-guard")
    [image] = [e.partition("=")[2] for e in guard.attrs["Config"]["Env"] if "FILTER_IMAGE" in e]

    def read(container: Container) -> str:
        output = engine.containers.run(
            image,
            "list ruleset",
            network_mode=f"container:{container.id}",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            remove=True,
        )
        assert isinstance(output, bytes)
        return output.decode()

    return read


def test_a_restarted_hub_is_confined_before_it_serves(
    stack: Stack, engine: docker.DockerClient, filter_of: Callable[[Container], str]
) -> None:
    hub = engine.containers.get(f"{stack.prefix}-hub")
    before = hub.attrs["State"]["StartedAt"]
    # It ends itself: when the engine stops it, Docker does not restart it.
    hub.exec_run(["bash", "-c", "kill -9 -1"], user="1000:1000")

    def serves() -> bool:
        hub.reload()
        state = hub.attrs["State"]
        if not state["Running"] or state["StartedAt"] == before:
            return False
        listens = hub.exec_run(["bash", "-c", "</dev/tcp/127.0.0.1/8081"]).exit_code == 0
        assert not listens or "tcp sport" in filter_of(hub)
        return state["Health"]["Status"] == "healthy" and listens

    wait_until(serves, seconds=180)


def test_a_restarted_guard_confines_running_containers(
    stack: Stack, engine: docker.DockerClient, filter_of: Callable[[Container], str]
) -> None:
    """As after an upgrade from a release without filters: no user's server is stopped."""
    user = Entrance.of(stack).logged_in("alice")
    user.start_server()
    kernel = user.start_kernel()
    kernel.run("x = 42")
    [server] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    guard = engine.containers.get(f"{stack.prefix}-guard")
    [image] = [e.partition("=")[2] for e in guard.attrs["Config"]["Env"] if "FILTER_IMAGE" in e]
    guard.stop()
    engine.containers.run(
        image,
        # Only our table: the namespace also has the engine's rules for its resolver.
        "delete table inet zhub",
        network_mode=f"container:{server.id}",
        cap_add=["NET_ADMIN"],
        remove=True,
    )
    assert "policy drop" not in filter_of(server)
    guard.start()
    wait_until(lambda: "policy drop" in filter_of(server), seconds=60)
    assert kernel.run("print(x)").strip() == "42"
    user.stop_server()


@pytest.mark.long
def test_a_guard_killed_while_servers_start_leaves_none_unconfined(
    stack: Stack, engine: docker.DockerClient, filter_of: Callable[[Container], str]
) -> None:
    guard = engine.containers.get(f"{stack.prefix}-guard")
    entrance = Entrance.of(stack)
    users = [entrance.logged_in(name) for name in ("alice", "bob", "carol")]
    for number, user in enumerate(users):
        user.request("POST", f"hub/api/users/{user.name}/server")
        # At a different step of the start each time: a start takes half a second or more.
        time.sleep(0.15 + 0.3 * number)
        guard.kill()
        running = engine.containers.list(filters=stack.labelled("notebook"))
        for server in running:
            attached = set(server.attrs["NetworkSettings"]["Networks"]) - {"none"}
            assert not attached or "policy drop" in filter_of(server), server.name
        guard.start()
        wait_until(lambda: health(guard) == "healthy", seconds=120)
    for user in users:
        # The next start works, whatever happened to the one before.
        wait_until(lambda user=user: not user.server().get("pending"), seconds=120)  # type: ignore[misc]
        if not user.server():
            user.start_server()
        user.stop_server()


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def test_a_directory_with_another_address_is_found_at_the_next_login(
    stack: Stack, engine: docker.DockerClient, filter_of: Callable[[Container], str]
) -> None:
    directory = engine.containers.get(f"{stack.prefix}-directory")
    network = engine.networks.get(f"{stack.prefix}-directory")
    entrance = Entrance.of(stack)
    entrance.logged_in("carol")

    def address() -> str:
        directory.reload()
        return str(directory.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"])

    before = address()
    network.disconnect(directory)
    # This takes the address that is now free.
    other = engine.containers.run(
        str(directory.attrs["Image"]),
        ["sleep", "600"],
        entrypoint=[],
        detach=True,
        network=network.name,
        labels={"zhub.stack": stack.prefix, "zhub.role": "other"},
    )
    network.connect(directory, aliases=["directory"])
    assert address() != before
    hub = engine.containers.get(f"{stack.prefix}-hub")
    assert f"{address()} . 389" not in filter_of(hub)
    time.sleep(LEAST_PAUSE)
    entrance.logged_in("carol")
    assert f"{address()} . 389" in filter_of(hub)
    other.remove(force=True)


#: Listens on the DNS port that queries for foreign names go to, and sends such a query.
ASK = textwrap.dedent(
    """
    import socket, threading
    asked = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 53))
        listener.settimeout(10)
        def hear():
            try:
                asked.append(listener.recv(512))
            except TimeoutError:
                pass
        thread = threading.Thread(target=hear)
        thread.start()
        try:
            socket.getaddrinfo("secret.example.com", 443)
            found = "found"
        except OSError as error:
            found = type(error).__name__
        thread.join()
    def connect(host, port):
        try:
            socket.create_connection((host, port), timeout=3).close()
        except OSError as error:
            return type(error).__name__
        return "reached"
    result = [found, [b"secret" in text for text in asked],
              connect(mirror, port), connect(machine, port), connect("hub", 8081)]
    print(result)
    """
)


#: What a user does who knows nothing of the site's mirror; the last line says what came of it.
INSTALL = textwrap.dedent(
    f"""
    %pip install {PACKAGE}
    import os, subprocess, time
    import {MODULE}
    subprocess.run(["git", "clone", "--quiet", "https://github.com/team/data.git"], check=True)
    log = subprocess.check_output(["git", "-C", "data", "log", "--format=%s"], text=True)
    print({MODULE}.ORIGIN, log.strip(), time.tzname[0], os.environ["https_proxy"],
          "hub" if "hub" in os.environ["NO_PROXY"].split(",") else "")
    """
)


def test_without_internet_only_the_hub_and_the_mirror_answer_and_no_dns(
    second_stack: Stack, mirror: tuple[str, int], engine: docker.DockerClient
) -> None:
    user = Entrance.of(second_stack).logged_in("carol")
    user.start_server()
    names: dict[str, Any] = {
        "mirror": mirror[0],
        "port": mirror[1],
        "machine": bridge_address(engine.api),
    }
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    kernel = user.start_kernel()
    printed = kernel.run(given + ASK).splitlines()[-1]
    # The engine's resolver forwards unknown names only to the server itself.
    assert printed == "['gaierror', [True], 'reached', 'OSError', 'reached']"
    installed = kernel.run(INSTALL)
    user.stop_server()
    assert f"Successfully installed {PACKAGE}-1.0" in installed
    assert installed.splitlines()[-1] == f"the mirror first JST http://{mirror[0]}:9 hub"
