"""Attacks over the network, from a user's server."""

from __future__ import annotations

import os
import socket
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.images.conftest import wait_until

pytestmark = pytest.mark.engine

#: Where clouds tell a machine its credentials. The engine gives it to its own machine here.
METADATA = "169.254.169.254"

CONNECT = textwrap.dedent(
    """
    import errno, os, socket
    # Where the machine has no name servers that answer, names nobody has take long.
    os.environ["RES_OPTIONS"] = "timeout:3 attempts:1"
    from concurrent.futures import ThreadPoolExecutor
    def connect(target):
        try:
            socket.create_connection(target, timeout=5).close()
        except OSError as error:
            return errno.errorcode.get(error.errno, type(error).__name__)
        return "reached"
    with ThreadPoolExecutor(8) as threads:
        result = list(threads.map(connect, targets))
    """
)


def connected(tenant: Tenant, *targets: tuple[str, int]) -> dict[tuple[str, int], str]:
    """What became of connections from a user's server, by their target."""
    return dict(zip(targets, tenant.run(CONNECT, targets=targets), strict=True))


def test_another_users_server_does_not_answer_by_any_name_or_address(
    mallory: Tenant, alice: Tenant
) -> None:
    names = [
        "alice",
        alice.name,
        f"{alice.name}.{alice.name}",
        alice.container_id[:12],
        alice.container.attrs["Config"]["Hostname"],
    ]
    hosts = [*names, alice.address, f"::ffff:{alice.address}"]
    # That it is there, under this address, it says itself.
    assert set(connected(alice, (alice.address, 8888)).values()) == {"reached"}
    own = connected(mallory, (mallory.name, 8888), (f"::ffff:{mallory.address}", 8888))
    assert set(own.values()) == {"reached"}

    found = connected(mallory, *((host, 8888) for host in hosts))
    assert "reached" not in found.values(), found
    assert found[alice.address, 8888] == "EACCES"


def test_the_hub_answers_in_the_users_own_network_only(
    entrance: Entrance, mallory: Tenant, alice: Tenant
) -> None:
    ports = (8081, entrance.port)
    assert set(connected(alice, *((alice.hub_address, port) for port in ports)).values()) == {
        "reached"
    }
    found = connected(mallory, *((alice.hub_address, port) for port in ports))
    assert set(found.values()) == {"EACCES"}
    # In the own network it does, but not the API of its proxy.
    assert list(connected(mallory, ("hub", 8081), ("hub", 8001)).values()) == [
        "reached",
        "ECONNREFUSED",
    ]


LISTEN = textwrap.dedent(
    """
    import socket, struct
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    group = struct.pack("4s4s", socket.inet_aton("239.1.2.3"), socket.inet_aton(address))
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    result = None
    """
)

CALL = textwrap.dedent(
    """
    import socket
    caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    caller.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
    for host in hosts:
        try:
            caller.sendto(f"{name} to {host}".encode(), (host, port))
        except OSError as error:
            print(host, error)
    result = None
    """
)

HEAR = textwrap.dedent(
    """
    listener.settimeout(2)
    result = []
    try:
        while True:
            result.append(listener.recv(100).decode())
    except TimeoutError:
        listener.close()
    """
)


def test_a_broadcast_of_one_user_is_not_heard_by_another(mallory: Tenant, alice: Tenant) -> None:
    def broadcasts(tenant: Tenant) -> list[str]:
        [network] = tenant.container.attrs["NetworkSettings"]["Networks"].values()
        parts = [int(part) for part in network["IPAddress"].split(".")]
        parts[3] |= 2 ** (32 - network["IPPrefixLen"]) - 1
        return ["239.1.2.3", ".".join(map(str, parts))]

    for tenant in (alice, mallory):
        tenant.run(LISTEN, port=9999, address=tenant.address)
    further = [alice.address, "10.213.255.255", "255.255.255.255", "224.0.0.1"]
    everywhere = [*broadcasts(mallory), *broadcasts(alice), *further]
    mallory.run(CALL, name="mallory", hosts=everywhere, port=9999)
    alice.run(CALL, name="alice", hosts=broadcasts(alice), port=9999)
    # The own ones come back: the calls are real, and would be heard.
    heard = set(mallory.run(HEAR))
    assert heard >= {f"mallory to {host}" for host in broadcasts(mallory)}
    assert not [text for text in heard if "alice" in text]
    assert set(alice.run(HEAR)) == {f"alice to {host}" for host in broadcasts(alice)}


