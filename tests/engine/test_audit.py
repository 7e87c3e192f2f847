"""The audit log of a stack: what people and the hub do is in it, and the hub cannot change it."""

from __future__ import annotations

import json
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.built import wait_until
from tests.docs.commands import runs
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import LoginRefused

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def guard(stack: Stack, engine: docker.DockerClient) -> Container:
    return engine.containers.get(f"{stack.prefix}-guard")


@pytest.fixture(scope="module")
def hub(stack: Stack, engine: docker.DockerClient) -> Container:
    return engine.containers.get(f"{stack.prefix}-hub")


def lines(stack: Stack) -> list[dict[str, Any]]:
    [command] = runs("docs/logs.md", "The audit log", "docker exec")
    return [
        json.loads(line)
        for line in stack.shell(command.replace("zhub-<stack>", stack.prefix)).splitlines()
    ]


def test_what_people_do_is_in_it(stack: Stack, hub: Container) -> None:
    entrance = Entrance.of(stack)
    begin = len(lines(stack))
    alice = entrance.logged_in("alice")
    if alice.server():
        alice.stop_server()
    alice.start_server()
    with pytest.raises(LoginRefused):
        entrance.browser().log_in("bob", "wrong")
    done = hub.exec_run(["zhub", "users", "stop", "alice"], user="1000")
    assert done.exit_code == 0, done.output

    def seen() -> dict[tuple[str, str], dict[str, Any]]:
        return {(one["event"], one.get("user", "")): one for one in lines(stack)[begin:]}

    wait_until(lambda: ("container.remove", "alice") in seen(), seconds=60)
    found = seen()
    assert found["login", "alice"]["outcome"] == "success"
    assert found["login", "bob"]["outcome"] == "refused"
    assert found["login", "bob"]["address"]
    start = found["server.start", "alice"]
    assert (start["actor"], start["outcome"], start["by"]) == ("alice", "success", "hub")
    assert found["server.stop", "alice"]["actor"] == "service people"
    assert found["operator", "alice"]["command"] == "stop"
    for event in ("make", "start", "remove"):
        assert found[f"container.{event}", "alice"]["by"] == "guard"


def test_it_begins_with_the_guard_and_its_lines_are_numbered(stack: Stack) -> None:
    found = lines(stack)
    assert found[0]["event"] == "guard.start"
    assert "hub.start" in {line["event"] for line in found}
    assert [line["number"] for line in found] == list(range(1, len(found) + 1))


def test_the_engines_log_driver_gets_it_too(stack: Stack, guard: Container) -> None:
    log = guard.logs(stderr=False)
    assert isinstance(log, bytes)
    printed = log.decode().splitlines()
    numbers = [json.loads(line)["number"] for line in printed]
    assert numbers
    assert set(numbers) <= {line["number"] for line in lines(stack)}


def test_a_captured_hub_adds_and_changes_nothing(
    stack: Stack, hub: Container, guard: Container
) -> None:
    before = lines(stack)
    script = """
        import json, socket
        def ask(method, path, body):
            text = json.dumps(body)
            with socket.socket(socket.AF_UNIX) as guard:
                guard.connect("/run/guard/engine.sock")
                guard.sendall((f"{method} /v1.41/{path} HTTP/1.1\\r\\nHost: x\\r\\n"
                    f"Content-Length: {len(text)}\\r\\n\\r\\n{text}").encode())
                return guard.recv(12).decode()[-3:]
        forged = {"event": "logout", "at": 0, "user": "x", "address": "x", "by": "guard"}
        print(ask("POST", "zhub/audit", {"Events": [forged]}),
              ask("POST", "zhub/audit", {"Events": [{"event": "container.make", "at": 0}]}),
              ask("DELETE", "zhub/audit", {}), ask("GET", "zhub/audit", {}))
    """
    code = "\n".join(line.removeprefix("        ") for line in script.strip("\n").splitlines())
    done = hub.exec_run(["/opt/jupyter/bin/python3", "-I", "-c", code], user="1000")
    assert done.output == b"403 403 403 403\n"
    after = lines(stack)
    assert after[: len(before)] == before
    assert {line["event"] for line in after[len(before) :]} == {"guard.refuse"}
    # The volume is in no other container, and only the guard's user may look.
    assert "/var/log/zhub" not in {mount["Destination"] for mount in hub.attrs["Mounts"]}
    assert hub.exec_run(["ls", "/var/log/zhub"], user="1000").exit_code
    assert guard.exec_run(["cat", "/var/log/zhub/audit.log"], user="1000").exit_code
