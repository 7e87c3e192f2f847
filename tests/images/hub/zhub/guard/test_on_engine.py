"""The guard on the real engine: what the hub can do through it, and what nobody can."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool
from docker.utils import kwargs_from_env
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from zhub import engine, settings
from zhub.contract import (
    CPU_SHARES,
    FULL,
    NO_NETWORK,
    OOM_SCORE,
    UNUSABLE,
    addressing,
    network_options,
)
from zhub.guard import filters, homes
from zhub.guard.audit import Audit
from zhub.guard.calls import Guard
from zhub.guard.confinement import Confinement
from zhub.guard.environment import Image
from zhub.guard.folders import Folders
from zhub.guard.helpers import Helpers
from zhub.guard.homes import Homes
from zhub.guard.listener import CLIENT_SECONDS, MAX_OPEN
from zhub.guard.machine import Machine
from zhub.guard.measures import Usage
from zhub.guard.policy import Policy
from zhub.guard.seccomp import PROFILE
from zhub.guard.server import listen
from zhub.guard.sizes import Sizes
from zhub.servers.networks import UserNetworks
from zhub.settings import GuardSettings
from zhub.settings.folders import SharedFolder

from tests.built import Images, bridge_address, wait_until
from tests.images.hub import spawned
from tests.lan import lan

pytestmark = pytest.mark.engine

#: Only for these tests.
POOL = IPv4Network("10.214.32.0/22")
IMAGE = "zhub-base:trixie-build"


@dataclass(frozen=True)
class Site:
    """A guard on the real engine, with an idle hub."""

    engine: docker.APIClient
    """Client of the engine itself."""
    hub: docker.APIClient
    """Client of the guard, as the hub has."""
    path: Path
    settings: GuardSettings
    policy: Policy
    confinement: Confinement
    folders: Folders
    notebook: str
    """An image with Python."""

    @property
    def networks(self) -> UserNetworks:
        """The users' networks, through the guard as the hub makes them."""
        return UserNetworks(
            self.hub,
            prefix=self.settings.prefix,
            # Like its container's host name, by which a hub knows itself.
            hub=self.engine.inspect_container(f"{self.settings.prefix}-hub")["Id"][:12],
            pool=POOL,
            internal=self.settings.internal,
        )

    def labels(self, role: str, user: str = "alice") -> dict[str, str]:
        return {"zhub.stack": self.settings.prefix, "zhub.role": role, "zhub.user": user}

    def create(self, user: str = "alice", **more: Any) -> str:
        """Create a container in the steps of the spawner; return its ID."""
        name, volume = f"{self.settings.prefix}-user-{user}", f"{self.settings.prefix}-home-{user}"
        self.hub.create_volume(volume, labels=self.labels("home", user))
        limits = {"mem_limit": "64M", "memswap_limit": "64M", "cpu_quota": 50_000}
        return spawned.create(
            self.hub,
            self.settings.notebook_image,
            name=name,
            volume=volume,
            labels=self.labels("notebook", user),
            **{**limits, **more},
        )

    def start(self, user: str) -> str:
        """Start a server in all steps of the spawner; return the container's ID."""
        container = self.create(user)
        self.hub.start(container)
        network = f"{self.settings.prefix}-user-{user}"
        self.networks.join(network, self.labels("user-network", user), container)
        return container

    def run(self, container: str, command: str) -> tuple[int, str]:
        """Run a shell command in a container; return its status and output."""
        execution = self.engine.exec_create(container, ["bash", "-c", command])["Id"]
        output = self.engine.exec_start(execution).decode()
        return self.engine.exec_inspect(execution)["ExitCode"], output

    def ask(self, request: bytes, *, seconds: float = 5) -> bytes:
        """Send bytes to the guard; return its answer until it closes or is silent."""
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
    with closing(docker.APIClient(version="auto", **kwargs_from_env())) as client:
        yield client


@pytest.fixture(scope="module")
def idle(client: docker.APIClient) -> Iterator[str]:
    """An image whose own command only sleeps."""
    image = spawned.idle_image(client, IMAGE)
    yield image
    client.remove_image(image)


