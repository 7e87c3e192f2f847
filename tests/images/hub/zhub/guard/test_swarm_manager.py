"""What the guard goes by on a swarm, as a real manager says it: an engine of its own is one.

Services of engines before 25 have no walls, but their managers place, reject and list the same way.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from docker.errors import APIError
from zhub.contract import HUB_ALIAS, addressing, hub_address
from zhub.guard import measures, placement, room, services
from zhub.guard.counts import Full
from zhub.guard.helpers import UnusableError
from zhub.guard.measures import Usage
from zhub.guard.reports import Reporter
from zhub.guard.services import Swarm
from zhub.guard.swarm import Services

from tests.built import wait_until
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.images.hub.zhub.guard.test_policy import LABELS, NAME, POLICY, asked
from toolchain.backup.engine import Engine
from toolchain.engine import client

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

LABEL = {"zhub": "servers"}
WAITS = ["/busybox", "sleep", "300"]
"""As the first process, it ignores SIGTERM, and so runs until its time to end is over."""


@pytest.fixture(scope="module")
def manager() -> Iterator[SecondEngine]:
    if not able():
        pytest.skip("a second engine needs root, ip, iptables, nsenter and dockerd")
    # A socket's path must be short.
    with TemporaryDirectory(prefix="zhub-") as short, second_engine(Path(short)) as engine:
        engine.client.swarm.init(advertise_addr=engine.apart.inner)
        yield engine
        engine.client.swarm.leave(force=True)


@pytest.fixture(scope="module")
def image(manager: SecondEngine) -> str:
    return manager.tiny_image()


def label(manager: SecondEngine, labels: dict[str, str]) -> None:
    def labelled() -> bool:
        [node] = manager.client.nodes.list()
        try:
            node.update(node.attrs["Spec"] | {"Labels": labels})
        except APIError as error:
            # The managers have noted something else of it meanwhile.
            if "update out of sequence" not in str(error.explanation):
                raise
            return False
        return True

    wait_until(labelled, seconds=30)


def own_service(manager: SecondEngine, role: str, image: str) -> None:
    """Have the node run one of the stack's own services."""
    labels = {"zhub.stack": "site", "zhub.role": role}
    made: Any = manager.client.services.create(  # type: ignore[no-untyped-call]
        image, WAITS, name=f"site-{role}", mode="global", labels=labels, container_labels=labels
    )
    wait_until(lambda: [one["Status"]["State"] for one in made.tasks()] == ["running"], seconds=60)


def start(engine: Services, image: str, memory: int = 0) -> None:
    """Start alice's server, as the guard does for the hub; perhaps with other bytes of memory."""
    body = POLICY.container(NAME, asked()) | {"Image": image, "Cmd": WAITS}
    if memory:
        body["HostConfig"] |= {"Memory": memory}
    made = engine.create_container_from_config(body, NAME)["Id"]
    engine.connect_container_to_network(made, NAME)


def says_what_servers_use(manager: SecondEngine) -> None:
    """Print in the place of the node's guard, which is no such program here."""
    said: list[str] = []
    Reporter(manager.client.api, "site", said.append).report()
    [guard] = manager.client.containers.list(filters={"label": "zhub.role=nodeguard"})
    done = guard.exec_run(["/busybox", "sh", "-c", 'echo "$0" >/proc/1/fd/1', *said])
    assert done.exit_code == 0, done.output


def use_of_alice(engine: Services) -> set[str]:
    """Return which numbers of her server there are."""
    client: Any = engine
    engine._reports._asked = None
    usage = Usage(client, "site", swarm=True)
    usage.renew()
    usage.renew_layers()
    machine = socket.gethostname()
    samples = [one for metric in usage.collect() for one in metric.samples]
    [memory] = [one for one in samples if one.name == "guard_engine_memory_bytes"]
    assert memory.labels == {"node": machine}
    assert memory.value > 1 << 30
    return {
        one.name.removeprefix("guard_server_")
        for one in samples
        if one.labels == {"user": "alice", "node": machine}
    }


