"""The users' networks, on the real engine, with plain containers for hub and notebooks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from itertools import islice
from typing import Any

import docker
import pytest
from docker.utils import kwargs_from_env
from hypothesis import given
from hypothesis import strategies as st
from zhub.servers.networks import UserNetworks
from zhub.subnets import free_subnets

from tests.built import bridge_address

#: Of this test alone; small, so that running out of it can be seen.
POOL = IPv4Network("10.214.7.0/26")
IMAGE = "zhub-base:trixie-build"


def test_subnets_come_lowest_first_and_leave_out_what_is_taken() -> None:
    taken = ["10.214.7.0/28", "10.214.7.40/29", "172.17.0.0/16", "fd00::/8"]
    assert [str(subnet) for subnet in free_subnets(POOL, taken)] == [
        "10.214.7.16/28",
        "10.214.7.48/28",
    ]


def test_a_network_around_the_pool_takes_all_of_it() -> None:
    assert not list(free_subnets(POOL, ["10.0.0.0/8"]))


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(20, 30)).map(
            lambda part: str(IPv4Network((f"10.213.{part[0]}.0", part[1]), strict=False))
        )
    )
)
def test_no_subnet_overlaps_what_is_taken(taken: list[str]) -> None:
    for subnet in islice(free_subnets(IPv4Network("10.213.0.0/16"), taken), 20):
        assert not any(subnet.overlaps(IPv4Network(network)) for network in taken)


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    client = docker.APIClient(version="auto", **kwargs_from_env())
    yield client
    client.close()


Run = Callable[..., str]


@pytest.fixture
def prefix(client: docker.APIClient) -> Iterator[str]:
    """A prefix of this test alone; what carries it is removed."""
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    yield name
    label = {"label": f"zhub.stack={name}"}
    for container in client.containers(all=True, filters=label):
        client.remove_container(container["Id"], force=True)
    for network in client.networks(filters=label):
        client.remove_network(network["Id"])


@pytest.fixture
def run(client: docker.APIClient, prefix: str) -> Run:
    """Starts a container that does nothing, in a network."""

    def start(name: str, network: str = "bridge") -> str:
        container = client.create_container(
            IMAGE,
            ["sleep", "600"],
            name=f"{prefix}-{name}",
            labels={"zhub.stack": prefix},
            host_config=client.create_host_config(network_mode=network),
        )
        client.start(container["Id"])
        return str(container["Id"])

    return start


@pytest.fixture
def networks(client: docker.APIClient, prefix: str, run: Run) -> Callable[..., UserNetworks]:
    """The users' networks of a hub that runs in a container of the given name."""

    def make(hub: str = "hub", *, internal: bool = False) -> UserNetworks:
        run(hub)
        return UserNetworks(
            client, prefix=prefix, hub=f"{prefix}-{hub}", pool=POOL, internal=internal
        )

    return make


def labels(prefix: str) -> dict[str, str]:
    return {"zhub.stack": prefix, "zhub.role": "user-network"}


def addresses(client: docker.APIClient, network: str) -> dict[str, str]:
    """Address of each container in a network, by the container's name."""
    inspected: dict[str, Any] = client.inspect_network(network)
    return {
        member["Name"]: member["IPv4Address"].split("/")[0]
        for member in inspected["Containers"].values()
    }


def succeeds(client: docker.APIClient, container: str, command: str) -> bool:
    execution = client.exec_create(container, ["bash", "-c", command])["Id"]
    client.exec_start(execution)
    return bool(client.exec_inspect(execution)["ExitCode"] == 0)


@pytest.mark.engine
def test_a_network_has_the_hub_and_its_labels(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks]
) -> None:
    user = f"{prefix}-user-alice"
    of_hub = networks()
    of_hub.open(user, labels(prefix))
    of_hub.open(user, labels(prefix))
    assert addresses(client, user) == {f"{prefix}-hub": "10.214.7.2"}
    assert client.inspect_network(user)["Labels"] == labels(prefix)


@pytest.mark.engine
def test_users_reach_the_hub_by_name_and_nobody_else(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks], run: Run
) -> None:
    of_hub = networks()

    def start(name: str) -> str:
        """As the spawner does it: the server runs before it has a network."""
        container = run(f"user-{name}", "none")
        of_hub.join(f"{prefix}-user-{name}", labels(prefix), container)
        return container

    alice, bob = start("alice"), start("bob")
    address = addresses(client, f"{prefix}-user-bob")[f"{prefix}-user-bob"]
    assert succeeds(client, alice, "getent hosts hub")
    assert not succeeds(client, alice, f"getent hosts {prefix}-user-bob")
    # Nothing listens, so an open way is a refused connection and a closed one is silence.
    probe = f"timeout 3 bash -c '</dev/tcp/{address}/9' 2>&1 | grep -q refused"
    assert succeeds(client, bob, probe)
    assert not succeeds(client, alice, probe)


@pytest.mark.engine
def test_a_closed_network_is_gone_even_with_somebody_in_it(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks], run: Run
) -> None:
    user = f"{prefix}-user-alice"
    of_hub = networks()
    of_hub.open(user, labels(prefix))
    run("guest", user)
    of_hub.close(user)
    of_hub.close(user)
    assert not client.networks(names=[user])


@pytest.mark.engine
def test_a_new_hub_takes_the_place_of_the_old_one(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks], run: Run
) -> None:
    old = networks("old")
    for name in ("alice", "gone"):
        old.open(f"{prefix}-user-{name}", labels(prefix))
    run("user-alice", f"{prefix}-user-alice")
    before = addresses(client, f"{prefix}-user-alice")
    client.remove_container(f"{prefix}-old", force=True)

    networks("new").restore()

    after = addresses(client, f"{prefix}-user-alice")
    assert after[f"{prefix}-new"] == before[f"{prefix}-old"]
    assert after[f"{prefix}-user-alice"] == before[f"{prefix}-user-alice"]
    assert not client.networks(names=[f"{prefix}-user-gone"])


@pytest.mark.engine
def test_without_internet_a_network_is_made_anew_with_no_way_out_but_the_hub(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks], run: Run
) -> None:
    user = f"{prefix}-user-alice"
    networks("open").open(user, labels(prefix))
    assert not client.inspect_network(user)["Internal"]
    client.remove_container(f"{prefix}-open", force=True)

    networks("shut", internal=True).open(user, labels(prefix))

    assert client.inspect_network(user)["Internal"]
    alice = run("user-alice", user)
    # Not the machine's first address, though it has none here.
    assert addresses(client, user)[f"{prefix}-user-alice"] == "10.214.7.3"
    assert succeeds(client, alice, "getent hosts hub")
    # A way that is open ends in a refusal, for nothing listens there: at the hub's, which shows
    # that the probe can tell, but not at the engine's machine's, by any of its addresses.
    hub = addresses(client, user)[f"{prefix}-shut"]
    machine = [str(IPv4Network(f"{hub}/28", strict=False)[1]), bridge_address(client)]
    for address, open_way in [(hub, True), *((own, False) for own in machine)]:
        probe = f"timeout 5 bash -c '</dev/tcp/{address}/9' 2>&1 | grep -q refused"
        assert succeeds(client, alice, probe) is open_way, address


@pytest.mark.engine
def test_an_exhausted_pool_is_said(prefix: str, networks: Callable[..., UserNetworks]) -> None:
    of_hub = networks()
    for number in range(4):
        of_hub.open(f"{prefix}-user-{number}", labels(prefix))
    with pytest.raises(RuntimeError, match=r"no subnet is left in 10\.214\.7\.0/26"):
        of_hub.open(f"{prefix}-user-5", labels(prefix))
