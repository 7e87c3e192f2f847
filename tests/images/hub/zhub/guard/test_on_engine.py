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
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool
from docker.utils import kwargs_from_env
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from zhub import engine, settings
from zhub.contract import FULL, NO_NETWORK, network_options
from zhub.guard import filters
from zhub.guard.calls import Guard
from zhub.guard.confinement import Confinement
from zhub.guard.environment import Image
from zhub.guard.helpers import Helpers
from zhub.guard.listener import CLIENT_SECONDS, MAX_OPEN
from zhub.guard.machine import Machine
from zhub.guard.policy import Policy
from zhub.guard.seccomp import PROFILE
from zhub.guard.server import listen
from zhub.servers.networks import UserNetworks
from zhub.settings import GuardSettings

from tests.built import Images, bridge_address, wait_until
from tests.images.hub import spawned

pytestmark = pytest.mark.engine

#: Of these tests alone.
POOL = IPv4Network("10.214.32.0/22")
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
    confinement: Confinement
    notebook: str
    """An image with Python."""

    @property
    def networks(self) -> UserNetworks:
        """The users' networks, as the hub makes them."""
        return UserNetworks(
            self.hub,
            prefix=self.told.prefix,
            # As its container's host name, which is how a hub knows itself.
            hub=self.engine.inspect_container(f"{self.told.prefix}-hub")["Id"][:12],
            pool=POOL,
            internal=self.told.internal,
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
    with closing(docker.APIClient(version="auto", **kwargs_from_env())) as client:
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
    confinement = Confinement(client, Helpers(client, images.filter, prefix), told)
    confinement.begin()
    path = tmp_path_factory.mktemp("guard") / "engine.sock"
    policy = Policy(told, Image.of_engine(client, idle))
    stop = serving(Guard(client, policy, confinement), path)
    with closing(docker.APIClient(f"unix://{path}", version="auto", timeout=120)) as through:
        yield Site(client, through, path, told, policy, confinement, images.notebook)
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
    # Not null: then an engine could have one for every container.
    assert host["Init"] is False
    assert [mount["Name"] for mount in found["Mounts"]] == [f"{site.told.prefix}-home-alice"]
    assert set(found["NetworkSettings"]["Networks"]) == {f"{site.told.prefix}-user-alice"}
    status, output = site.run(alice, "grep CapEff /proc/self/status")
    assert (status, output.split()[1]) == (0, "0" * 16)


#: Closed: the cloud's metadata and services, the site, the engine's machine by several addresses,
#: what was configured.
CLOSED = [
    "169.254.169.254",
    "168.63.129.16",
    "161.26.0.10",
    "166.9.14.5",
    "198.51.100.7",
    "172.16.199.9",
    "10.98.2.3",
]

#: Connects as plainly as can be, with a device named, and from an address of its own choice.
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
    """What becomes of connections from a container's network, each tried in several ways."""
    helpers = Helpers(site.engine, site.notebook, site.told.prefix)
    command = ["/usr/bin/python3", "-I", "-c", PROBE, *targets]
    return set(helpers.run(command, network=f"container:{container}").splitlines())


def elsewhere(site: Site, host: str) -> None:
    """Have the engine lead packets for a host into a network of its own, where nobody is.

    It keeps its networks apart, so that nothing of what is tried here ever leaves the machine.
    """
    subnet = IPv4Network((host, 28), strict=False)
    if not site.engine.networks(names=[f"{site.told.prefix}-{subnet[0]}"]):
        site.engine.create_network(
            f"{site.told.prefix}-{subnet[0]}",
            labels=site.labels("elsewhere"),
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
        )


def test_a_server_reaches_the_hub_but_neither_the_engines_machine_nor_its_site(
    site: Site, alice: str, client: docker.APIClient
) -> None:
    network = site.engine.inspect_network(f"{site.told.prefix}-user-alice")
    gateway = str(IPv4Network(network["IPAM"]["Config"][0]["Subnet"])[1])
    seen = Machine.seen(Helpers(client, site.told.filter_image, "x"))
    own = [str(network[0]) for network in seen.addresses]
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - what must not be reached
        port = listener.getsockname()[1]
        hosts = [*CLOSED, gateway, bridge_address(client), *own]
        for host in CLOSED:
            elsewhere(site, host)
        targets = [f"{where} {port}" for host in hosts for where in (host, f"::ffff:{host}")]
        assert probed(site, alice, *targets) <= REFUSED
    # What proves that the probe can tell: refused by the hub, where nothing listens.
    assert "Connection refused" in probed(site, alice, "hub 8081")
    assert probed(site, alice, "hub 8001") <= REFUSED
    # Nobody is there, but the way is open.
    for host in ("203.0.113.9", "10.99.0.9"):
        elsewhere(site, host)
        assert "TimeoutError" in probed(site, alice, f"{host} 9")


def test_the_filter_is_there_before_the_network(site: Site) -> None:
    """Whatever runs in a server, a captured hub's command too, never has one without the other."""
    container = site.create("earlybird")
    site.hub.start(container)
    name = f"{site.told.prefix}-user-earlybird"
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


def ruleset(site: Site, container: str) -> str:
    """The packet filter in a container's network namespace, as its kernel has it."""
    return Helpers(site.engine, site.told.filter_image, site.told.prefix).run(
        ["nft", "list", "ruleset"], network=f"container:{container}", capabilities=["NET_ADMIN"]
    )


@pytest.fixture
def next_guard(site: Site) -> Confinement:
    """What a guard that is started now knows: nothing of what another has set."""
    helpers = Helpers(site.engine, site.told.filter_image, site.told.prefix)
    confinement = Confinement(site.engine, helpers, site.told)
    confinement.begin()
    return confinement


def test_a_server_that_runs_without_its_filter_gets_it(site: Site, next_guard: Confinement) -> None:
    """One of a release that had none, for example."""
    container = site.start("older")
    Helpers(site.engine, site.told.filter_image, site.told.prefix).run(
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
    broken = Confinement(client, Helpers(client, IMAGE, site.told.prefix), site.told)
    broken.again(container)
    assert not site.engine.containers(all=True, filters={"id": container})
    assert f"removing {site.told.prefix}-user-lost, whose way out" in caplog.text


def test_a_server_in_a_network_that_is_not_its_own_is_removed(
    site: Site, next_guard: Confinement
) -> None:
    container = site.start("stray")
    made = site.engine.create_network(f"{site.told.prefix}-stray", labels=site.labels("stray"))
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
    """Give the engine's machine one more address, as far as the guard sees."""
    seen = Machine.seen(Helpers(site.engine, site.told.filter_image, site.told.prefix))
    more = replace(seen, addresses=seen.addresses | {IPv4Network(address)})
    monkeypatch.setattr(Machine, "seen", lambda _: more)
    monkeypatch.setattr(site.confinement, "_looked", float("-inf"))


def test_a_new_address_of_the_machine_is_closed_whoever_hears_of_it_first(
    site: Site, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(site, monkeypatch, "203.0.113.77")
    found = site.engine.inspect_container(f"{site.told.prefix}-hub")
    # The hub asks at any time; what it hears is not lost for the others.
    site.confinement.hub_asks(found)
    site.confinement.look()
    site.confinement.all()
    assert "203.0.113.77" in ruleset(site, alice)


def test_a_server_that_is_restarted_by_hand_is_confined_soon(site: Site) -> None:
    container = site.start("restarted")
    watcher = threading.Thread(target=site.confinement.watch, daemon=True)
    watcher.start()
    site.engine.restart(container, timeout=0)
    wait_until(lambda: "policy drop" in ruleset(site, container), seconds=20)


def test_the_hub_is_confined_when_it_asks_for_it(site: Site) -> None:
    hub = f"{site.told.prefix}-hub"
    for _ in range(2):
        engine.confine(site.hub)
        assert "tcp sport 11119" in ruleset(site, hub)
    before = len(site.engine.containers(all=True, filters={"label": "zhub.role=guard-helper"}))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: engine.confine(site.hub), range(50)))
    # Once it has its filter, to ask again starts nothing, however often.
    after = site.engine.containers(all=True, filters={"label": "zhub.role=guard-helper"})
    assert len(after) == before


def test_a_server_cannot_open_the_way_again(site: Site, alice: str) -> None:
    status, output = site.run(alice, "grep CapBnd /proc/self/status")
    assert (status, output.split()[1]) == (0, "0" * 16)


def test_without_its_filter_a_server_does_not_run(
    site: Site, client: docker.APIClient, tmp_path: Path
) -> None:
    # This image has no nft.
    broken = Confinement(client, Helpers(client, IMAGE, site.told.prefix), site.told)
    stop = serving(Guard(client, site.policy, broken), tmp_path / "engine.sock")
    with closing(docker.APIClient(f"unix://{tmp_path}/engine.sock", version="auto")) as hub:
        with pytest.raises(APIError) as caught:
            replace(site, hub=hub).start("broken")
        assert caught.value.status_code == 400
    stop()
    container = f"{site.told.prefix}-user-broken"
    assert not client.containers(all=True, filters={"name": container})
    assert not client.containers(all=True, filters={"label": "zhub.role=guard-helper"})


def test_a_guard_that_could_confine_nothing_does_not_begin(
    site: Site, client: docker.APIClient
) -> None:
    class Incapable(Helpers):
        def run(self, command: Any, *, network: str, capabilities: Any = ()) -> str:
            return super().run(command, network=network)

    incapable = Incapable(client, site.told.filter_image, site.told.prefix)
    with pytest.raises(RuntimeError, match=r"cannot filter packets.*modprobe nf_tables"):
        Confinement(client, incapable, site.told).begin()


def test_what_a_killed_guard_has_left_is_removed(site: Site, client: docker.APIClient) -> None:
    helpers = Helpers(client, site.told.filter_image, site.told.prefix)
    left = client.create_container(
        site.told.filter_image,
        labels={"zhub.stack": site.told.prefix, "zhub.role": "guard-helper"},
    )
    helpers.sweep()
    assert not client.containers(all=True, filters={"id": left["Id"]})


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
    assert probed(site, container, "169.254.169.254 80") <= REFUSED


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
        {"init": True},
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
    stop = serving(Guard(client, full, site.confinement), tmp_path / "engine.sock")
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


def test_a_network_s_name_is_given_once(site: Site) -> None:
    """Two of a name could be neither counted nor named, nor removed by a hub that starts anew."""
    name, labels = f"{site.told.prefix}-user-twin", site.labels("user-network", "twin")

    def make(subnet: IPv4Network) -> int:
        pools = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))])
        options = network_options(internal=site.told.internal)
        try:
            site.hub.create_network(
                name, internal=site.told.internal, ipam=pools, labels=labels, options=options
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