def test_a_server_starts_where_a_guard_runs_and_never_beside_one_that_may_run(
    manager: SecondEngine, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "LEAST_ENGINE", 20)
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    api: Any = manager.client.api
    swarm = Swarm(label="zhub=servers", processor="amd64", grace=10, api=(1, 41))
    engine = Services(api, "site", swarm)
    folder = tmp_path / "home"
    home = {"type": "none", "o": "bind", "device": str(folder)}
    # POLICY's home of alice.
    volume = POLICY.container(NAME, asked())["HostConfig"]["Binds"][0].partition(":")[0]
    api.create_volume(volume, "local", home, LABELS | {"zhub.role": "home"})
    subnet = addressing(IPv4Network("10.213.0.0/28"))
    labels = LABELS | {"zhub.role": "user-network"}
    engine.create_network(NAME, labels=labels, internal=True, ipam=subnet)
    label(manager, LABEL)

    own_service(manager, "nodenotebook", image)
    with pytest.raises(UnusableError, match="No machine is ready for servers"):
        start(engine, image)
    own_service(manager, "nodeguard", image)
    assert {task["Spec"]["ContainerSpec"]["Image"] for task in engine._managers.kept()} == {image}
    with monkeypatch.context() as patch:
        patch.setattr(room, "SECONDS", 2)
        with pytest.raises(Full, match="no machine of the swarm has room"):
            start(engine, image, memory=1 << 50)
    assert not api.services(filters={"label": "zhub.role=notebook"})
    # As where the file system with the homes is not mounted.
    with pytest.raises(UnusableError, match=r"does not start it.* no such file or directory"):
        start(engine, image)
    assert engine._refusals.lately() == {node["ID"] for node in api.nodes()}
    folder.mkdir()
    start(engine, image)
    filters = {"label": "zhub.role=notebook"}
    wait_until(lambda: bool(api.containers(filters=filters)), seconds=60)
    [container] = api.containers(filters=filters)
    assert use_of_alice(engine) == set()
    says_what_servers_use(manager)
    names = {"memory_bytes", "memory_limit_bytes", "cpu_seconds_total", "layer_bytes"}
    wait_until(lambda: use_of_alice(engine) == names, seconds=30)

    label(manager, {})
    wait_until(
        lambda: bool(engine.inspect_container(NAME)["State"]["Status"] == "exited"), seconds=30
    )
    [task] = api.tasks(filters={"label": ["zhub.role=notebook"]})
    assert task["Status"]["State"] == "rejected"
    assert services.cut_short(task)
    assert api.inspect_container(container["Id"])["State"]["Running"], "the manager says it ended"

    label(manager, LABEL)
    engine.stop(NAME, 10)
    wait_until(lambda: not api.tasks(filters={"label": ["zhub.role=notebook"]}), seconds=60)
    with pytest.raises(UnusableError, match="takes no servers any more"):
        start(engine, image)


def test_a_network_can_be_made_anew_as_soon_as_it_is_removed(
    manager: SecondEngine, image: str
) -> None:
    """Managers forget one at once, and their own engine a moment later."""
    api: Any = manager.client.api
    engine = Services(api, "site", Swarm(processor="amd64", grace=10, api=(1, 41)))
    hub: Any = manager.client.containers.run(image, WAITS, detach=True)
    subnet = addressing(IPv4Network("10.213.0.16/28"))
    labels = LABELS | {"zhub.role": "user-network"}
    for _ in range(3):
        made = engine.create_network(
            "site-user-bob", labels=labels, internal=True, ipam=subnet, check_duplicate=True
        )["Id"]
        engine.connect_container_to_network(
            hub.id, made, aliases=[HUB_ALIAS], ipv4_address="10.213.0.18"
        )
        engine.disconnect_container_from_network(hub.id, made, force=True)
        engine.remove_network(made)
    hub.remove(force=True)


def test_no_server_gets_the_address_of_a_hub_that_is_stopped(
    manager: SecondEngine, image: str
) -> None:
    """As when the hub's container restarts while a server starts, and again while it runs."""
    api: Any = manager.client.api
    engine = Services(api, "site", Swarm(processor="amd64", grace=10, api=(1, 41)))
    name, subnet = "site-user-carol", IPv4Network("10.213.0.32/28")
    hub: Any = manager.client.containers.create(image, WAITS)
    made = engine.create_network(
        name,
        labels=LABELS | {"zhub.role": "user-network"},
        internal=True,
        ipam=addressing(subnet),
        check_duplicate=True,
    )["Id"]
    engine.connect_container_to_network(
        hub.id, made, aliases=[HUB_ALIAS], ipv4_address=hub_address(subnet)
    )
    task = {
        "ContainerSpec": {"Image": image, "Args": WAITS, "StopGracePeriod": 0},
        "RestartPolicy": {"Condition": "none"},
        "Networks": [{"Target": made}],
    }
    service = api.create_service(
        task, name=name, labels={"zhub.user": "carol"}, endpoint_spec={"Mode": "dnsrr"}
    )["ID"]

    def states() -> list[str]:
        return [one["Status"]["State"] for one in api.tasks(filters={"label": "zhub.user=carol"})]

    wait_until(lambda: states() == ["running"], seconds=60)
    for _ in range(2):
        hub.start()
        hub.reload()
        assert hub.attrs["NetworkSettings"]["Networks"][name]["IPAddress"] == "10.213.0.46"
        assert hub.exec_run(["/busybox", "ping", "-c", "1", name]).exit_code == 0
        hub.stop(timeout=0)
    hub.remove()
    api.remove_service(service)
    wait_until(lambda: not states(), seconds=60)
    engine.remove_network(made)


@pytest.mark.long
def test_commands_wait_for_a_server_whose_service_is_gone(
    manager: SecondEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "on_swarm", lambda _: True)
    labels = LABELS | {"zhub.user": "o.brien"}
    made: Any = manager.client.services.create(  # type: ignore[no-untyped-call]
        image,
        WAITS,
        name="site-user-o-2ebrien",
        labels=labels,
        container_labels=labels,
        stop_grace_period=10 * services.NANO,
    )
    wait_until(lambda: [one["Status"]["State"] for one in made.tasks()] == ["running"], seconds=60)
    site = Engine((client(), "--host", manager.address), "site")
    assert site.servers() == ["site-user-o-2ebrien"]
    made.remove()
    # It has seconds to end, in which it may write into the home.
    assert site.servers("o.brien") == ["site-user-o-2ebrien"]
    assert site.servers("alice") == []
    wait_until(lambda: not site.servers("o.brien"), seconds=60)
    assert not manager.client.containers.list(filters={"label": "zhub.user=o.brien"})
