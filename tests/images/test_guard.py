"""The guard on the real engine: what the hub gets done through it, and what nobody does."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from zhub import settings
from zhub.guard.counts import FULL
from zhub.guard.egress import Egress
from zhub.guard.environment import Image
from zhub.guard.listener import CLIENT_SECONDS, MAX_OPEN
from zhub.guard.policy import Policy
from zhub.guard.seccomp import PROFILE
from zhub.guard.server import Guard, listen
from zhub.networks import UserNetworks
from zhub.settings import GuardSettings

from tests.images import spawned
from tests.images.conftest import Images, wait_until

pytestmark = pytest.mark.engine

#: Of these tests alone.
POOL = IPv4Network("10.214.8.0/24")
IMAGE = "zhub-base:trixie-build"


@dataclass(frozen=True)
class Site:
    """A guard with a hub that does nothing, on the real engine."""

    engine: docker.APIClient
    """Straight to the engine."""
    hub: docker.APIClient
    """As the hub: through the guard."""
    path: Path
    told: GuardSettings
    policy: Policy
    egress: Egress

    @property
    def networks(self) -> UserNetworks:
        """The users' networks, as the hub makes them."""
        return UserNetworks(
            self.hub,
            prefix=self.told.prefix,
            # As its container's host name, which is how a hub knows itself.
            hub=self.engine.inspect_container(f"{self.told.prefix}-hub")["Id"][:12],
            pool=POOL,
            internet=self.told.user_internet,
        )

    def labels(self, role: str, user: str = "alice") -> dict[str, str]:
        return {"zhub.stack": self.told.prefix, "zhub.role": role, "zhub.user": user}

    def create(self, user: str = "alice", **more: Any) -> str:
        """Do what the spawner does until there is a container; return its id."""
        name, volume = f"{self.told.prefix}-user-{user}", f"{self.told.prefix}-home-{user}"
        self.hub.create_volume(volume, labels=self.labels("home", user))
        limits = {"mem_limit": "64M", "memswap_limit": "64M", "cpu_quota": 50_000}
        return spawned.create(
            self.hub,
            self.told.notebook_image,
            name=name,
            volume=volume,
            labels=self.labels("notebook", user),
            **{**limits, **more},
        )

    def start(self, user: str) -> str:
        """Do all that the spawner does; return the container's id."""
        container = self.create(user)
        self.hub.start(container)
        network = f"{self.told.prefix}-user-{user}"
        self.networks.join(network, self.labels("user-network", user), container)
        return container

    def run(self, container: str, command: str) -> tuple[int, str]:
        """Run a shell command in a container; return its status and output."""
        execution = self.engine.exec_create(container, ["bash", "-c", command])["Id"]
        output = self.engine.exec_start(execution).decode()
        return self.engine.exec_inspect(execution)["ExitCode"], output

    def ask(self, request: bytes, *, seconds: float = 5) -> bytes:
        """Send bytes to the guard; return what comes back until it closes or is silent."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(self.path))
            answer = b""
            try:
                connection.sendall(request)
                while part := connection.recv(65536):
                    answer += part
            except (TimeoutError, ConnectionError):
                pass
            return answer

    @property
    def lives(self) -> bool:
        answer = self.ask(b"GET /version HTTP/1.1\r\nHost: guard\r\n\r\n")
        return answer.startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    with closing(docker.APIClient(version="auto")) as client:
        yield client


@pytest.fixture(scope="module")
def idle(client: docker.APIClient) -> Iterator[str]:
    """An image whose own command does nothing."""
    image = spawned.idle_image(client, IMAGE)
    yield image
    client.remove_image(image)


@pytest.fixture(scope="module")
def prefix(client: docker.APIClient, idle: str) -> Iterator[str]:
    """A prefix of this module alone; what carries it is removed, and then the image it is from."""
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    yield name
    label = {"label": f"zhub.stack={name}"}
    for container in client.containers(all=True, filters=label):
        client.remove_container(container["Id"], force=True, v=True)
    for network in client.networks(filters=label):
        client.remove_network(network["Id"])
    for volume in client.volumes(filters=label)["Volumes"] or ():
        client.remove_volume(volume["Name"])


def serving(guard: Guard, path: Path) -> Callable[[], None]:
    """Serve in a thread; return what ends it."""
    loop = asyncio.new_event_loop()

    async def start() -> None:
        listen(path, guard)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    return stop


@pytest.fixture(scope="module")
def site(
    client: docker.APIClient,
    prefix: str,
    idle: str,
    images: Images,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    told = settings.read_guard(
        {
            "ZHUB_PREFIX": prefix,
            "ZHUB_NOTEBOOK_IMAGE": idle,
            "ZHUB_USER_MEMORY": "64M",
            "ZHUB_USER_CPUS": "0.5",
            "ZHUB_USER_PIDS": "64",
            "ZHUB_USER_NETWORK_POOL": str(POOL),
            "ZHUB_USER_ALLOWED_NETWORKS": '["10.99.0.0/16"]',
            "ZHUB_USER_BLOCKED_NETWORKS": '["198.51.100.0/24"]',
        }
    )
    hub = client.create_container(
        IMAGE,
        ["sleep", "900"],
        name=f"{prefix}-hub",
        labels={"zhub.stack": prefix, "zhub.role": "hub"},
    )
    client.start(hub["Id"])
    egress = Egress.of_engine(client, images.hub, told)
    path = tmp_path_factory.mktemp("guard") / "engine.sock"
    policy = Policy(told, Image.of_engine(client, idle))
    stop = serving(Guard(client, policy, egress), path)
    with closing(docker.APIClient(f"unix://{path}", version="auto", timeout=120)) as through:
        yield Site(client, through, path, told, policy, egress)
    stop()


@pytest.fixture(scope="module")
def alice(site: Site) -> str:
    """A user's container that runs."""
    return site.start("alice")