IPV6 = textwrap.dedent(
    """
    import os, socket
    table = "/proc/net/if_inet6"
    lines = open(table).read().splitlines() if os.path.exists(table) else []
    result = [line for line in lines if line.split()[-1] != "lo"]
    """
)


def test_there_is_no_ipv6_to_go_round_by(mallory: Tenant, alice: Tenant) -> None:
    assert mallory.run(IPV6) == []
    assert alice.run(IPV6) == []
    machine = [str(info[4][0]) for info in socket.getaddrinfo("::1", 1, socket.AF_INET6)]
    with socket.create_server(("::", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("::1", port), timeout=5).close()
        hosts = [*machine, *ipv6_of_this_machine(), "fe80::1%eth0", "ff02::1%eth0"]
        found = connected(mallory, *((host, port) for host in hosts))
    assert "reached" not in found.values(), found


def ipv6_of_this_machine() -> list[str]:
    """Its addresses, without those that mean something on one link only."""
    addresses = [line.split()[0] for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    texts = [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(text)) for text in addresses]
    return [text for text in texts if not text.startswith("fe80")]


@pytest.fixture(scope="module")
def machine(stack: Stack, engine: docker.DockerClient) -> Iterator[tuple[int, list[str]]]:
    """A service of the engine's machine on all its addresses: its port, and the addresses.

    One of them is where clouds have their metadata.
    """
    if os.environ.get("DOCKER_HOST", "unix://")[:5] != "unix:":
        pytest.skip("the engine is on another machine")
    link = engine.networks.create(
        f"{stack.prefix}-metadata",
        labels={"zhub.stack": stack.prefix, "zhub.role": "metadata"},
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="169.254.169.0/24", gateway=METADATA)]),
    )
    with socket.create_server(("0.0.0.0", 0), backlog=100) as listener:  # noqa: S104
        threading.Thread(target=accept, args=[listener], daemon=True).start()
        gateways = [
            config["Gateway"]
            for network in engine.networks.list()
            for config in network.attrs["IPAM"]["Config"] or ()
            if "Gateway" in config and "." in config["Gateway"]
        ]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:
            outgoing.connect(("203.0.113.1", 9))
            own = outgoing.getsockname()[0]
        yield listener.getsockname()[1], [METADATA, own, *gateways]
    link.remove()


def accept(listener: socket.socket) -> None:
    """Accept and close, so that connections that are let through are seen as such."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()


def reached_by_shell(container: Container, host: str, port: int) -> bool:
    probe = ["timeout", "5", "bash", "-c", f"</dev/tcp/{host}/{port}"]
    return bool(container.exec_run(probe).exit_code == 0)


def test_the_engines_machine_and_the_clouds_metadata_do_not_answer(
    machine: tuple[int, list[str]], mallory: Tenant, alice: Tenant, outsider: Container
) -> None:
    port, addresses = machine
    hosts = sorted({*addresses, mallory.gateway, alice.gateway})
    for host in (METADATA, "172.17.0.1"):
        assert reached_by_shell(outsider, host, port), f"nobody reaches {host}: no proof"
    found = connected(mallory, *((host, port) for host in hosts))
    assert set(found.values()) == {"EACCES"}, found


def test_what_others_publish_on_the_machine_does_not_answer(
    entrance: Entrance,
    machine: tuple[int, list[str]],
    mallory: Tenant,
    outsider: Container,
) -> None:
    def serves() -> bool:
        outsider.reload()
        return reached_by_shell(outsider, "127.0.0.1", 8000)

    wait_until(serves, seconds=60)
    port = int(outsider.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"])
    for host in machine[1]:
        socket.create_connection((host, port), timeout=5).close()
    inside: dict[str, Any] = outsider.attrs["NetworkSettings"]["Networks"]["bridge"]
    targets = [
        *((host, port) for host in machine[1]),
        *((host, entrance.port) for host in machine[1]),
        (inside["IPAddress"], 8000),
    ]
    found = connected(mallory, *targets)
    assert set(found.values()) == {"EACCES"}, found


def test_the_directory_does_not_answer(directory: Container, mallory: Tenant) -> None:
    networks = directory.attrs["NetworkSettings"]["Networks"].values()
    targets = [(n["IPAddress"], port) for n in networks for port in (389, 636)]
    assert set(connected(mallory, *targets).values()) == {"EACCES"}


def test_no_names_of_others_stand_in_the_servers_files(mallory: Tenant, alice: Tenant) -> None:
    code = "result = open('/etc/hosts').read() + open('/etc/resolv.conf').read()"
    text = mallory.run(code)
    assert mallory.address in text
    for name in ("alice", alice.address, alice.container_id[:12], alice.hub_address):
        assert name not in text
