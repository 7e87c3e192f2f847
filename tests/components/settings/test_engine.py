"""Which engine a stack goes to, and what is looked at on it before anything is declared."""

from __future__ import annotations

import errno
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pytest

from components.settings import engine as engines
from components.settings import local_engine, prefix
from components.settings.engine import Engine
from components.settings.parsing import RefusedError
from tests.components.recorder import Recording, run
from tests.components.stacks import DEMO

LOOPBACK = "127.0.0.1"


ID = "HSQL:OBMU"


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """HTTP on a socket file."""

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = super().get_request()
        return connection, ("local", 0)


def container(name: str, ip: str, port: int, **labels: str) -> dict[str, Any]:
    """A container as the engine lists it."""
    return {
        "State": "running",
        "Names": [f"/{name}"],
        "Labels": {f"zhub.{key}": value for key, value in labels.items()},
        "Ports": [
            {"PrivatePort": 9, "Type": "tcp"},
            {"IP": ip, "PrivatePort": port, "PublicPort": port, "Type": "tcp"},
        ],
    }


@pytest.fixture
def engine_with(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Engines that answer with these containers; what they answer is Docker's API."""
    servers: list[UnixServer] = []

    def start(*containers: dict[str, Any], id: str = ID) -> Engine:
        answers: dict[str, object] = {
            "/version": {"ApiVersion": "1.41", "MinAPIVersion": "1.12"},
            "/v1.41/info": {"ID": id},
            "/v1.41/containers/json": containers,
        }

        class Api(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = answers[urlsplit(self.path).path]
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        path = tmp_path / f"{len(servers)}.sock"
        server = UnixServer(str(path), Api)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return at(f"unix://{path}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def at(host: str) -> Engine:
    return Engine(host=host, cert_path=None, socket="/var/run/docker.sock")


def refuse_taken_port(engine: Engine, prefix: str, address: str, port: int) -> None:
    local = local_engine.ask(engine)
    assert local
    local_engine.refuse_taken_port(local, prefix, address, port)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on, on loopback."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_free_port_is_fine(engine_with: Callable[..., Engine], free: int) -> None:
    refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, free)


def test_a_port_another_program_has_is_refused(
    engine_with: Callable[..., Engine], taken: int
) -> None:
    with pytest.raises(RefusedError, match="taken by another program") as raised:
        refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, taken)
    assert raised.value.fix == f"pulumi config set port {taken + 1}"


@pytest.mark.parametrize(("error", "refused"), [(errno.EACCES, False), (errno.EADDRINUSE, True)])
def test_only_the_engine_need_be_allowed_to_open_a_port_below_1024(
    engine_with: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    *,
    refused: bool,
) -> None:
    def bind(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(local_engine, "_bind", bind)
    if not refused:
        refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, 443)
        return
    with pytest.raises(RefusedError, match="taken by another program") as raised:
        refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, 443)
    assert raised.value.fix == "pulumi config set port 8443"


@pytest.mark.parametrize(
    ("theirs", "ours", "clash"),
    [
        ("0.0.0.0", LOOPBACK, True),  # noqa: S104 - not bound to
        (LOOPBACK, "0.0.0.0", True),  # noqa: S104 - not bound to
        (LOOPBACK, LOOPBACK, True),
        ("::", LOOPBACK, True),
        ("127.0.0.2", LOOPBACK, False),
    ],
)
def test_a_port_another_container_has_is_refused(
    engine_with: Callable[..., Engine], free: int, theirs: str, ours: str, *, clash: bool
) -> None:
    engine = engine_with(container("web", theirs, free, stack="zhub-other", role="hub"))
    if not clash:
        refuse_taken_port(engine, "zhub-test", ours, free)
        return
    with pytest.raises(RefusedError, match="taken by container web on this engine"):
        refuse_taken_port(engine, "zhub-test", ours, free)


def test_the_port_of_the_stacks_own_hub_is_fine(
    engine_with: Callable[..., Engine], taken: int
) -> None:
    """Docker's proxy listens on it, too."""
    engine = engine_with(container("zhub-test-hub", LOOPBACK, taken, stack="zhub-test", role="hub"))
    refuse_taken_port(engine, "zhub-test", LOOPBACK, taken)


def test_a_hub_that_is_being_restarted_keeps_its_port(
    engine_with: Callable[..., Engine], taken: int
) -> None:
    """By the time it is looked at, it may listen again."""
    hub = container("zhub-test-hub", LOOPBACK, taken, stack="zhub-test", role="hub")
    restarting = hub | {"State": "restarting", "Ports": []}
    refuse_taken_port(engine_with(restarting), "zhub-test", LOOPBACK, taken)
    with pytest.raises(RefusedError, match="taken by another program"):
        refuse_taken_port(engine_with(restarting), "zhub-other", LOOPBACK, taken)


def test_another_machine_is_not_looked_at(taken: int) -> None:
    assert local_engine.ask(at("ssh://z.example.com")) is None
    there = {"zhub:port": str(taken), "zhub:bindAddress": "192.0.2.1"}
    assert run(DEMO | there, preview=True).declared