def refused(call: Callable[[], Any]) -> bool:
    """Whether the guard refuses a call."""
    with pytest.raises(APIError) as caught:
        call()
    return bool(caught.value.status_code == 403)


def test_a_server_runs_confined(site: Site, alice: str) -> None:
    found = site.hub.inspect_container(alice)
    host = found["HostConfig"]
    assert found["State"]["Running"]
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    assert (host["PidsLimit"], host["CpuQuota"]) == (64, 50_000)
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges", f"seccomp={PROFILE}"]
    assert not host["Privileged"]
    assert [mount["Name"] for mount in found["Mounts"]] == [f"{site.told.prefix}-home-alice"]
    assert set(found["NetworkSettings"]["Networks"]) == {f"{site.told.prefix}-user-alice"}
    status, output = site.run(alice, "grep CapEff /proc/self/status")
    assert (status, output.split()[1]) == (0, "0" * 16)


#: Closed: the cloud's metadata, the site, the engine's machine by several addresses, what was
#: configured. The gateway and eth0's address are the machine's own.
CLOSED = ["169.254.169.254", "168.63.129.16", "192.168.1.1", "10.1.2.3", "172.17.0.1"]


def test_a_server_reaches_the_hub_but_neither_the_engines_machine_nor_its_site(
    site: Site, alice: str
) -> None:
    network = site.engine.inspect_network(f"{site.told.prefix}-user-alice")
    gateway = str(IPv4Network(network["IPAM"]["Config"][0]["Subnet"])[1])
    own = [str(network[0]) for network in site.egress.blocked if network.prefixlen == 32]
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - what must not be reached
        port = listener.getsockname()[1]
        for host in [*CLOSED, gateway, "198.51.100.7", *own]:
            for address in (host, f"::ffff:{host}"):
                probe = f"timeout 3 bash -c '</dev/tcp/{address}/{port}' 2>&1"
                assert "Permission denied" in site.run(alice, probe)[1], address
        # What proves that the probe can tell: refused by the hub, where nothing listens.
        assert "refused" in site.run(alice, "timeout 3 bash -c '</dev/tcp/hub/9' 2>&1")[1]
        # Nobody is there, but the way is open.
        for host in ("203.0.113.9", "10.99.0.1"):
            assert (
                "denied" not in site.run(alice, f"timeout 1 bash -c '</dev/tcp/{host}/9' 2>&1")[1]
            )


def test_a_server_cannot_open_the_way_again(site: Site, alice: str) -> None:
    status, output = site.run(alice, "grep CapBnd /proc/self/status")
    assert (status, output.split()[1]) == (0, "0" * 16)


