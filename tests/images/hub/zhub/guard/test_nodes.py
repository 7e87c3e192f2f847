"""Which filters the guard of a node sets, and when it ends; on an engine of answers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from zhub import settings
from zhub.guard import filters, keeping, nodes, rules
from zhub.guard.machine import Machine
from zhub.guard.nodes import Nodes

NAME = "site-user-alice"
HOME: dict[str, Any] = {
    "Name": "site-home-alice",
    "Driver": "local",
    "Mountpoint": "/var/lib/docker/volumes/site-home-alice/_data",
    "Labels": {"zhub.stack": "site", "zhub.role": "home", "zhub.user": "alice"},
    "Options": {"type": "none", "o": "bind", "device": "/srv/homes/site-home-alice"},
}
BEFORE = HOME["Options"] | {"device": "/srv/before/site-home-alice"}
MACHINE = Machine(frozenset({IPv4Network("192.0.2.9")}), frozenset({IPv4Address("9.9.9.9")}))


class Engine:
    """One that has a container of a server's service, and the networks that services have."""

    def __init__(self, *, internal: bool = False, way_out: bool = True) -> None:
        self.named = {NAME: network("10.213.0.16/28", internal=internal)}
        if way_out:
            self.named[nodes.WAY_OUT] = network("172.18.0.0/16", internal=False)
        self.container: dict[str, Any] = {
            "Id": "abc",
            "Name": f"/{NAME}.1.task",
            "Config": {"Labels": {nodes.SERVICE: NAME, "zhub.role": "notebook"}},
            "State": {"Running": True, "StartedAt": "now"},
            "NetworkSettings": {"Networks": {NAME: {}}},
            "HostConfig": {
                "Mounts": [
                    {"Type": "tmpfs", "Target": "/dev/shm"},  # noqa: S108 - of the container
                    {
                        "Type": "volume",
                        "Source": HOME["Name"],
                        "Target": "/home/jovyan",
                        "VolumeOptions": {
                            "Labels": HOME["Labels"],
                            "DriverConfig": {"Name": "local", "Options": HOME["Options"]},
                        },
                    },
                ]
            },
        }
        self.volume: dict[str, Any] = dict(HOME)
        self.removed: list[str] = []

    def inspect_network(self, name: str) -> dict[str, Any]:
        if name not in self.named:
            raise NotFound("no such network")
        return self.named[name]

    def inspect_container(self, _: str) -> dict[str, Any]:
        return self.container

    def inspect_volume(self, name: str) -> dict[str, Any]:
        assert name == HOME["Name"]
        return self.volume

    def networks(self) -> list[dict[str, Any]]:
        return list(self.named.values())

    def remove_container(self, container: str, **_: object) -> None:
        self.removed.append(container)

    def remove_volume(self, name: str) -> None:
        assert self.removed == ["abc"], "its server may still write there"
        self.removed.append(name)


def network(subnet: str, *, internal: bool) -> dict[str, Any]:
    return {"Internal": internal, "IPAM": {"Config": [{"Subnet": subnet}]}, "Labels": None}


