"""Attacks over the network, from a user's server."""

from __future__ import annotations

import socket
import textwrap
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.built import wait_until
from tests.engine.attacks.conftest import (
    METADATA,
    REFUSED,
    SOCKETS,
    Machine,
    Tenant,
    emulated,
    outsiders,
    reached_by_shell,
)
from tests.engine.people import Entrance

pytestmark = pytest.mark.engine

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
    """Return results of connections from a user's server, by target."""
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
    # The other server itself shows that it listens at this address.
    assert set(connected(alice, (alice.address, 8888)).values()) == {"reached"}
    own = connected(mallory, (mallory.name, 8888), (f"::ffff:{mallory.address}", 8888))
    assert set(own.values()) == {"reached"}

    found = connected(mallory, *((host, 8888) for host in hosts))
    assert "reached" not in found.values(), found
    assert found[alice.address, 8888] == REFUSED


def test_the_hub_answers_in_the_users_own_network_only(
    entrance: Entrance, mallory: Tenant, alice: Tenant
) -> None:
    ports = (8081, entrance.port, 8001)
    own = connected(alice, *((alice.hub_address, port) for port in ports))
    assert list(own.values()) == ["reached", REFUSED, REFUSED]
    found = connected(mallory, *((alice.hub_address, port) for port in ports))
    assert set(found.values()) == {REFUSED}
    assert list(connected(mallory, ("hub", 8081)).values()) == ["reached"]


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
    # On the server's own loopback they are received: the calls work.
    own = "127.255.255.255"
    further = [alice.address, "10.213.255.255", "255.255.255.255", "224.0.0.1"]
    everywhere = [own, *broadcasts(mallory), *broadcasts(alice), *further]
    mallory.run(CALL, name="mallory", hosts=everywhere, port=9999)
    alice.run(CALL, name="alice", hosts=broadcasts(alice), port=9999)
    assert mallory.run(HEAR) == [f"mallory to {own}"]
    assert alice.run(HEAR) == []


IPV6 = textwrap.dedent(
    """
    import os, socket
    table = "/proc/net/if_inet6"
    lines = open(table).read().splitlines() if os.path.exists(table) else []
    result = [line for line in lines if line.split()[-1] != "lo"]
    """
)


def test_ipv6_is_no_way_around_the_filter(mallory: Tenant, alice: Tenant) -> None:
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
    """Return this machine's addresses, except link-local ones."""
    addresses = [line.split()[0] for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    texts = [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(text)) for text in addresses]
    return [text for text in texts if not text.startswith("fe80")]


def test_the_engines_machine_and_the_clouds_metadata_do_not_answer(
    machine: Machine, mallory: Tenant, alice: Tenant, outsider: Container
) -> None:
    port = machine.port
    hosts = sorted({*machine.addresses, mallory.gateway, alice.gateway})
    for host in (METADATA, machine.bridge):
        assert reached_by_shell(outsider, host, port), f"nobody reaches {host}: no proof"
    found = connected(mallory, *((host, port) for host in hosts))
    assert set(found.values()) == {REFUSED}, found


def test_no_option_of_a_socket_connects_to_the_engines_machine(
    machine: Machine, mallory: Tenant, alice: Tenant, outsider: Container
) -> None:
    """A socket that names its device bypasses routes: Linux then looks for a neighbour."""
    control = outsiders(outsider, f"connections('{machine.bridge}', {machine.port})")
    ways = {way for way, result in control.items() if result == "reached"}
    assert ways >= {"plain", "device", "device, no route", "IPv4 in IPv6"}, control
    # QEMU's user emulation lacks some options; natively all of them work.
    assert "interface" in ways or emulated(outsider), control
    call = f"{SOCKETS}\nresult = {{host: connections(host, port) for host in hosts}}"
    hosts = sorted({*machine.addresses, mallory.gateway, alice.gateway})
    found = mallory.run(call, hosts=hosts, port=machine.port)
    assert not [(h, w) for h in hosts for w, result in found[h].items() if result == "reached"]
    found = mallory.run(call, hosts=[alice.address], port=8888)
    assert "reached" not in found[alice.address].values(), found


def test_no_kind_of_datagram_reaches_the_engines_machine(
    machine: Machine, mallory: Tenant, alice: Tenant, outsider: Container
) -> None:
    control = outsiders(outsider, f"datagrams('{machine.bridge}', {machine.port}, 'outsider')")
    wait_until(lambda: "outsider fragments" in machine.heard, seconds=10)
    known = ["plain", "device", "device, no route", "no route, once"]
    if not emulated(outsider):
        known += ["interface", "ancillary interface"]
    for way in known:
        assert f"outsider {way}" in machine.heard, (way, control)
    assert control["ping"] == "sent"
    hosts = sorted({*machine.addresses, mallory.gateway, alice.gateway})
    code = f"{SOCKETS}\nresult = {{host: datagrams(host, port, 'mallory') for host in hosts}}"
    found = mallory.run(code, hosts=hosts, port=machine.port)
    outsiders(outsider, f"datagrams('{machine.bridge}', {machine.port}, 'last')")
    wait_until(lambda: "last plain" in machine.heard, seconds=10)
    assert not [text for text in machine.heard if text.startswith("mallory")]
    assert {found[host]["ping"] for host in hosts}.isdisjoint({"sent"})
    assert {found[host]["frame"] for host in hosts} == {"EPERM"}


def test_published_ports_of_other_containers_do_not_answer(
    entrance: Entrance,
    machine: Machine,
    mallory: Tenant,
    outsider: Container,
) -> None:
    def serves() -> bool:
        outsider.reload()
        return reached_by_shell(outsider, "127.0.0.1", 8000)

    wait_until(serves, seconds=60)
    port = int(outsider.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"])
    for host in machine.addresses:
        socket.create_connection((host, port), timeout=5).close()
    inside: dict[str, Any] = outsider.attrs["NetworkSettings"]["Networks"]["bridge"]
    targets = [
        *((host, port) for host in machine.addresses),
        *((host, entrance.port) for host in machine.addresses),
        (inside["IPAddress"], 8000),
    ]
    found = connected(mallory, *targets)
    assert set(found.values()) == {REFUSED}, found


def test_the_directory_does_not_answer(
    directory: Container, hub: Container, mallory: Tenant
) -> None:
    networks = directory.attrs["NetworkSettings"]["Networks"].values()
    targets = [(n["IPAddress"], port) for n in networks for port in (389, 636)]
    assert all(reached_by_shell(hub, host, port) for host, port in targets if port == 389)
    assert set(connected(mallory, *targets).values()) == {REFUSED}


def test_the_servers_files_name_no_other_hosts(mallory: Tenant, alice: Tenant) -> None:
    code = "result = open('/etc/hosts').read() + open('/etc/resolv.conf').read()"
    # Whole words: 10.213.0.3 is no part of 10.213.0.35.
    words = mallory.run(code).split()
    assert mallory.address in words
    assert "alice" not in " ".join(words)
    for name in (alice.address, alice.container_id[:12], alice.hub_address):
        assert name not in words