def test_without_its_routes_a_server_does_not_run(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    # This image has no busybox.
    broken = replace(site.egress, image=IMAGE)
    stop = serving(Guard(client, site.policy, broken), tmp_path / "engine.sock")
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        with pytest.raises(APIError) as caught:
            replace(site, hub=hub).start("broken")
        assert caught.value.status_code == 500
    stop()
    container = f"{site.told.prefix}-user-broken"
    assert not client.containers(all=True, filters={"name": container})
    assert not client.containers(all=True, filters={"label": "zhub.role=guard-helper"})


def test_a_server_has_no_network_until_it_runs(site: Site) -> None:
    """Otherwise it could use it for a moment before its way out is closed."""
    network = f"{site.told.prefix}-user-early"
    container = site.create("early")
    site.networks.open(network, site.labels("user-network", "early"))
    site.engine.disconnect_container_from_network(container, "none")
    site.engine.connect_container_to_network(container, network)
    assert refused(lambda: site.hub.start(container))
    site.engine.disconnect_container_from_network(container, network)
    assert refused(lambda: site.hub.connect_container_to_network(container, network))


def test_a_server_gets_no_network_but_its_own_and_is_nothing_else_there(site: Site) -> None:
    others, own = f"{site.told.prefix}-user-others", f"{site.told.prefix}-user-trudy"
    for network, user in ((others, "others"), (own, "trudy")):
        site.networks.open(network, site.labels("user-network", user))
    container = site.create("trudy")
    site.hub.start(container)
    site.hub.disconnect_container_from_network(container, "none")
    assert refused(lambda: site.hub.connect_container_to_network(container, others))
    for more in ({"aliases": ["hub"]}, {"ipv4_address": "10.213.0.2"}, {"links": [("hub", "x")]}):
        assert refused(partial(site.hub.connect_container_to_network, container, own, **more))
    assert not site.engine.inspect_container(container)["NetworkSettings"]["Networks"]
    site.hub.connect_container_to_network(container, own)
    assert "Permission denied" in site.run(container, "</dev/tcp/169.254.169.254/80 2>&1")[1]


def test_a_server_stops_and_its_network_goes(site: Site) -> None:
    container = site.start("brief")
    site.hub.stop(container, timeout=0)
    wait_until(lambda: not site.engine.containers(all=True, filters={"id": container}), seconds=30)
    site.networks.close(f"{site.told.prefix}-user-brief")
    assert not site.engine.networks(names=[f"{site.told.prefix}-user-brief"])


def test_a_hub_that_comes_back_is_attached_again(site: Site, alice: str) -> None:
    name = f"{site.told.prefix}-user-alice"
    before = site.engine.inspect_container(f"{site.told.prefix}-hub")
    site.engine.disconnect_container_from_network(before["Id"], name)
    site.networks.restore()
    after = site.engine.inspect_container(f"{site.told.prefix}-hub")
    address = "IPAddress"
    assert (
        after["NetworkSettings"]["Networks"][name][address]
        == before["NetworkSettings"]["Networks"][name][address]
    )


def test_more_than_was_agreed_is_not_made(site: Site) -> None:
    for more in (
        {"privileged": True},
        {"binds": {"/": {"bind": "/home/jovyan", "mode": "rw"}}},
        {"network_mode": "host"},
        {"cap_add": ["SYS_ADMIN"]},
        {"pid_mode": "host"},
        {"mem_limit": "65M", "memswap_limit": "65M"},
        {"pids_limit": -1},
    ):
        assert refused(partial(site.create, "mallory", **more)), more
    assert not site.engine.containers(all=True, filters={"name": "mallory"})


def test_a_volume_that_is_a_folder_of_the_machine_is_not_mounted(site: Site) -> None:
    site.engine.create_volume(
        f"{site.told.prefix}-home-trap",
        driver="local",
        driver_opts={"type": "none", "o": "bind", "device": "/etc"},
        labels=site.labels("home", "trap"),
    )
    assert refused(lambda: site.create("trap"))


def test_more_servers_and_networks_than_there_may_be_are_not_made(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    leaving = site.create("leaving")
    label = {"label": [f"zhub.stack={site.told.prefix}", "zhub.role=notebook"]}
    number = len(client.containers(all=True, filters=label))
    full = replace(site.policy, settings=replace(site.told, max_servers=number))
    stop = serving(Guard(client, full, site.egress), tmp_path / "engine.sock")
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        with pytest.raises(APIError) as caught:
            replace(site, hub=hub).create("toomany")
        assert caught.value.status_code == FULL
        assert caught.value.explanation == (
            f"The hub is full: {number} of {number} servers run. Try again later."
        )
        client.remove_container(leaving, force=True)
        replace(site, hub=hub).create("toomany")
        client.remove_container(f"{site.told.prefix}-user-toomany", force=True)
    stop()


@pytest.fixture(scope="module")
def foreign(site: Site) -> Iterator[str]:
    """A container of somebody else's; a container, a network and a volume have its name."""
    name = f"zhub-foreign-{uuid.uuid4().hex[:8]}"
    labels = {"zhub.stack": name, "zhub.role": "notebook", "zhub.user": "alice"}
    site.engine.create_network(name, labels=labels | {"zhub.role": "user-network"})
    site.engine.create_volume(name, labels=labels | {"zhub.role": "home"})
    site.engine.create_container(
        IMAGE,
        ["sleep", "900"],
        name=name,
        labels=labels,
        host_config=site.engine.create_host_config(network_mode=name),
    )
    site.engine.start(name)
    yield name
    site.engine.remove_container(name, force=True)
    site.engine.remove_network(name)
    site.engine.remove_volume(name)


def test_what_is_not_the_users_is_out_of_reach(site: Site, foreign: str, alice: str) -> None:
    hub = f"{site.told.prefix}-hub"
    network = f"{site.told.prefix}-user-alice"
    through = site.hub
    calls: list[Callable[[], Any]] = [
        lambda: through.inspect_container(foreign),
        lambda: through.start(foreign),
        lambda: through.stop(foreign),
        lambda: through.remove_container(foreign, force=True),
        lambda: through.stop(hub),
        lambda: through.remove_container(hub, force=True),
        lambda: through.inspect_network(foreign),
        lambda: through.inspect_network("bridge"),
        lambda: through.remove_network(foreign),
        lambda: through.disconnect_container_from_network(foreign, "none"),
        lambda: through.disconnect_container_from_network(hub, "none"),
        lambda: through.connect_container_to_network(foreign, network),
        lambda: through.connect_container_to_network(hub, "bridge"),
        lambda: through.connect_container_to_network(hub, foreign),
        lambda: through.inspect_image(IMAGE),  # type: ignore[no-untyped-call]
        lambda: through.remove_volume(f"{site.told.prefix}-home-alice"),
        lambda: through.exec_create(alice, ["id"]),
        through.containers,
        lambda: through.logs(alice),
        through.info,
        lambda: through.pull("debian"),
        lambda: through.commit(alice),
        lambda: through.get_archive(alice, "/"),
        lambda: through.put_archive(alice, "/", b""),
        lambda: through.update_container(alice, mem_limit="2G"),
        lambda: through.rename(alice, "x"),
        lambda: through.kill(alice),
        lambda: through.restart(alice),
        through.volumes,
        lambda: through.create_volume(f"{site.told.prefix}-state"),
        lambda: through.create_network(f"{site.told.prefix}-user-x", driver="host"),
        lambda: through.networks(filters={"label": "zhub.stack=other"}),
    ]
    assert all(map(refused, calls))
    assert site.engine.inspect_container(foreign)["State"]["Running"]


def test_of_other_networks_the_hub_learns_the_subnets_only(site: Site, foreign: str) -> None:
    assert foreign not in json.dumps(site.hub.networks())
    [network] = site.hub.networks()
    assert set(network) == {"IPAM"}


HEAD = "Host: guard\r\nContent-Type: application/json\r\n"


def request(line: str, *headers: str, body: str = "") -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"{line} HTTP/1.1\r\n{HEAD}{lines}\r\n{body}".encode()


#: {v} is the API's version, {c} a user's container that runs.
TRICKS: list[bytes] = [
    request("GET /containers/json"),
    request("GET /v{v}/../containers/json"),
    request("GET /v{v}/containers/../containers/json"),
    request("GET /v{v}/containers/{c}/../../info"),
    request("GET /v{v}/containers/%2e%2e/info"),
    request("GET /v{v}/containers/{c}%2fjson"),
    request("GET /v{v}//containers/{c}/json"),
    request("GET /v{v}/containers/{c}/json/"),
    request("GET /v{v}/containers/{c}/json;x"),
    request("GET /v1.24/containers/{c}/json"),
    request("GET /v9.99/containers/{c}/json"),
    request("GET /V{v}/containers/{c}/json"),
    request("GET http://engine/v{v}/containers/json"),
    request("GET /v{v}/containers/{c}/json?size=1"),
    request("GET /v{v}/containers/{c}/json?" + "a&" * 1000),
    request("HEAD /v{v}/containers/{c}/json"),
    request("PUT /v{v}/containers/{c}/archive"),
    request("CONNECT engine:2375"),
    request("TRACE /"),
    request("get /version"),
    request("POST /v{v}/containers/{c}/start", "Upgrade: tcp", "Connection: Upgrade"),
    request("POST /v{v}/containers/{c}/attach?stream=1", "Upgrade: tcp", "Connection: Upgrade"),
    request("POST /session", "Upgrade: h2c", "Connection: Upgrade"),
    request("POST /grpc", "Upgrade: h2c", "Connection: Upgrade"),
    request("POST /v{v}/containers/create?name=a&name=b", "Content-Length: 2", body="{}"),
    request("POST /v{v}/volumes/create", "Transfer-Encoding: chunked", body="2\r\n{}\r\n0\r\n\r\n"),
    request(
        "POST /v{v}/volumes/create",
        "Content-Length: 2",
        "Transfer-Encoding: chunked",
        body="0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
    request("POST /v{v}/volumes/create", "Content-Length: 2", "Content-Length: 3", body="{}x"),
    request("POST /v{v}/volumes/create", "Content-Length: -1", body="{}"),
    request("POST /v{v}/volumes/create", "Content-Length: +2", body="{}"),
    request("POST /v{v}/volumes/create", "Content-Length: 0x2", body="{}"),
    request("POST /v{v}/volumes/create", "Content-Length : 2", body="{}"),
    request("POST /v{v}/volumes/create", "Content-Length: 99999999", body="{}"),
    request("POST /v{v}/volumes/create", "X: " + "x" * 100_000),
    request("POST /v{v}/volumes/create", "Content-Length: 2", "Expect: 100-continue", body="{}"),
    request("POST /v{v}/volumes/create", "Content-Length: 2", body="[]"),
    request("GET /v{v}/containers/{c}/json", "Content-Length: 2", body="{}"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /version\r\n\r\n",
    b"\x00" * 100,
    b"\x16\x03\x01\x00\xa5\x01",
    b"\r\n" * 1000,
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: repr(trick[:60]))
def test_odd_requests_are_refused(site: Site, alice: str, trick: bytes) -> None:
    version = str(site.engine.api_version).encode()
    sent = trick.replace(b"{v}", version).replace(b"{c}", alice.encode())
    answer = site.ask(sent, seconds=CLIENT_SECONDS + 5)
    found = {int(status) for status in re.findall(rb"^HTTP/1.1 (\d+)", answer, re.MULTILINE)}
    assert not found - {100, 400, 403, 405, 413}, answer
    assert site.lives


@given(
    st.binary(max_size=300)
    | st.builds(
        lambda method, path, headers, body: (
            b"%s %s HTTP/1.1\r\n%s\r\n%s"
            % (method, path, b"".join(b"%s\r\n" % header for header in headers), body)
        ),
        st.sampled_from([b"GET", b"POST", b"DELETE", b"PUT", b"OPTIONS"]),
        st.sampled_from([b"/version", b"/v1.41/networks", b"/v1.41/containers/create?name="])
        | st.binary(max_size=60),
        st.lists(
            st.sampled_from(
                [b"Host: x", b"Content-Length: 4", b"Transfer-Encoding: chunked", b"Connection: x"]
            )
            | st.binary(max_size=40),
            max_size=4,
        ),
        st.binary(max_size=100),
    )
)
@hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_bytes_bring_it_down(site: Site, sent: bytes) -> None:
    answer = site.ask(sent, seconds=0.1)
    assert not answer.startswith(b"HTTP/1.1 5")
    assert site.lives


def test_slow_clients_are_dropped_and_keep_nobody_waiting(site: Site) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(MAX_OPEN - 1)]
    try:
        for number, connection in enumerate(slow):
            connection.connect(str(site.path))
            head = b"POST /v1.41/volumes/create HTTP/1.1\r\nHost: x\r\n"
            # Half of them never end the head, the others never the body.
            connection.sendall(head + (b"" if number % 2 else b"Content-Length: 9\r\n\r\n{"))
        begin = time.monotonic()
        assert site.lives
        assert time.monotonic() - begin < 2
        for connection in slow:
            connection.settimeout(max(0.1, begin + 2 * CLIENT_SECONDS - time.monotonic()))
            # The guard hangs up; a timeout would be an error.
            while connection.recv(4096):
                pass
    finally:
        for connection in slow:
            connection.close()
