"""The users' networks, on the real engine, with plain containers as hub and notebooks."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Network
from itertools import islice
from types import SimpleNamespace
from typing import Any

import docker
import pytest
import requests.exceptions
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool
from docker.utils import kwargs_from_env
from hypothesis import given
from hypothesis import strategies as st
from zhub.servers.networks import UserNetworks
from zhub.subnets import Pool

from tests.built import bridge_address

#: Only for this test; small, so that it can be exhausted.
POOL = IPv4Network("10.214.7.0/26")
IMAGE = "zhub-base:trixie-build"


def test_free_subnets_come_lowest_first_without_taken_ones() -> None:
    taken = ["10.214.7.0/28", "10.214.7.40/29", "172.17.0.0/16", "fd00::/8"]
    assert [str(subnet) for subnet in Pool(POOL, taken).free()] == [
        "10.214.7.16/28",
        "10.214.7.48/28",
    ]


def test_a_network_around_the_pool_takes_all_of_it() -> None:
    assert not list(Pool(POOL, ["10.0.0.0/8"]).free())


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(20, 30)).map(
            lambda part: str(IPv4Network((f"10.213.{part[0]}.0", part[1]), strict=False))
        )
    )
)
def test_no_free_subnet_overlaps_a_taken_one(taken: list[str]) -> None:
    for subnet in islice(Pool(IPv4Network("10.213.0.0/16"), taken).free(), 20):
        assert not any(subnet.overlaps(IPv4Network(network)) for network in taken)


def test_the_last_free_subnet_is_found_as_quickly_as_the_first() -> None:
    """Each start looks for one, and all others wait for it: it took seconds."""
    pool = IPv4Network("10.213.0.0/16")
    *taken, last = map(str, pool.subnets(new_prefix=28))
    begin = time.process_time()
    assert list(map(str, Pool(pool, taken).free())) == [last]
    assert time.process_time() - begin < 1


def network_of_alice(names: dict[str, str]) -> dict[str, Any]:
    return {
        "Name": "site-user-alice",
        "Containers": {key: {"Name": name} for key, name in names.items()},
        "IPAM": {"Config": [{"Subnet": "10.214.7.0/28"}]},
    }


def test_what_the_engine_has_of_a_container_that_is_gone_is_detached_by_its_name() -> None:
    """Seen on 20.10 in a stop after dockerd was killed: such a member has no container's ID."""
    done: list[tuple[str, ...]] = []

    class Client(docker.APIClient):
        def __init__(self) -> None:
            """Connect to nothing."""

        def inspect_network(self, *_: Any, **__: Any) -> Any:
            names = {"1" * 64: "site-hub", "ep-" + "2" * 64: "site-user-alice"}
            return network_of_alice(names)

        def disconnect_container_from_network(  # type: ignore[override]
            self, *names: str, **_: Any
        ) -> None:
            done.append(names)
            if names[0] == "site-user-alice":
                raise NotFound("endpoint site-user-alice not found")

        def remove_network(self, name: str) -> None:  # type: ignore[override]
            done.append((name,))

    hub = UserNetworks(Client(), prefix="site", hub="site-hub", pool=POOL, internal=False)
    hub.close("site-user-alice")
    assert done == [
        ("1" * 64, "site-user-alice"),
        ("site-user-alice", "site-user-alice"),
        ("site-user-alice",),
    ]


class Starting(docker.APIClient):
    """An engine that starts a server only while it makes a network, and the other way round."""

    def __init__(self, *, fails: int = 0) -> None:
        """Connect to nothing; the first networks fail."""
        self.done: list[str] = []
        self.fails = fails
        self._both = threading.Barrier(2, timeout=5)

    def networks(self, **_: Any) -> Any:  # type: ignore[override]
        return []

    def start(self, container: str) -> None:  # type: ignore[override]
        self._both.wait()
        self.done.append(f"start {container}")

    def create_network(self, name: str, **_: Any) -> Any:  # type: ignore[override]
        if not self.done:
            self._both.wait()
        if self.fails:
            self.fails -= 1
            raise requests.exceptions.ReadTimeout
        return {"Id": "1" * 64, "Warning": name}

    def connect_container_to_network(  # type: ignore[override]
        self, container: str, *_: str, **__: Any
    ) -> None:
        self.done.append(f"connect {container}")

    def disconnect_container_from_network(  # type: ignore[override]
        self, container: str, network: str
    ) -> None:
        self.done.append(f"disconnect {container} from {network}")