def test_an_address_this_machine_does_not_have_is_refused() -> None:
    with pytest.raises(RefusedError, match="no address of this machine"):
        local_engine.refuse_foreign_address("192.0.2.1")


def local(tmp_path: Path, port: int, **more: str) -> dict[str, str]:
    """Config of a stack on an engine that is not there."""
    return {
        "docker:host": f"unix://{tmp_path}/none.sock",
        "zhub:demoDirectory": "true",
        "zhub:bindAddress": LOOPBACK,
        "zhub:port": str(port),
    } | more


def test_an_engine_that_does_not_answer_is_said_and_no_reason_to_stop(
    tmp_path: Path, free: int
) -> None:
    recording: Recording = run(local(tmp_path, free), preview=True)
    [warning] = recording.warnings
    assert "does not answer" in warning
    assert "not checked whether" in warning


def test_the_program_refuses_a_taken_port_before_it_declares_anything(
    tmp_path: Path, taken: int
) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        run(local(tmp_path, taken) | {"zhub:userMemory": "lots"})
    said = str(raised.value)
    assert f'port is "{taken}": taken by another program on this machine' in said
    assert "userMemory is" in said, "all mistakes at once, this one too"


def test_the_program_refuses_a_foreign_address(tmp_path: Path, free: int) -> None:
    with pytest.raises(pulumi.RunError, match=r"bindAddress is .* no address of this machine"):
        run(local(tmp_path, free) | {"zhub:bindAddress": "192.0.2.1"})