@pytest.fixture(scope="module")
def prefix(client: docker.APIClient, idle: str) -> Iterator[str]:
    """A prefix for this module; its objects are removed at the end, and then the image."""
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
    """Serve in a thread; return a function that ends it."""
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
    guard_settings = settings.read_guard(
        {
            "ZHUB_PREFIX": prefix,
            "ZHUB_NOTEBOOK_IMAGE": idle,
            "ZHUB_FILTER_IMAGE": images.filter,
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
    helpers = Helpers(client, images.filter, prefix)
    confinement = Confinement(client, helpers, guard_settings)
    confinement.begin()
    folders = Folders(client, helpers, guard_settings)
    path = tmp_path_factory.mktemp("guard") / "engine.sock"
    policy = Policy(guard_settings, {idle: Image.of_engine(client, idle)})
    stop = serving(Guard(client, policy, confinement, folders, Audit(path.parent)), path)
    with closing(docker.APIClient(f"unix://{path}", version="auto", timeout=120)) as through:
        yield Site(
            client, through, path, guard_settings, policy, confinement, folders, images.notebook
        )
    stop()


@pytest.fixture(scope="module")
def alice(site: Site) -> str:
    """A user's running container."""
    return site.start("alice")


def refused(call: Callable[[], Any]) -> bool:
    """Return whether the guard refuses a call."""
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
    # Not null, with which the engine's default would apply.
    assert host["Init"] is False
    assert [mount["Name"] for mount in found["Mounts"]] == [f"{site.settings.prefix}-home-alice"]
    assert set(found["NetworkSettings"]["Networks"]) == {f"{site.settings.prefix}-user-alice"}
    status, output = site.run(alice, "grep CapEff /proc/self/status")
    assert (status, output.split()[1]) == (0, "0" * 16)
    # The first to be ended where the machine has no memory, the last to be served where it is busy.
    assert host["CpuShares"] == CPU_SHARES < 1024
    assert site.run(alice, "cat /proc/1/oom_score_adj") == (0, f"{OOM_SCORE}\n")


#: Closed: the cloud's metadata and services, the site, several addresses of the engine's machine,
#: the configured networks.
CLOSED = [
    "169.254.169.254",
    "168.63.129.16",
    "161.26.0.10",
    "166.9.14.5",
    "198.51.100.7",
    "172.16.199.9",
    "10.98.2.3",
]

#: Connects in the plain way, with a named device, and from an address of its own choice.
PROBE = """
import socket, sys
def tried(host, port, *options, source=""):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(2)
        try:
            for option in options:
                probe.setsockopt(*option)
            if source:
                probe.bind((source, 0))
            probe.connect((host, port))
        except OSError as error:
            return error.strerror or type(error).__name__
        return "reached"
device = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
for target in sys.argv[1:]:
    host, _, port = target.rpartition(" ")
    print(tried(host, int(port)))
    print(tried(host, int(port), device))
    print(tried(host, int(port), device, (socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)))
"""

REFUSED = {"No route to host", "Permission denied", "Network is unreachable", "Invalid argument"}


def probed(site: Site, container: str, *targets: str) -> set[str]:
    """Return results of connections from a container's network, each tried in several ways."""
    helpers = Helpers(site.engine, site.notebook, site.settings.prefix)
    command = ["/usr/bin/python3", "-I", "-c", PROBE, *targets]
    return set(helpers.run(command, network=f"container:{container}").splitlines())


def elsewhere(site: Site, host: str) -> None:
    """Make the engine route packets for a host into an empty network of its own.

    The engine isolates its networks, so that no packet of these tests ever leaves the machine.
    """
    subnet = IPv4Network((host, 28), strict=False)
    if not site.engine.networks(names=[f"{site.settings.prefix}-{subnet[0]}"]):
        site.engine.create_network(
            f"{site.settings.prefix}-{subnet[0]}",
            labels=site.labels("elsewhere"),
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
        )


def test_a_server_reaches_the_hub_but_neither_the_engines_machine_nor_its_site(
    site: Site, alice: str, client: docker.APIClient
) -> None:
    network = site.engine.inspect_network(f"{site.settings.prefix}-user-alice")
    gateway = str(IPv4Network(network["IPAM"]["Config"][0]["Subnet"])[1])
    seen = Machine.seen(Helpers(client, site.settings.filter_image, "x"))
    own = [str(network[0]) for network in seen.addresses]
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - what must not be reached
        port = listener.getsockname()[1]
        hosts = [*CLOSED, gateway, bridge_address(client), *own]
        for host in CLOSED:
            elsewhere(site, host)
        targets = [f"{where} {port}" for host in hosts for where in (host, f"::ffff:{host}")]
        assert probed(site, alice, *targets) <= REFUSED
    # Shows that the probe works: the hub refuses the connection, since nothing listens there.
    assert "Connection refused" in probed(site, alice, "hub 8081")
    assert probed(site, alice, "hub 8001") <= REFUSED
    # Nothing is there, but the packets get through.
    for host in ("203.0.113.9", "10.99.0.9"):
        elsewhere(site, host)
        assert "TimeoutError" in probed(site, alice, f"{host} 9")


#: Opens connections to a host, keeps them, and prints how each attempt ended.
MANY = """
import collections, socket, sys
host, port, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kept, ends = [], collections.Counter()
for number in range(wanted):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one = socket.socket(socket.AF_INET, kind)
        one.settimeout(5)
        kept.append(one)
        try:
            one.connect((host, port))
            one.send(b"x")
            ends["made"] += 1
        except OSError:
            ends["refused"] += 1
print(ends["made"], ends["refused"])
"""


def test_no_server_takes_all_the_connections_that_the_machine_has_room_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a table that is full, the machine would drop those of browsers to the hub, too."""
    few = filters.TOO_MANY.replace(str(filters.MOST_CONNECTIONS), "40")
    with lan(IPv4Network("10.99.7.0/24")) as there:
        host = str(there.subnet[5])
        helpers = Helpers(site.engine, site.notebook, site.settings.prefix)
        command = ["/usr/bin/python3", "-I", "-c", MANY, host, str(there.port), "50"]
        made = {}
        for user, rule in (("modest", filters.TOO_MANY), ("greedy", few)):
            monkeypatch.setattr(filters, "TOO_MANY", rule)
            container = site.start(user)
            made[user] = helpers.run(command, network=f"container:{container}").split()
        assert made == {"modest": ["100", "0"], "greedy": ["40", "60"]}
        # The hub is another matter.
        assert "Connection refused" in probed(site, container, "hub 8081")


def test_the_filter_is_there_before_the_network(site: Site) -> None:
    """So no process in a server, not even a captured hub's command, has a network without it."""
    container = site.create("earlybird")
    site.hub.start(container)
    name = f"{site.settings.prefix}-user-earlybird"
    site.networks.open(name, site.labels("user-network", "earlybird"))
    site.hub.disconnect_container_from_network(container, NO_NETWORK)
    seen: list[bool] = []
    connect = site.engine.connect_container_to_network

    def watched(*given: Any, **more: Any) -> None:
        seen.append("policy drop" in ruleset(site, container))
        connect(*given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.engine, "connect_container_to_network", watched)
        site.hub.connect_container_to_network(container, name)
    assert seen == [True]


def test_a_server_is_not_started_anew_between_its_filter_and_its_network(site: Site) -> None:
    """A captured hub can make calls at the same time, and each start makes a new namespace."""
    container = site.create("racer")
    site.hub.start(container)
    name = f"{site.settings.prefix}-user-racer"
    site.networks.open(name, site.labels("user-network", "racer"))
    site.hub.disconnect_container_from_network(container, NO_NETWORK)
    connect = site.engine.connect_container_to_network
    begun: list[Future[bool]] = []
    bare: list[bool] = []

    def started_anew() -> bool:
        site.hub.stop(container, timeout=0)
        return not refused(lambda: site.hub.start(container))

    def raced(*given: Any, **more: Any) -> None:
        begun.append(threads.submit(started_anew))
        wait(begun, timeout=3)
        connect(*given, **more)
        runs = site.engine.inspect_container(container)["State"]["Running"]
        bare.append(runs and "policy drop" not in ruleset(site, container))

    with ThreadPoolExecutor(1) as threads, pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.engine, "connect_container_to_network", raced)
        site.hub.connect_container_to_network(container, name)
        assert bare == [False]
        assert not begun[0].result(30)
    assert not site.engine.inspect_container(container)["State"]["Running"]


def ruleset(site: Site, container: str) -> str:
    """Return the packet filter in a container's network namespace, from the kernel."""
    return Helpers(site.engine, site.settings.filter_image, site.settings.prefix).run(
        ["nft", "list", "ruleset"], network=f"container:{container}", capabilities=["NET_ADMIN"]
    )


@pytest.fixture
def next_guard(site: Site) -> Confinement:
    """Return the confinement of a guard that starts now and knows of no filters set before."""
    helpers = Helpers(site.engine, site.settings.filter_image, site.settings.prefix)
    confinement = Confinement(site.engine, helpers, site.settings)
    confinement.begin()
    return confinement


def test_a_server_that_runs_without_its_filter_gets_it(site: Site, next_guard: Confinement) -> None:
    """Such as one of a release without filters."""
    container = site.start("older")
    Helpers(site.engine, site.settings.filter_image, site.settings.prefix).run(
        ["nft", "delete table inet zhub"],
        network=f"container:{container}",
        capabilities=["NET_ADMIN"],
    )
    assert "policy drop" not in ruleset(site, container)
    next_guard.all()
    assert "policy drop" in ruleset(site, container)
    assert site.engine.inspect_container(container)["State"]["Running"]


def test_a_server_that_cannot_get_its_filter_is_removed(
    site: Site, client: docker.APIClient, caplog: pytest.LogCaptureFixture
) -> None:
    container = site.start("lost")
    # This image has no nft.
    broken = Confinement(client, Helpers(client, IMAGE, site.settings.prefix), site.settings)
    broken.again(container)
    assert not site.engine.containers(all=True, filters={"id": container})
    assert f"removing {site.settings.prefix}-user-lost: its packet filter" in caplog.text


def test_a_server_in_a_network_that_is_not_its_own_is_removed(
    site: Site, next_guard: Confinement
) -> None:
    container = site.start("stray")
    made = site.engine.create_network(f"{site.settings.prefix}-stray", labels=site.labels("stray"))
    site.engine.connect_container_to_network(container, made["Id"])
    next_guard.again(container)
    assert not site.engine.containers(all=True, filters={"id": container})


def test_a_server_with_a_filter_is_not_ended_because_a_newer_one_fails(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = site.start("lucky")
    moved(site, monkeypatch, "198.18.0.66")
    site.confinement.look()

    def fail(*_: Any, **__: Any) -> str:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Helpers, "run", fail)
        patch.setattr(filters, "table", lambda *_: "another")
        site.confinement.again(container)
    assert "keeps the filter it has, for now: the disk is full" in caplog.text
    assert site.engine.inspect_container(container)["State"]["Running"]


def moved(site: Site, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Make the guard see one more address of the engine's machine."""
    seen = Machine.seen(Helpers(site.engine, site.settings.filter_image, site.settings.prefix))
    more = replace(seen, addresses=seen.addresses | {IPv4Network(address)})
    monkeypatch.setattr(Machine, "seen", lambda _: more)
    monkeypatch.setattr(site.confinement, "_looked", float("-inf"))


def test_a_new_address_of_the_machine_is_closed_also_if_the_hub_asks_first(
    site: Site, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(site, monkeypatch, "203.0.113.77")
    found = site.engine.inspect_container(f"{site.settings.prefix}-hub")
    # The hub may ask at any time; the others must still get the change.
    site.confinement.hub_asks(found)
    site.confinement.look()
    site.confinement.all()
    assert "203.0.113.77" in ruleset(site, alice)


def test_no_users_network_hides_a_network_of_the_site(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The lower half of the part of the pool that the hub takes networks from here.
    half = IPv4Network("10.214.34.0/24")
    subnet, *_ = half.subnets(new_prefix=28)
    name, labels = (
        f"{site.settings.prefix}-user-neighbour",
        site.labels("user-network", "neighbour"),
    )
    hub = site.engine.inspect_container(f"{site.settings.prefix}-hub")["Id"][:12]
    networks = UserNetworks(
        site.hub, prefix=site.settings.prefix, hub=hub, pool=half.supernet(), internal=False
    )
    with lan(half) as office:
        assert office.reached
        # Docker itself takes the subnet, and the machine does not reach its neighbours any more.
        hides = site.engine.create_network(f"{name}-hides", ipam=addressing(subnet))["Id"]
        assert not office.reached
        site.engine.remove_network(hides)
        assert office.reached

        for _ in range(2):
            monkeypatch.setattr(site.confinement, "_looked", float("-inf"))
            site.confinement.look()
        said = [line for line in caplog.messages if str(half) in line]
        assert len(said) == 1
        assert f"has a route or an address in userNetworkPool ({POOL}): {half}. No" in said[0]
        more = {"driver": "bridge", "options": network_options(internal=False), "labels": labels}
        with pytest.raises(APIError, match="Pool overlaps with a network of the site"):
            site.hub.create_network(name, ipam=addressing(subnet), internal=False, **more)

        networks.open(name, labels)
        [made] = site.engine.networks(names=[name])
        assert made["IPAM"]["Config"][0]["Subnet"] == "10.214.35.0/28"
        assert office.reached
        networks.close(name)
    monkeypatch.setattr(site.confinement, "_looked", float("-inf"))
    site.confinement.look()
    assert not site.confinement.left_out


def test_another_pool_ends_no_server_that_runs(site: Site) -> None:
    alice, bob = site.start("stays"), site.start("stays2")
    hub = site.engine.inspect_container(f"{site.settings.prefix}-hub")
    helpers = Helpers(site.engine, site.settings.filter_image, site.settings.prefix)
    other = replace(site.settings, user_network_pool=IPv4Network("10.250.0.0/16"))
    after = Confinement(site.engine, helpers, other)
    try:
        after.begin()
        after.all()
        after.hub_asks(hub)
        assert "10.250.0.0/16" in ruleset(site, alice)
        address = address_of(site, alice)
        # Nothing listens: what gets through is refused, and what the filter stops is unreachable.
        assert "refused" in site.run(hub["Id"], f"exec 3<>/dev/tcp/{address}/8888")[1]
        assert "refused" not in site.run(bob, f"exec 3<>/dev/tcp/{address}/8888")[1]
    finally:
        again = Confinement(site.engine, helpers, site.settings)
        again.begin()
        again.all()


def address_of(site: Site, container: str) -> str:
    [endpoint] = site.engine.inspect_container(container)["NetworkSettings"]["Networks"].values()
    return str(endpoint["IPAddress"])


def test_a_server_that_is_restarted_by_hand_is_confined_soon(site: Site) -> None:
    container = site.start("restarted")
    watcher = threading.Thread(target=site.confinement.watch, daemon=True)
    watcher.start()
    site.engine.restart(container, timeout=0)
    wait_until(lambda: "policy drop" in ruleset(site, container), seconds=20)


def test_the_hub_is_confined_when_it_asks_for_it(site: Site) -> None:
    hub = f"{site.settings.prefix}-hub"
    for _ in range(2):
        engine.confine(site.hub)
        assert "tcp sport 11119" in ruleset(site, hub)
    before = len(site.engine.containers(all=True, filters={"label": "zhub.role=guard-helper"}))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: engine.confine(site.hub), range(50)))
    # Once the filter is set, further calls start no container.
    after = site.engine.containers(all=True, filters={"label": "zhub.role=guard-helper"})
    assert len(after) == before


def test_a_server_cannot_open_the_way_again(site: Site, alice: str) -> None:
    status, output = site.run(alice, "grep CapBnd /proc/self/status")
    assert (status, output.split()[1]) == (0, "0" * 16)


def test_without_its_filter_a_server_does_not_run(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    # This image has no nft.
    broken = Confinement(client, Helpers(client, IMAGE, site.settings.prefix), site.settings)
    stop = serving(
        Guard(client, site.policy, broken, site.folders, Audit(tmp_path)), tmp_path / "engine.sock"
    )
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        with pytest.raises(APIError) as caught:
            replace(site, hub=hub).start("broken")
        assert caught.value.status_code == 400
    stop()
    container = f"{site.settings.prefix}-user-broken"
    assert not client.containers(all=True, filters={"name": container})
    assert not client.containers(all=True, filters={"label": "zhub.role=guard-helper"})


def test_a_guard_that_cannot_set_filters_does_not_start(
    site: Site, client: docker.APIClient
) -> None:
    class Incapable(Helpers):
        def run(self, command: Any, *, network: str, **more: Any) -> str:
            return super().run(command, network=network)

    incapable = Incapable(client, site.settings.filter_image, site.settings.prefix)
    with pytest.raises(RuntimeError, match=r"cannot filter packets.*modprobe nf_tables"):
        Confinement(client, incapable, site.settings).begin()


def test_a_shared_folder_is_the_stacks_own_or_is_not_mounted(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "there" / "inner").mkdir(parents=True)
    (root / "link").symlink_to("/etc")
    (root / "there" / "out").symlink_to("../..")
    for name, owner, mode in (("anothers", 1001, 0o755), ("open", 0, 0o775)):
        (root / name / "data").mkdir(parents=True)
        (root / name).chmod(mode)
        os.chown(root / name, owner, owner)
    # Whoever's the folder itself is.
    os.chown(root / "there" / "inner", 1000, 1000)
    (root / "file").write_text("no folder")
    wrong = {
        "link/passwd": "link is a link",
        "there/out": "out is a link",
        "file": "file is no folder",
        "missing": "missing cannot be seen: No such file",
        "anothers/data": f"as root: chown root {root}/anothers && chmod go-w {root}/anothers",
        "open/data": rf"{root}/open \(owner 0, mode 775\)",
    }
    folders = [
        SharedFolder(name="new", read_only=False),
        SharedFolder(name="stolen", read_only=False),
        *(
            SharedFolder(name=f"at{number}", read_only=True, path=f"{root}/{path}")
            for number, path in enumerate(("there/inner", *wrong))
        ),
    ]
    found = replace(site.settings, shared_folders=tuple(folders), shared_root=str(root))
    # Somebody else's volume of that name, which is the machine's own folder.
    client.create_volume(
        f"{found.prefix}-shared_stolen",
        driver_opts={"type": "none", "o": "bind", "device": "/etc"},
        labels={"zhub.stack": found.prefix, "zhub.role": "shared", "zhub.folder": "stolen"},
    )
    shared = Folders(client, Helpers(client, found.filter_image, found.prefix), found)
    stop = serving(
        Guard(
            client,
            replace(site.policy, settings=found),
            site.confinement,
            shared,
            Audit(tmp_path),
        ),
        tmp_path / "engine.sock",
    )

    def start(folder: SharedFolder) -> dict[str, Any]:
        binds = {
            f"{found.prefix}-home-sharing": {"bind": "/home/jovyan", "mode": "rw"},
            folder.volume(found.prefix): {"bind": folder.target, "mode": folder.mode},
        }
        made = replace(site, hub=hub).create("sharing", binds=binds)
        mounts: list[dict[str, Any]] = client.inspect_container(made)["Mounts"]
        client.remove_container(made, force=True)
        return next(mount for mount in mounts if mount["Destination"] == folder.target)

    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        new, stolen, inner, *others = folders
        assert start(new)["RW"]
        found_volume = client.inspect_volume(new.volume(found.prefix))
        assert homes.plain(found_volume)
        mount = start(inner)
        assert (mount["Source"], mount["RW"]) == (f"{root}/there/inner", False)
        for folder, why in zip(
            [stolen, *others], ["is not this stack's", *wrong.values()], strict=True
        ):
            with pytest.raises(APIError, match=why) as caught:
                start(folder)
            assert caught.value.status_code == UNUSABLE
        os.chown(root / "anothers", 0, 0)
        assert start(others[-2])["Source"] == f"{root}/anothers/data"
    stop()


def test_helpers_of_a_killed_guard_are_removed_by_the_same_guard(
    site: Site, client: docker.APIClient
) -> None:
    """On a swarm's manager there are two guards, and a helper of the other one may be at work."""
    prefix, image = site.settings.prefix, site.settings.filter_image
    labels = {"zhub.stack": prefix, "zhub.role": "guard-helper"}
    by_release_before = client.create_container(image, labels=labels)["Id"]
    of_node = client.create_container(image, labels=labels | {"zhub.guard": "nodeguard"})["Id"]

    def there(container: str) -> bool:
        return bool(client.containers(all=True, filters={"id": container}))

    Helpers(client, image, prefix).sweep()
    assert not there(by_release_before)
    assert there(of_node)
    Helpers(client, image, prefix, guard="nodeguard").sweep()
    assert not there(of_node)


def test_a_server_has_no_network_until_it_runs(site: Site) -> None:
    """Otherwise it could use the network for a moment before its filter is set."""
    network = f"{site.settings.prefix}-user-early"
    container = site.create("early")
    site.networks.open(network, site.labels("user-network", "early"))
    site.engine.disconnect_container_from_network(container, "none")
    site.engine.connect_container_to_network(container, network)
    assert refused(lambda: site.hub.start(container))
    site.engine.disconnect_container_from_network(container, network)
    assert refused(lambda: site.hub.connect_container_to_network(container, network))


def test_a_server_gets_only_its_own_network_and_no_alias_or_address_of_choice(site: Site) -> None:
    others, own = f"{site.settings.prefix}-user-others", f"{site.settings.prefix}-user-trudy"
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
    assert probed(site, container, "169.254.169.254 80") <= REFUSED


def test_a_server_stops_and_its_network_goes(site: Site) -> None:
    container = site.start("brief")
    site.hub.stop(container, timeout=0)
    site.hub.remove_container(container)
    assert not site.engine.containers(all=True, filters={"id": container})
    site.networks.close(f"{site.settings.prefix}-user-brief")
    assert not site.engine.networks(names=[f"{site.settings.prefix}-user-brief"])


def test_a_hub_that_comes_back_is_attached_again(site: Site, alice: str) -> None:
    name = f"{site.settings.prefix}-user-alice"
    before = site.engine.inspect_container(f"{site.settings.prefix}-hub")
    site.engine.disconnect_container_from_network(before["Id"], name)
    site.networks.restore()
    after = site.engine.inspect_container(f"{site.settings.prefix}-hub")
    address = "IPAddress"
    assert (
        after["NetworkSettings"]["Networks"][name][address]
        == before["NetworkSettings"]["Networks"][name][address]
    )


def test_requests_beyond_the_policy_create_nothing(site: Site) -> None:
    for more in (
        {"privileged": True},
        {"binds": {"/": {"bind": "/home/jovyan", "mode": "rw"}}},
        {"network_mode": "host"},
        {"cap_add": ["SYS_ADMIN"]},
        {"pid_mode": "host"},
        {"mem_limit": "65M", "memswap_limit": "65M"},
        {"pids_limit": -1},
        {"init": True},
    ):
        assert refused(partial(site.create, "mallory", **more)), more
    assert not site.engine.containers(all=True, filters={"name": "mallory"})


def test_a_volume_that_is_a_folder_of_the_machine_is_not_mounted(site: Site) -> None:
    site.engine.create_volume(
        f"{site.settings.prefix}-home-trap",
        driver="local",
        driver_opts={"type": "none", "o": "bind", "device": "/etc"},
        labels=site.labels("home", "trap"),
    )
    assert refused(lambda: site.create("trap"))


def sites_folder(
    site: Site, client: docker.APIClient, path: Path, *, former: bool = False
) -> tuple[Site, Guard]:
    """A guard whose homes are in a folder of the machine, or were before, and its hub's site."""
    own = replace(site.settings, homes_path=str(path))
    if former:
        own = replace(site.settings, former_homes_paths=(str(path),))
    policy = replace(site.policy, settings=own)
    return replace(site, settings=own, policy=policy), Guard(
        client, policy, site.confinement, site.folders, Audit(path.parent)
    )


@contextmanager
def asked(site: Site, guard: Guard, folder: Path) -> Iterator[Site]:
    """The site of a hub that asks this guard, at a socket in the folder."""
    stop = serving(guard, folder / "engine.sock")
    with closing(docker.APIClient(f"unix://{folder}/engine.sock", version="auto")) as hub:
        try:
            yield replace(site, hub=hub)
        finally:
            stop()


def test_homes_are_made_and_mounted_in_the_sites_folder(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    path = tmp_path / "homes"
    path.mkdir(mode=0o700)
    there, guard = sites_folder(site, client, path)
    made = Homes(client, there.settings)
    made.check()
    size, free = made.disk()
    seen = os.statvfs(path)
    assert size == seen.f_blocks * seen.f_frsize
    # Other tests write meanwhile.
    assert free == pytest.approx(seen.f_bavail * seen.f_frsize, abs=4 << 30)
    stop = serving(guard, tmp_path / "engine.sock")
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        server = replace(there, hub=hub).create("apart")
        volume = f"{site.settings.prefix}-home-apart"
        [home] = path.iterdir()
        assert home.name == volume
        (home / "file").write_text("of apart")
        client.start(server)
        assert site.run(server, "cat /home/jovyan/file") == (0, "of apart")
        client.remove_container(server, force=True)

        # Who has a home from before goes on with it; the guard before does not mount these.
        client.remove_container(site.create("elsewhere"), force=True)
        client.remove_container(replace(there, hub=hub).create("elsewhere"), force=True)
        assert refused(lambda: site.create("apart"))

        # The folder is made for new homes only: its file system may not be mounted.
        (home / "file").unlink()
        home.rmdir()
        with pytest.raises(APIError, match=r"tell your administrator: .*no such file or directory"):
            # The engine mounts it at one of the two, by what the image has at the place of homes.
            hub.start(replace(there, hub=hub).create("apart"))
        assert not home.exists()
        with suppress(NotFound):
            client.remove_container(f"{site.settings.prefix}-user-apart", force=True)

        # A removed home leaves its files, and a link is followed by nobody.
        client.remove_volume(volume)
        home.symlink_to("/etc")
        with pytest.raises(APIError, match=r"tell your administrator: .*apart is a link"):
            replace(there, hub=hub).create("apart")
    stop()


def test_no_home_is_mounted_from_an_earlier_folder_that_others_opened(
    site: Site, client: docker.APIClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "homes"
    path.mkdir(mode=0o700)
    name, volume = f"{site.settings.prefix}-user-old", f"{site.settings.prefix}-home-old"
    with asked(*sites_folder(site, client, path), tmp_path) as before:
        client.remove_container(before.create("old"), force=True)
    [home] = path.iterdir()
    after, guard = sites_folder(site, client, path, former=True)
    own = Homes(client, after.settings)
    own.check()
    assert not caplog.text
    with asked(after, guard, tmp_path) as now:
        server = now.create("old")
        # Also one that is there, and is started again.
        path.chmod(0o777)
        fix = f"{path}, where homesPath was before: .*install -d -o root -g root -m 700 {path}"
        with pytest.raises(APIError, match=fix):
            now.hub.start(server)
        client.remove_container(server, force=True)
        with pytest.raises(APIError, match=fix):
            now.create("old")
        path.chmod(0o700)
        home.rename(tmp_path / "aside")
        home.symlink_to("/etc")
        with pytest.raises(APIError, match="home-old is a link"):
            now.create("old")
        home.unlink()
        (tmp_path / "aside").rename(home)
        client.remove_container(now.create("old"), force=True)
        # One that is away ends nothing.
        path.rename(tmp_path / "away")
        own.check()
        assert f"no server starts with a home in {path}: " in caplog.text
        with pytest.raises(APIError, match="where homesPath was before"):
            now.create("old")
    with suppress(NotFound):
        client.remove_container(name, force=True)
    client.remove_volume(volume)


@pytest.mark.parametrize("below", ["", "volumes", "missing"])
def test_a_guard_does_not_start_with_an_unusable_folder(
    site: Site, client: docker.APIClient, tmp_path: Path, below: str
) -> None:
    root = Path(client.info()["DockerRootDir"])
    path = tmp_path / "missing" if below == "missing" else root / below
    own = replace(site.settings, homes_path=str(path))
    with pytest.raises(RuntimeError, match=f"homesPath is {path}"):
        Homes(client, own).check()
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(("mode", "owner"), [(0o702, 0), (0o720, 0), (0o700, 1000)])
def test_a_guard_does_not_start_where_others_could_replace_homes_by_links(
    site: Site, client: docker.APIClient, tmp_path: Path, mode: int, owner: int
) -> None:
    path = tmp_path / "homes"
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, owner)
    own = replace(site.settings, homes_path=str(path))
    with pytest.raises(RuntimeError, match=f"install -d -o root -g root -m 700 {path}"):
        Homes(client, own).check()


FILES = """
cd /home/jovyan && mkdir -m 700 closed && head -c 3000000 /dev/urandom >closed/random
ln closed/random twice && truncate -s 1G hole
"""


def test_homes_are_counted_by_what_they_take_on_the_disk(
    site: Site, client: docker.APIClient
) -> None:
    server, volume = site.create("counted"), f"{site.settings.prefix}-home-counted"
    client.start(server)
    assert site.run(server, FILES) == (0, "")
    own = replace(site.settings, home_limit=1 << 20)
    sizes = Sizes(client, own, enforced=False, rest=lambda _: None)
    assert sizes.of(volume) is None
    sizes.count([volume])
    assert 3_000_000 <= sizes.of_users()["counted"] < 3_100_000
    assert sizes.of(volume) == sizes.of_users()["counted"]
    client.remove_container(server, force=True)
    client.remove_volume(volume)


def test_homes_in_the_sites_folder_are_counted_whether_its_mounts_are_shared_or_private(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    path, name = tmp_path / "homes", f"{site.settings.prefix}-home-placed"
    path.mkdir(mode=0o700)
    own = replace(site.settings, homes_path=str(path), home_limit=1 << 20)
    made = Homes(client, own)
    made.make(name, site.labels("home", "placed"))
    (path / name / "file").write_bytes(os.urandom(3_000_000))
    sizes = Sizes(client, own, enforced=made.limited, rest=lambda _: None)
    sizes.count([name])
    client.remove_volume(name)
    assert 3_000_000 <= sizes.of_users()["placed"] < 3_100_000


def test_a_home_of_the_engines_own_driver_is_in_the_sites_folder(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    """As with NFS, of which no machine of these tests can mount any."""
    path, name = tmp_path / "homes", f"{site.settings.prefix}-home-driven"
    path.mkdir(mode=0o700)
    options = ("type=none", "o=bind", f"device={path}/{{home}}")
    own = replace(site.settings, homes_driver="local", homes_options=options, home_limit=1 << 20)
    made = Homes(client, own)
    made.check()
    made.make(name, site.labels("home", "driven"))
    found = client.inspect_volume(name)
    assert homes.known(found, own)
    assert not homes.known(found, site.settings)
    (path / name / "file").write_bytes(os.urandom(3_000_000))
    sizes = Sizes(client, own, enforced=made.limited, rest=lambda _: None)
    sizes.count([name])
    client.remove_volume(name)
    assert 3_000_000 <= sizes.of_users()["driven"] < 3_100_000
    # Nothing is left of what was mounted to make the folder.
    assert not client.volumes(filters={"name": f"{site.settings.prefix}-homes"})["Volumes"]


def test_what_a_server_writes_outside_its_home_is_counted(
    site: Site, client: docker.APIClient
) -> None:
    server = site.create("writing")
    client.start(server)
    assert site.run(server, "head -c 3000000 /dev/urandom >/tmp/random") == (0, "")
    usage = Usage(client, site.settings.prefix)
    usage.renew_layers()
    written = {user: size for (user,), size in usage._layers.values()}
    assert 3_000_000 <= written["writing"] < 3_100_000
    client.remove_container(server, force=True)


def test_no_limit_is_promised_that_the_engines_file_system_does_not_keep(
    site: Site, client: docker.APIClient
) -> None:
    own = replace(site.settings, home_limit=1 << 30)
    tried = f"{site.settings.prefix}-tried"
    try:
        client.create_volume(tried, driver_opts={"size": "1M"})
    except APIError:
        pass
    else:
        client.remove_volume(tried)
        pytest.skip("the engine's file system has project quotas")
    assert not Homes(client, own).limited
    found = Homes(client, own).make(f"{site.settings.prefix}-home-new", site.labels("home", "new"))
    assert "size" not in found["Options"]
    client.remove_volume(found["Name"])


def test_servers_and_networks_beyond_the_limit_are_not_created(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    leaving = site.create("leaving")
    label = {"label": [f"zhub.stack={site.settings.prefix}", "zhub.role=notebook"]}
    number = len(client.containers(all=True, filters=label))
    full = replace(site.policy, settings=replace(site.settings, max_servers=number))
    stop = serving(
        Guard(client, full, site.confinement, site.folders, Audit(tmp_path)),
        tmp_path / "engine.sock",
    )
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        with pytest.raises(APIError) as caught:
            replace(site, hub=hub).create("toomany")
        assert caught.value.status_code == FULL
        assert caught.value.explanation == (
            f"The hub is full: {number} of {number} servers run. Try again later."
        )
        client.remove_container(leaving, force=True)
        replace(site, hub=hub).create("toomany")
        client.remove_container(f"{site.settings.prefix}-user-toomany", force=True)
    stop()


def test_servers_beyond_the_memory_for_all_are_not_created(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    """With the limits of the servers that are there, as the engine has them."""
    leaving = site.create("leaving")
    label = {"label": [f"zhub.stack={site.settings.prefix}", "zhub.role=notebook"]}
    taken = sum(
        client.inspect_container(found["Id"])["HostConfig"]["Memory"]
        for found in client.containers(all=True, filters=label)
    )
    full = replace(site.policy, settings=replace(site.settings, users_memory=str(taken)))
    stop = serving(
        Guard(client, full, site.confinement, site.folders, Audit(tmp_path)),
        tmp_path / "engine.sock",
    )
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        with pytest.raises(APIError) as caught:
            replace(site, hub=hub).create("toomuch")
        assert caught.value.status_code == FULL
        assert f"may take {taken >> 20} MiB of memory together" in str(caught.value)
        client.remove_container(leaving, force=True)
        replace(site, hub=hub).create("toomuch")
        client.remove_container(f"{site.settings.prefix}-user-toomuch", force=True)
    stop()


@pytest.fixture(scope="module")
def foreign(site: Site) -> Iterator[str]:
    """A foreign container; a container, a network and a volume have the same name."""
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


def test_a_second_network_of_the_same_name_is_refused(site: Site) -> None:
    """Two of a name could be neither counted nor addressed, nor removed by a restarted hub."""
    name, labels = f"{site.settings.prefix}-user-twin", site.labels("user-network", "twin")

    def make(subnet: IPv4Network) -> int:
        pools = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))])
        options = network_options(internal=site.settings.internal)
        try:
            site.hub.create_network(
                name, internal=site.settings.internal, ipam=pools, labels=labels, options=options
            )
        except APIError as error:
            return error.status_code or 0
        return 200

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(make, list(POOL.subnets(new_prefix=28))[-8:]))
    try:
        assert sorted(statuses) == [200, *[409] * 7]
        assert len(site.engine.networks(names=[f"^{name}$"])) == 1
    finally:
        for network in site.engine.networks(names=[f"^{name}$"]):
            site.engine.remove_network(network["Id"])


def test_foreign_objects_are_out_of_reach(site: Site, foreign: str, alice: str) -> None:
    hub = f"{site.settings.prefix}-hub"
    network = f"{site.settings.prefix}-user-alice"
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
        lambda: through.remove_volume(f"{site.settings.prefix}-home-alice"),
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
        lambda: through.create_volume(f"{site.settings.prefix}-state"),
        lambda: through.create_network(f"{site.settings.prefix}-user-x", driver="host"),
        lambda: through.networks(filters={"label": "zhub.stack=other"}),
    ]
    assert all(map(refused, calls))
    assert site.engine.inspect_container(foreign)["State"]["Running"]


def test_the_hub_learns_only_the_subnets_of_other_networks(site: Site, foreign: str) -> None:
    assert foreign not in json.dumps(site.hub.networks())
    [network] = site.hub.networks()
    assert set(network) == {"IPAM"}


HEAD = "Host: guard\r\nContent-Type: application/json\r\n"


def request(line: str, *headers: str, body: str = "") -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"{line} HTTP/1.1\r\n{HEAD}{lines}\r\n{body}".encode()


#: {v} is the API's version, {c} a user's running container.
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
def test_no_bytes_stop_the_guard(site: Site, sent: bytes) -> None:
    answer = site.ask(sent, seconds=0.1)
    assert not answer.startswith(b"HTTP/1.1 5")
    assert site.lives


def test_slow_clients_are_dropped_and_keep_nobody_waiting(site: Site) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(MAX_OPEN - 1)]
    try:
        for number, connection in enumerate(slow):
            connection.connect(str(site.path))
            head = b"POST /v1.41/volumes/create HTTP/1.1\r\nHost: x\r\n"
            # Half of them never finish the head, the others never the body.
            connection.sendall(head + (b"" if number % 2 else b"Content-Length: 9\r\n\r\n{"))
        begin = time.monotonic()
        assert site.lives
        assert time.monotonic() - begin < 2
        for connection in slow:
            connection.settimeout(max(0.1, begin + 2 * CLIENT_SECONDS - time.monotonic()))
            # The guard closes the connection; a timeout would be an error.
            while connection.recv(4096):
                pass
    finally:
        for connection in slow:
            connection.close()