@pytest.mark.parametrize("fails", [0, 1])
def test_a_network_is_made_while_the_server_starts_and_the_hub_is_in_it_first(fails: int) -> None:
    """A server that was first would ask name servers of the site for the hub's name."""
    engine = Starting(fails=fails)
    of_hub = UserNetworks(engine, prefix="site", hub="hub", pool=POOL, internal=False)
    own = "site-user-alice", labels("site"), "server"
    of_hub.join(*own, of_hub.start(*own))
    assert sorted(engine.done[:2]) == ["connect hub", "start server"]
    assert engine.done[2:] == ["disconnect server from none", "connect server"]


def test_what_keeps_a_network_from_being_made_is_said_once_the_server_runs() -> None:
    engine = Starting(fails=2)
    of_hub = UserNetworks(engine, prefix="site", hub="hub", pool=POOL, internal=False)
    own = "site-user-alice", labels("site"), "server"
    opening = of_hub.start(*own)
    assert engine.done == ["start server"]
    with pytest.raises(requests.exceptions.ReadTimeout):
        of_hub.join(*own, opening)
    assert engine.done == ["start server"]


@pytest.mark.parametrize(("joins", "left"), [(1, False), (9, True)])
def test_a_network_that_the_hub_joins_meanwhile_is_tried_again(
    joins: int,
    left: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As when the hub's container is restarted: while it is stopped, no network shows it."""
    done: list[str] = []

    class Client(docker.APIClient):
        def __init__(self) -> None:
            """Connect to nothing."""

        def inspect_network(self, *_: Any, **__: Any) -> Any:
            return network_of_alice({"1" * 64: "site-hub"} if done else {})

        def disconnect_container_from_network(  # type: ignore[override]
            self, *_: str, **__: Any
        ) -> None:
            done.append("detached")

        def remove_network(self, name: str) -> None:  # type: ignore[override]
            done.append("tried")
            if done.count("tried") <= joins:
                response: Any = SimpleNamespace(status_code=403, reason="Forbidden", url="/")
                raise APIError("x", response, f"network {name} id 1 has active endpoints")

    UserNetworks(Client(), prefix="site", hub="site-hub", pool=POOL, internal=False).close("x")
    tries = 3 if left else joins + 1
    assert done == ["tried", *["detached", "tried"] * (tries - 1)]
    assert ("is not removed now" in caplog.text) is left


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    client = docker.APIClient(version="auto", **kwargs_from_env())
    yield client
    client.close()


Run = Callable[..., str]


@pytest.fixture
def prefix(client: docker.APIClient) -> Iterator[str]:
    """A prefix for this test; its objects are removed at the end."""
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    yield name
    label = {"label": f"zhub.stack={name}"}
    for container in client.containers(all=True, filters=label):
        client.remove_container(container["Id"], force=True)
    for network in client.networks(filters=label):
        client.remove_network(network["Id"])


@pytest.fixture
def run(client: docker.APIClient, prefix: str) -> Run:
    """Starts an idle container in a network, perhaps with the role of a user's server."""

    def start(name: str, network: str = "bridge", role: str = "") -> str:
        container = client.create_container(
            IMAGE,
            ["sleep", "600"],
            name=f"{prefix}-{name}",
            labels={"zhub.stack": prefix, "zhub.role": role},
            host_config=client.create_host_config(network_mode=network),
        )
        client.start(container["Id"])
        return str(container["Id"])

    return start


@pytest.fixture
def networks(client: docker.APIClient, prefix: str, run: Run) -> Callable[..., UserNetworks]:
    """Makes the users' networks of a hub in a container of the given name."""

    def make(hub: str = "hub", *, internal: bool = False) -> UserNetworks:
        run(hub)
        return UserNetworks(
            client, prefix=prefix, hub=f"{prefix}-{hub}", pool=POOL, internal=internal
        )

    return make


def labels(prefix: str) -> dict[str, str]:
    return {"zhub.stack": prefix, "zhub.role": "user-network"}


def addresses(client: docker.APIClient, network: str) -> dict[str, str]:
    """Return the address of each container in a network, by name."""
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
        """Start a server like the spawner: it runs before it has a network."""
        container = run(f"user-{name}", "none")
        of_hub.join(f"{prefix}-user-{name}", labels(prefix), container)
        return container

    alice, bob = start("alice"), start("bob")
    address = addresses(client, f"{prefix}-user-bob")[f"{prefix}-user-bob"]
    assert succeeds(client, alice, "getent hosts hub")
    assert not succeeds(client, alice, f"getent hosts {prefix}-user-bob")
    # Nothing listens: if packets get through, the connection is refused; otherwise it times out.
    probe = f"timeout 3 bash -c '</dev/tcp/{address}/9' 2>&1 | grep -q refused"
    assert succeeds(client, bob, probe)
    assert not succeeds(client, alice, probe)


@pytest.mark.engine
def test_closing_removes_a_network_even_with_a_container_in_it(
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
def test_no_server_gets_the_address_of_a_hub_that_is_stopped(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks], run: Run
) -> None:
    """As when the engine restarts the hub's container while a server starts."""
    name = f"{prefix}-user-alice"
    networks("old").open(name, labels(prefix))
    before = addresses(client, name)
    client.stop(f"{prefix}-old", timeout=0)
    run("user-alice", name)
    client.start(f"{prefix}-old")
    assert addresses(client, name)[f"{prefix}-old"] == before[f"{prefix}-old"]


@pytest.mark.engine
def test_a_network_that_the_hub_cannot_be_in_is_left_out(
    client: docker.APIClient,
    prefix: str,
    networks: Callable[..., UserNetworks],
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As one that a release before has made, where a server has the hub's address."""
    users = [f"{prefix}-user-{name}" for name in ("alice", "bob")]
    old = networks("old")
    for name in users:
        old.open(name, labels(prefix))
    taken = addresses(client, users[0])[f"{prefix}-old"]
    client.remove_container(f"{prefix}-old", force=True)
    for name, user in zip(users, ("alice", "bob"), strict=True):
        run(f"user-{user}", name, "notebook")
    client.disconnect_container_from_network(users[0], users[0])
    client.connect_container_to_network(users[0], users[0], ipv4_address=taken.partition("/")[0])

    networks("new").restore()

    assert f"{prefix}-new" in addresses(client, users[1])
    assert f"{prefix}-new" not in addresses(client, users[0])
    assert f"the hub cannot be attached to network {users[0]}" in caplog.text


class Counting(docker.APIClient):
    """Counts the calls it makes."""

    count = 0

    def send(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return super().send(*arguments, **options)


@pytest.mark.engine
@pytest.mark.parametrize("servers", [1, 4])
def test_a_new_hub_takes_one_call_for_each_network(
    client: docker.APIClient,
    prefix: str,
    networks: Callable[..., UserNetworks],
    run: Run,
    servers: int,
) -> None:
    old = networks("old")
    users = [f"{prefix}-user-{number}" for number in range(servers)]
    for number, user in enumerate(users):
        old.open(user, labels(prefix))
        run(f"user-{number}", user, "notebook")
    client.remove_container(f"{prefix}-old", force=True)
    run("new")

    with closing(Counting(version=client.api_version, **kwargs_from_env())) as counting:
        new = UserNetworks(counting, prefix=prefix, hub=f"{prefix}-new", pool=POOL, internal=False)
        new.restore()
        assert counting.count == 3 + servers
        new.restore()
        assert counting.count == 3 + servers + 3, "all are there already"
    for user in users:
        assert f"{prefix}-new" in addresses(client, user)


@pytest.mark.engine
def test_one_more_network_takes_two_calls_however_many_there_are(
    client: docker.APIClient, prefix: str, run: Run
) -> None:
    run("hub")
    with closing(Counting(version=client.api_version, **kwargs_from_env())) as counting:
        of_hub = UserNetworks(
            counting, prefix=prefix, hub=f"{prefix}-hub", pool=POOL, internal=False
        )
        of_hub.open(f"{prefix}-user-0", labels(prefix))
        assert counting.count == 3, "the engine's list, a network, the hub in it"
        of_hub.open(f"{prefix}-user-1", labels(prefix))
        assert counting.count == 3 + 2
        of_hub.close(f"{prefix}-user-0")
        counting.count = 0
        of_hub.open(f"{prefix}-user-2", labels(prefix))
        assert counting.count == 2
    assert addresses(client, f"{prefix}-user-2") == {f"{prefix}-hub": "10.214.7.2"}


@contextmanager
def of_another_client(client: docker.APIClient, prefix: str) -> Iterator[UserNetworks]:
    """The networks as another hub's client knows them, which has seen nothing yet."""
    with closing(docker.APIClient(version=client.api_version, **kwargs_from_env())) as other:
        yield UserNetworks(other, prefix=prefix, hub=f"{prefix}-hub", pool=POOL, internal=False)


@pytest.mark.engine
def test_a_subnet_that_something_else_takes_or_gives_back_is_noticed(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks]
) -> None:
    of_hub = networks()
    of_hub.open(f"{prefix}-user-0", labels(prefix))
    with of_another_client(client, prefix) as theirs:
        for number in (1, 2, 3):
            theirs.open(f"{prefix}-user-{number}", labels(prefix))
        with pytest.raises(RuntimeError, match="no free subnet is left"):
            of_hub.open(f"{prefix}-user-4", labels(prefix))
        theirs.close(f"{prefix}-user-2")
    of_hub.open(f"{prefix}-user-4", labels(prefix))
    assert addresses(client, f"{prefix}-user-4") == {f"{prefix}-hub": "10.214.7.34"}


@pytest.mark.engine
@pytest.mark.parametrize("gateway", ["10.214.7.17", "10.214.7.30"])
def test_a_subnet_that_has_become_somebody_elses_is_left_to_them(
    client: docker.APIClient, prefix: str, run: Run, gateway: str
) -> None:
    """As of a network of the release before, whose addresses are not in two halves."""
    run("hub")
    pool = IPAMPool(subnet="10.214.7.16/28", gateway=gateway)
    with of_another_client(client, prefix) as hub:
        hub.open(f"{prefix}-user-0", labels(prefix))
        client.create_network(f"{prefix}-other", ipam=IPAMConfig(pool_configs=[pool]))
        try:
            hub.open(f"{prefix}-user-1", labels(prefix))
        finally:
            client.remove_network(f"{prefix}-other")
    assert addresses(client, f"{prefix}-user-1") == {f"{prefix}-hub": "10.214.7.34"}


@pytest.mark.engine
def test_without_internet_a_network_is_recreated_and_reaches_only_the_hub(
    client: docker.APIClient, prefix: str, networks: Callable[..., UserNetworks], run: Run
) -> None:
    user = f"{prefix}-user-alice"
    networks("open").open(user, labels(prefix))
    assert not client.inspect_network(user)["Internal"]
    client.remove_container(f"{prefix}-open", force=True)

    networks("shut", internal=True).open(user, labels(prefix))

    assert client.inspect_network(user)["Internal"]
    alice = run("user-alice", user)
    # Of the upper half: the others are the machine's, even if it has none, and the hub's.
    assert addresses(client, user)[f"{prefix}-user-alice"] == "10.214.7.8"
    assert succeeds(client, alice, "getent hosts hub")
    # Nothing listens, so packets that get through are answered with a refusal: at the hub's
    # address, which shows that the probe works, but at no address of the engine's machine.
    hub = addresses(client, user)[f"{prefix}-shut"]
    machine = [str(IPv4Network(f"{hub}/28", strict=False)[1]), bridge_address(client)]
    for address, open_way in [(hub, True), *((own, False) for own in machine)]:
        probe = f"timeout 5 bash -c '</dev/tcp/{address}/9' 2>&1 | grep -q refused"
        assert succeeds(client, alice, probe) is open_way, address


@pytest.mark.engine
def test_an_exhausted_pool_is_an_error(prefix: str, networks: Callable[..., UserNetworks]) -> None:
    of_hub = networks()
    for number in range(4):
        of_hub.open(f"{prefix}-user-{number}", labels(prefix))
    with pytest.raises(RuntimeError, match=r"no free subnet is left in 10\.214\.7\.0/26"):
        of_hub.open(f"{prefix}-user-5", labels(prefix))