def test_the_program_refuses_a_docker_context(
    tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images would be built on one engine and containers run on another."""
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    run(local(tmp_path, free))
    monkeypatch.setenv("DOCKER_CONTEXT", "mainframe")
    with pytest.raises(pulumi.RunError, match="DOCKER_CONTEXT is mainframe") as raised:
        run(local(tmp_path, free))
    assert "    unset DOCKER_CONTEXT" in str(raised.value)


def test_without_docker_host_it_is_this_machines_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert engines.host("") == "tcp://192.0.2.1:2375"
    assert engines.host("ssh://z.example.com") == "ssh://z.example.com"
    monkeypatch.delenv("DOCKER_HOST")
    paths = (tmp_path / "docker.sock", tmp_path / "desktop.sock")
    monkeypatch.setattr(engines, "LOCAL_SOCKETS", paths)
    assert engines.host("") == f"unix://{paths[0]}"
    paths[1].touch()
    assert engines.host("") == f"unix://{paths[1]}"
    paths[0].touch()
    assert engines.host("") == f"unix://{paths[0]}"


OLD = "ssh://admin@old.example.com"
NEW = "ssh://admin@new.example.com"


def stack_on(engine: str | None, *, provider: str, things: bool = True) -> dict[str, Any]:
    """The state of a stack: with the output of its last good `up`, if any, and its provider."""
    root = {"engine": engine} if engine else {}
    state: dict[str, Any] = {
        "urn:stack": {"type": "pulumi:pulumi:Stack", "outputs": root},
        "urn:engine": {"type": "pulumi:providers:docker", "outputs": {"host": provider}},
        "urn:key": {"type": "tls:index/privateKey:PrivateKey", "outputs": {}},
    }
    if things:
        network = {"type": "docker:index/network:Network", "outputs": {"name": "zhub-test-hub"}}
        state["urn:hub"] = network
    return state


def moved(tmp_path: Path, state: dict[str, Any], **config: str) -> Recording:
    settings = {f"zhub:{key}": value for key, value in config.items()}
    to = {"docker:host": NEW} | settings
    return run(local(tmp_path, 18443) | to, preview=True, deployed=state)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(stack_on(OLD, provider=OLD), id="up"),
        pytest.param(stack_on(OLD, provider=NEW), id="an up towards the new one has failed"),
        pytest.param(stack_on(None, provider=OLD), id="the first up has failed halfway"),
    ],
)
def test_another_engine_is_refused_with_both_addresses_and_the_ways(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        moved(tmp_path, state, userMemory="lots")
    said = str(raised.value)
    assert (
        f"docker:host: the last `pulumi up` went to the engine at {OLD},"
        f" and this run would go to {NEW}. `pulumi up` moves nothing" in said
    )
    assert "docs/operations.md, Move to another machine" in said
    assert f"\n    pulumi config set docker:host {OLD}\n" in said
    assert f"\n    pulumi config set sameEngineAs {OLD}" in said
    assert "userMemory is" in said, "all mistakes at once, this one too"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({}, id="never up"),
        pytest.param(stack_on(None, provider=OLD, things=False), id="nothing was made there"),
        pytest.param(stack_on(NEW, provider=OLD), id="moved already"),
        pytest.param(
            stack_on("ssh://admin@NEW.example.com:22/", provider=NEW), id="spelt otherwise"
        ),
    ],
)
def test_a_stack_that_has_nothing_elsewhere_may_go_there(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    assert moved(tmp_path, state).declared


def test_another_address_of_the_same_engine_is_a_way_through_and_only_for_that_one(
    tmp_path: Path,
) -> None:
    assert moved(tmp_path, stack_on(OLD, provider=OLD), sameEngineAs=OLD).declared
    with pytest.raises(pulumi.RunError, match="`pulumi up` went to the engine at tcp://third:2376"):
        moved(tmp_path, stack_on("tcp://third:2376", provider=OLD), sameEngineAs=OLD)


def test_an_address_from_the_environment_is_another_engine_too(
    tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", NEW)
    config = local(tmp_path, free) | {"docker:host": ""}
    with pytest.raises(pulumi.RunError, match=r"would go to ssh://.*new.*, from DOCKER_HOST"):
        run(config, deployed=stack_on(OLD, provider=OLD))


def test_a_link_to_the_socket_is_the_same_engine(
    tmp_path: Path, engine_with: Callable[..., Engine], free: int
) -> None:
    there = engine_with().host.removeprefix("unix://")
    (tmp_path / "link.sock").symlink_to(there)
    config = local(tmp_path, free) | {"docker:host": f"unix://{there}"}
    linked = f"unix://{tmp_path}/link.sock"
    assert run(config, deployed=stack_on(linked, provider=linked)).declared


def on_this_machine(engine: Engine, free: int, **config: str) -> dict[str, str]:
    """Config of a demo stack on that engine."""
    return {
        "docker:host": engine.host,
        "zhub:demoDirectory": "true",
        "zhub:bindAddress": LOOPBACK,
        "zhub:port": str(free),
    } | {f"zhub:{key}": value for key, value in config.items()}


def test_the_same_socket_on_another_machine_is_another_engine(
    engine_with: Callable[..., Engine], free: int
) -> None:
    """With a shared state, a colleague's `up` would make the hub anew, with an empty database."""
    engine = engine_with()
    config = on_this_machine(engine, free)
    first = run(config)
    assert first.outputs["engineId"]["value"] == ID
    state = stack_on(engine.host, provider=engine.host)
    state["urn:stack"]["outputs"]["engineId"] = ID
    assert run(config, deployed=state).declared

    state["urn:stack"]["outputs"]["engineId"] = "RTNM:V36G"
    with pytest.raises(pulumi.RunError) as raised:
        run(config, deployed=state)
    said = str(raised.value)
    assert f"the engine at {engine.host} is not the one that the last `pulumi up` went to" in said
    assert f"its ID is {ID}, and was RTNM:V36G" in said
    assert "\n    pulumi config set docker:host ssh://" in said
    assert f"\n    pulumi config set sameEngineAs {engine.host}" in said
    # Docker was installed anew.
    again = run(config | {"zhub:sameEngineAs": engine.host}, deployed=state)
    assert again.outputs["engineId"]["value"] == ID


def test_a_stack_of_a_release_without_the_engines_id_goes_on(
    engine_with: Callable[..., Engine], free: int
) -> None:
    engine = engine_with()
    state = stack_on(engine.host, provider=engine.host)
    assert run(on_this_machine(engine, free), deployed=state).outputs["engineId"]["value"] == ID


def test_an_engine_that_is_not_asked_has_no_id(tmp_path: Path, free: int) -> None:
    assert "engineId" not in run(DEMO).outputs
    assert "engineId" not in run(local(tmp_path, free)).outputs


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_prefix_of_another_stack_is_refused(
    engine_with: Callable[..., Engine], free: int, state: str
) -> None:
    """As when a stack's file with `prefix` in it is copied for a second stack."""
    hub = container("zhub-site-hub", LOOPBACK, free, stack="zhub-site", role="hub")
    engine = engine_with(hub | {"State": state, "Ports": []})
    config = on_this_machine(engine, free, prefix="zhub-site")
    with pytest.raises(pulumi.RunError) as raised:
        run(config, stack="second")
    assert "prefix: the engine has a hub with zhub-site already, and this stack has none" in str(
        raised.value
    )
    assert "\n    pulumi config set prefix zhub-site-2" in str(raised.value)
    assert run(on_this_machine(engine, free, prefix="zhub-site-2"), stack="second").declared


def test_a_stack_has_its_own_prefix_also_after_a_destroy(
    engine_with: Callable[..., Engine], free: int
) -> None:
    hub = container("zhub-test-hub", LOOPBACK, free, stack="zhub-test", role="hub")
    engine = engine_with(hub)
    up = stack_on(engine.host, provider=engine.host)
    assert run(on_this_machine(engine, free), deployed=up).declared
    # Somebody's server, which a destroy that was cut short has left, is no other stack's hub.
    server = container("zhub-test-user-a", LOOPBACK, 9, stack="zhub-test", role="notebook")
    assert run(on_this_machine(engine_with(server), free), deployed={}).declared


def test_the_prefix_that_is_offered_is_one(engine_with: Callable[..., Engine], free: int) -> None:
    long = "a" * 34 + "-bc"
    hub = container("a-hub", LOOPBACK, 9, stack=long, role="hub")
    with pytest.raises(pulumi.RunError) as raised:
        run(on_this_machine(engine_with(hub), free, prefix=long))
    offered = str(raised.value).rpartition(" ")[2].strip()
    assert prefix.parse(offered) == "a" * 34 + "-2"