class Filters:
    """A helper that notes which filter it has set where, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.set: list[tuple[str, str]] = []
        self.fails = fails

    def run(self, command: list[str], *, network: str, **_: object) -> str:
        if self.fails:
            raise RuntimeError("nft failed")
        self.set.append((network, command[1]))
        return ""

    def sweep(self) -> None:
        pass


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Nodes]:
    monkeypatch.setattr(Machine, "seen", lambda _: MACHINE)
    monkeypatch.setattr("time.sleep", lambda _: None)

    def made(engine: Engine, helpers: Filters, **variables: str) -> Nodes:
        client: Any = engine
        found = settings.read_guard({"ZHUB_PREFIX": "site"} | variables)
        guard = Nodes(client, helpers, found)  # type: ignore[arg-type]
        guard.look()
        return guard

    return made


def expected(*ways_out: str, **variables: str) -> str:
    found = settings.read_guard({"ZHUB_PREFIX": "site"} | variables)
    out = [IPv4Network(one) for one in ways_out]
    return filters.of_service(
        IPv4Network("10.213.0.16/28"),
        out,
        rules.reach(found, MACHINE, [found.user_network_pool, *out], counted=True),
    )


def test_a_server_gets_the_filter_that_it_waits_for(node: Callable[..., Nodes]) -> None:
    helpers = Filters()
    node(Engine(), helpers).again("abc")
    assert helpers.set == [("container:abc", expected("172.18.0.0/16"))]
    assert "127.0.9.9" in helpers.set[0][1]
    # What the settings of the stack close, and the node itself.
    assert "192.0.2.9/32 reject" in helpers.set[0][1]


def test_other_servers_on_the_way_out_stay_closed_whatever_the_site_opens(
    node: Callable[..., Nodes],
) -> None:
    """All servers of a node have an address in that network, whoever their users are."""
    helpers = Filters()
    opened = {"ZHUB_USER_ALLOWED_NETWORKS": '["172.16.0.0/12"]'}
    node(Engine(), helpers, **opened).again("abc")
    ((_, text),) = helpers.set
    shut = "ip daddr { 10.213.0.0/16, 172.18.0.0/16 } reject"
    assert text.index(shut) < text.index("ip daddr 172.16.0.0/12 accept")


def test_a_way_out_in_the_pool_is_said_once(node: Callable[..., Nodes]) -> None:
    """nft refuses sets of networks that overlap."""
    helpers = Filters()
    node(Engine(), helpers, ZHUB_USER_NETWORK_POOL="172.16.0.0/12").again("abc")
    ((_, text),) = helpers.set
    assert "ip daddr 172.16.0.0/12 reject" in text
    assert "172.16.0.0/12, " not in text


def test_in_an_internal_network_there_is_no_way_out(node: Callable[..., Nodes]) -> None:
    helpers = Filters()
    closed = {"ZHUB_USER_INTERNET": "false"}
    node(Engine(internal=True), helpers, **closed).again("abc")
    assert helpers.set == [("container:abc", expected(**closed))]


def test_a_way_out_that_came_with_the_first_server_is_found(node: Callable[..., Nodes]) -> None:
    engine, helpers = Engine(way_out=False), Filters()
    guard = node(engine, helpers)
    engine.named[nodes.WAY_OUT] = network("172.19.0.0/16", internal=False)
    guard.again("abc")
    assert helpers.set == [("container:abc", expected("172.19.0.0/16"))]


@pytest.mark.parametrize("networks", [["other"], [NAME, "other"]])
def test_a_server_in_other_networks_does_not_run_on(
    node: Callable[..., Nodes], networks: list[str]
) -> None:
    engine, helpers = Engine(), Filters()
    engine.container["NetworkSettings"]["Networks"] = {name: {} for name in networks}
    node(engine, helpers).again("abc")
    assert (helpers.set, engine.removed) == ([], ["abc"])


@pytest.mark.parametrize(
    "other",
    [
        # Of a hub that this machine had, whose alice may be somebody else.
        {"Options": None},
        {"Options": HOME["Options"] | {"device": HOME["Mountpoint"]}},
        {"Options": HOME["Options"] | {"size": "1G"}},
        {"Options": BEFORE, "Driver": "nfs"},
        {"Driver": "nfs"},
        {"Options": BEFORE, "Labels": HOME["Labels"] | {"zhub.user": "bob"}},
        {"Labels": HOME["Labels"] | {"zhub.user": "bob"}},
        {"Labels": None},
    ],
)
def test_a_server_does_not_run_on_with_another_home_of_that_name(
    node: Callable[..., Nodes], caplog: pytest.LogCaptureFixture, other: dict[str, Any]
) -> None:
    engine, helpers = Engine(), Filters()
    engine.volume |= other
    node(engine, helpers).again("abc")
    assert (helpers.set, engine.removed) == ([], ["abc"])
    assert "volume site-home-alice was on this machine before" in caplog.text


def test_a_name_for_the_folder_where_homes_were_before_goes_with_the_server(
    node: Callable[..., Nodes], caplog: pytest.LogCaptureFixture
) -> None:
    """As after another homesPath: the machine would keep the name for good."""
    engine, helpers = Engine(), Filters()
    engine.volume |= {"Options": BEFORE}
    node(engine, helpers).again("abc")
    assert (helpers.set, engine.removed) == ([], ["abc", HOME["Name"]])
    assert "leads to /srv/before/site-home-alice, where the homes were before" in caplog.text


def test_a_server_whose_filter_cannot_be_set_does_not_run_on(node: Callable[..., Nodes]) -> None:
    engine = Engine()
    node(engine, Filters(fails=True)).again("abc")
    assert engine.removed == ["abc"]


def test_its_own_network_is_closed_first(
    node: Callable[..., Nodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zhub.engine.own_container", lambda: "self")
    helpers = Filters()
    node(Engine(), helpers).begin()
    (where, rules), *_ = helpers.set
    assert where == "container:self"
    assert rules == filters.table(['oifname "lo" accept'])
    with pytest.raises(RuntimeError, match="cannot close its own network: nft failed"):
        node(Engine(), Filters(fails=True)).begin()


def test_many_starts_do_not_wait_for_one(node: Callable[..., Nodes]) -> None:
    engine, slow = Engine(), threading.Event()

    class Slow(Filters):
        def run(self, command: list[str], *, network: str, **more: object) -> str:
            assert slow.wait(10)
            return super().run(command, network=network, **more)

    helpers = Slow()
    guard = node(engine, helpers)
    guard._started("abc")
    slow.set()
    guard._threads.shutdown()
    assert len(helpers.set) == 1


def test_an_engine_that_fails_leaves_the_guard_watching(
    node: Callable[..., Nodes], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine()

    def fails(_: str) -> Any:
        raise APIError("busy")

    engine.inspect_container = fails  # type: ignore[method-assign]
    node(engine, Filters())._confine("abc")
    assert "a server that has started gets no filter now" in caplog.text


class TestEnd:
    @pytest.fixture(autouse=True)
    def _own_handler(self) -> Any:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def test_as_it_is_asked_to(self) -> None:
        def work() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()

        assert nodes.until_ended({"work": work})

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (keeping.EngineLostError("no answer"), "to be restarted: no answer"),
            (ValueError("oh"), "its thread work failed"),
        ],
    )
    def test_with_a_thread_that_fails(
        self, error: Exception, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def work() -> None:
            raise error

        assert not nodes.until_ended({"work": work})
        assert said in caplog.text
