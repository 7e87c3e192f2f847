"""fluentd as logDriver, with a server that answers, is gone for a while, and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import docker
import pytest
from docker.types import LogConfig

from components.settings.logs import DEFAULTS, Driver
from tests.built import wait_until
from tests.engine.conftest import CONFIG, native, running_stack
from tests.engine.fluentd import Fluentd
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import Kernel, LoginRefused, User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

NAME = "zhub-e2e-fluentd-lines"
LABELS = {"zhub.stack": NAME, "zhub.role": "notebook", "zhub.user": "alice"}
COUNTS = "trap 'exit 0' TERM; n=0; while :; do n=$((n + 1)); echo $n; sleep 0.1; done"
SECONDS = 30


@pytest.fixture(scope="module")
def server() -> Iterator[Fluentd]:
    with Fluentd() as found:
        yield found


@pytest.mark.parametrize("acknowledged", [False, True])
def test_lines_say_whose_they_are_and_wait_for_a_server_that_is_gone(
    engine: docker.DockerClient, server: Fluentd, *, acknowledged: bool
) -> None:
    server.lines.clear()
    options = {**DEFAULTS[Driver.FLUENTD], "fluentd-address": server.address}
    if acknowledged:
        options["fluentd-request-ack"] = "true"
    counting = engine.containers.run(
        CONFIG["buildImage"],
        ["sh", "-c", COUNTS],
        name=NAME,
        labels=LABELS,
        detach=True,
        network_mode="none",
        log_config=LogConfig(type=Driver.FLUENTD, config=options),
    )
    try:
        wait_until(lambda: len(server.of(stack=NAME, user="alice")) > 5, seconds=SECONDS)
        tag, record = server.lines[0]
        assert tag == NAME
        assert LABELS.items() <= record.items()
        assert (record["source"], record["container_name"]) == ("stdout", f"/{NAME}")
        server.go()
        before = len(server.of(stack=NAME))
        wait_until(lambda: counting.logs().count(b"\n") > before + 20, seconds=SECONDS)
        server.begin()
        wait_until(lambda: len(server.of(stack=NAME)) > before + 30, seconds=SECONDS)
    finally:
        counting.remove(force=True)
    # The engine has kept what was said meanwhile. Without an acknowledgement it takes for sent what
    # was on its way when the server went.
    numbers = [int(line) for line in server.of(stack=NAME)]
    lost = set(range(1, numbers[-1])) - set(numbers)
    assert 0 < len(lost) <= 5 if not acknowledged else not lost, numbers


@pytest.fixture(scope="module")
def stack(
    engine: docker.DockerClient, server: Fluentd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {
        "port": free_port(),
        "notebookPackages": [],
        "logDriver": "fluentd",
        "logOptions": [f"fluentd-address={server.address}", "fluentd-request-ack=true"],
        "logFormat": "json",
        "logLevel": "debug",
    }
    yield from running_stack(engine, "e2e-fluentd", tmp_path_factory.mktemp("fluentd"), config)


@pytest.mark.long
def test_a_stack_whose_log_server_goes_and_comes_back(stack: Stack, server: Fluentd) -> None:
    entrance = Entrance.of(stack)
    alice = entrance.logged_in("alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    secrets = secrets_of(stack, alice, kernel)

    def of(role: str) -> list[str]:
        return server.of(stack=stack.prefix, role=role)

    def events() -> list[tuple[str, str]]:
        """Of the audit log, which the guard writes to its standard output as well."""
        lines = [json.loads(line) for line in of("guard")]
        return [(line["event"], line.get("user", "")) for line in lines if "event" in line]

    wait_until(lambda: ("container.start", "alice") in events(), seconds=SECONDS)
    assert ("login", "alice") in events()
    said = [json.loads(line)["message"] for line in of("hub")]
    assert any("User logged in: alice" in message for message in said)
    of_alice = server.of(stack=stack.prefix, user="alice")
    assert any("Jupyter Server" in line for line in of_alice)
    assert "\x1b" not in "".join([*said, *of_alice])

    server.go()
    began = time.monotonic()
    bob = entrance.logged_in("bob")
    bob.start_server()
    assert bob.start_kernel().run("print(6 * 7)") == "42\n"
    bob.stop_server()
    assert kernel.run("print(answer)") == "42\n"
    alice.stop_server()
    assert time.monotonic() - began < 4 * SECONDS, "nobody waits for it"
    assert ("login", "bob") not in events()

    server.begin()
    # No line is lost: the engine keeps them until the server is back.
    wait_until(lambda: ("container.remove", "alice") in events(), seconds=2 * SECONDS)
    assert {("login", "bob"), ("container.start", "bob"), ("container.remove", "bob")} <= {
        *events()
    }
    carol = entrance.logged_in("carol")
    carol.start_server()
    wait_until(lambda: bool(server.of(stack=stack.prefix, user="carol")), seconds=SECONDS)
    carol.stop_server()
    assert stack.on_stack("preview", "--expect-no-changes")
    for role in ("hub", "guard", "directory", "notebook"):
        written = "\n".join(of(role))
        # The demo directory says nothing unless something is wrong.
        assert written or role == "directory", role
        assert "\x1b" not in written, role
        assert [name for name, text in secrets.items() if text in written] == [], role
        if role in {"hub", "guard"}:
            assert all(isinstance(json.loads(line), dict) for line in of(role)), role


def secrets_of(stack: Stack, alice: User, kernel: Kernel) -> dict[str, str]:
    """What nobody may find in a log; each was used, also in wrong ways."""
    made = alice.request("POST", "hub/api/users/alice/tokens", json={})
    token = str(made.json()["token"])
    for headers in ({"Authorization": f"token {token}"}, {"Authorization": f"Bearer {token}x"}):
        alice.request("GET", "hub/api/user", headers=headers)
    alice.request("GET", f"hub/api/users/alice?token={token}")
    own = kernel.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    wrong = "a password that is mistyped"
    with pytest.raises(LoginRefused):
        Entrance.of(stack).browser().log_in("carol", wrong)
    passwords = stack.outputs()["demoUsers"]
    # Short ones are names of cookies, or numbers.
    cookies = {one.name: one.value or "" for one in alice.cookies() if len(one.value or "") > 20}
    assert len(own) > 20
    assert cookies
    # What a page has in it against forged requests is in addresses of websockets, and no login.
    cookies.pop("_xsrf", None)
    return {"token": token, "server's token": own, "wrong": wrong, **passwords, **cookies}
