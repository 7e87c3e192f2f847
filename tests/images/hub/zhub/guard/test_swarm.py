"""The calls that the guard makes for a server, on a swarm that is a few lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import requests.exceptions
from docker.errors import APIError, NotFound
from zhub.contract import HUB_ALIAS, addressing, hub_address, labelled
from zhub.guard import placement, room, services, swarm
from zhub.guard.bodies import Request
from zhub.guard.calls import Guard
from zhub.guard.counts import Full
from zhub.guard.folders import Folders
from zhub.guard.helpers import Helpers, UnusableError
from zhub.guard.services import Swarm
from zhub.guard.swarm import Services
from zhub.people import servers

from tests.images.hub.zhub.guard.test_policy import LABELS, NAME, POLICY, asked
from tests.images.hub.zhub.guard.test_services import HOME

SUBNET = IPv4Network("10.213.0.0/28")
NO_ROOM = "no suitable node (insufficient resources on 3 nodes)"
SERVERS = labelled("site", "notebook")
SWARM = Swarm(label="", processor="s390x", grace=10, api=(1, 54))
NETWORK_LABELS = LABELS | {"zhub.role": "user-network"}
HUB: dict[str, Any] = {
    "Id": "f" * 64,
    "Name": "/site-hub",
    "Config": {"Labels": {"zhub.stack": "site", "zhub.role": "hub"}},
    "State": {"Running": True},
    "NetworkSettings": {"Networks": {}},
}


BODY = POLICY.container(NAME, asked())


def own_task(role: str, node: str, image: str, state: str = "running") -> dict[str, Any]:
    """A task of one of the stack's own services."""
    spec = {"ContainerSpec": {"Image": image, "Labels": {"zhub.role": role}}}
    return {"ID": f"{role}-{node}", "NodeID": node, "Status": {"State": state}, "Spec": spec}


class Manager:
    """A manager's engine: what was made there, and what becomes of it if the test says so."""

    base_url, api_version = "http+docker://localhost", "1.54"

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.running: list[dict[str, Any]] = []
        self.networked: dict[str, dict[str, Any]] = {}
        self.machines = {"a": "ready", "b": "ready"}
        self.engine = "25.0.1"
        self.images: dict[str, str] = {}
        self.calls: list[str] = []
        self.busy = 0
        self.addresses = ["10.213.0.4/28"]
        self.node = "b"
        self.state, self.said = "running", ""
        self.guarded = {"a", "b"}
        self.keeping = {"a": BODY["Image"], "b": BODY["Image"]}

    def services(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if filters.get("mode") == ["global"]:
            assert filters["label"] == ["zhub.stack=site"]
            return [{"ID": "guards"}, {"ID": "keepers"}] if self.guarded else []
        wanted = dict(label.split("=", 1) for label in filters["label"])
        return [
            one
            for one in self.made.values()
            if wanted.items() <= one["Spec"]["Labels"].items()
            and one["Spec"]["Name"].startswith(filters.get("name", ""))
        ]

    def create_service(self, template: Any, name: str, labels: Any, **more: Any) -> dict[str, str]:
        spec = {"Name": name, "Labels": labels, "TaskTemplate": template, **more}
        self.made[name] = {"ID": f"s-{name}", "Spec": spec}
        self.running.append(
            {
                "ID": f"t-{len(self.running)}",
                "CreatedAt": f"2026-11-29T10:00:{len(self.running):02}Z",
                "ServiceID": f"s-{name}",
                "NodeID": self.node,
                "Labels": labels,
                "Status": {"State": self.state, "Err": self.said},
                "NetworksAttachments": [
                    {"Network": {"Spec": {"Name": name}}, "Addresses": self.addresses}
                ],
            }
        )
        return {"ID": f"s-{name}"}

    def remove_service(self, service: str) -> None:
        self.calls.append(f"remove {service}")
        self.made = {name: one for name, one in self.made.items() if one["ID"] != service}
        if self.machines["b"] == "ready":
            self.running = [one for one in self.running if one["ServiceID"] != service]

    def tasks(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        if filters.get("service") == ["guards", "keepers"]:
            assert filters["desired-state"] == ["running"]
            guards = [own_task("nodeguard", node, "hub@sha256:1") for node in self.guarded]
            keepers = [own_task("nodenotebook", *one) for one in self.keeping.items()]
            return [*guards, *keepers, own_task("nodefilter", "c", "filter", "preparing")]
        if "service" in filters:
            return [one for one in self.running if one["ServiceID"] == filters["service"]]
        wanted = dict(label.split("=", 1) for label in filters["label"])
        return [one for one in self.running if wanted.items() <= one["Labels"].items()]

    def nodes(self) -> list[dict[str, Any]]:
        about = {"Hostname": "host", "Engine": {"EngineVersion": self.engine}}
        return [
            {"ID": one, "Status": {"State": s}, "Description": about, "Spec": {"Labels": None}}
            for one, s in self.machines.items()
        ]

    def service_logs(self, service: str, **options: Any) -> Iterator[bytes]:
        assert options == {"tail": 2, "stdout": True, "stderr": True, "is_tty": False}
        yield from (f"{service}\n".encode(), b"ends\n")

    def get(self, *_: Any, **__: Any) -> Any:
        """No machine says what servers use."""
        raise requests.exceptions.ReadTimeout

    def logs(self, container: str, **options: Any) -> bytes:
        return f"{options} of {container[:4]}".encode()

    def inspect_image(self, name: str) -> dict[str, str]:
        if name not in self.images:
            raise NotFound("no such image")
        return {"Id": self.images[name]}

    def inspect_container(self, container: str) -> dict[str, Any]:
        if container not in {HUB["Id"], "site-hub"}:
            raise NotFound("no such container")
        return HUB

    def containers(self, **options: Any) -> list[dict[str, Any]]:
        self.calls.append(f"containers {options}")
        return []

    def create_network(self, name: str, **options: Any) -> dict[str, Any]:
        self.networked[name] = {
            "Id": f"n-{name}",
            "Name": name,
            "Labels": options["labels"],
            "Internal": options["internal"],
            "IPAM": options["ipam"],
            "Options": options.get("options"),
            "Containers": {HUB["Id"]: {}, f"lb-{name}": {}},
            "options": options,
        }
        return {"Id": f"n-{name}"}

    def inspect_network(self, name: str) -> dict[str, Any]:
        name = name.removeprefix("n-")
        if name not in self.networked:
            raise NotFound("no such network")
        return self.networked[name]

    def remove_network(self, name: str) -> None:
        if self.busy:
            self.busy -= 1
            raise APIError("", explanation=f"network {name} is in use by task x")
        del self.networked[name.removeprefix("n-")]

    def networks(self, **_: Any) -> list[dict[str, Any]]:
        return [*self.networked.values(), {"Name": "host", "IPAM": {"Config": None}}]

    def inspect_volume(self, _: str) -> dict[str, Any]:
        return HOME

    def connect_container_to_network(self, container: str, network: str, **more: Any) -> None:
        hub = f"{more['aliases']} {more['ipv4_address']}"
        self.calls.append(f"connect {container[:4]} {network} {hub}")

    def disconnect_container_from_network(self, container: str, network: str, **_: Any) -> None:
        self.calls.append(f"disconnect {container[:4]} {network}")

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": []}

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": "/var/lib/docker"}


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    monkeypatch.setattr("time.sleep", lambda _: None)
    return Manager()


@pytest.fixture
def engine(manager: Manager) -> Services:
    client: Any = manager
    return Services(client, "site", SWARM)


def started(engine: Services) -> str:
    """Start alice's server; return its ID."""
    made = str(engine.create_container_from_config(BODY, NAME)["Id"])
    engine.create_network(
        NAME, driver="bridge", labels=NETWORK_LABELS, internal=False, ipam=addressing(SUBNET)
    )
    engine.connect_container_to_network(made, NAME)
    return made


class TestServer:
    def test_nothing_runs_before_it_has_its_network(
        self, engine: Services, manager: Manager
    ) -> None:
        made = engine.create_container_from_config(BODY, NAME)["Id"]
        engine.start(made)
        found = engine.inspect_container(NAME)
        assert found["Id"] == made
        assert found["State"]["Running"]
        assert set(found["NetworkSettings"]["Networks"]) == {"none"}
        engine.disconnect_container_from_network(made, "none", force=True)
        assert (manager.made, manager.calls) == ({}, [])

    def test_its_network_makes_it_a_service(self, engine: Services, manager: Manager) -> None:
        made = started(engine)
        [service] = manager.made.values()
        assert service["Spec"]["Labels"] == LABELS | {"zhub.id": made}
        assert service["Spec"]["TaskTemplate"]["Networks"] == [{"Target": f"n-{NAME}"}]
        for by in (made, NAME):
            found = engine.inspect_container(by)
            assert found["Id"] == made
            assert found["Config"]["Labels"] == LABELS
            assert found["NetworkSettings"]["Networks"] == {NAME: {"IPAddress": "10.213.0.4"}}

    def test_it_is_there_once_it_has_its_address(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager.addresses = []
        monkeypatch.setattr("time.sleep", lambda _: manager.addresses.append("10.213.0.5/28"))
        made = started(engine)
        networks = engine.inspect_container(made)["NetworkSettings"]["Networks"]
        assert networks == {NAME: {"IPAddress": "10.213.0.5"}}

    def test_without_an_address_or_a_machine_it_is_removed(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "SECONDS", -1)
        manager.node = ""
        manager.said = "no suitable node (scheduling constraints not satisfied on 3 nodes)"
        with pytest.raises(UnusableError, match=r"no machine.*constraints not satisfied"):
            started(engine)
        manager.addresses, manager.said = [], ""
        with pytest.raises(UnusableError, match=r"no address.*do not say why"):
            started(engine)
        assert manager.made == {}

    def test_where_no_machine_has_room_the_hub_is_full(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "SECONDS", -1)
        manager.node, manager.said = "", NO_ROOM
        with pytest.raises(Full, match="no machine of the swarm has room for your server"):
            started(engine)
        assert manager.made == {}

    def test_room_that_a_server_leaves_is_waited_for(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manager.node, manager.said = "", NO_ROOM

        def leaves(_: float) -> None:
            manager.running[0]["NodeID"] = "b"

        monkeypatch.setattr("time.sleep", leaves)
        started(engine)
        assert NAME in manager.made

    def test_another_users_is_not_found_by_the_beginning_of_a_name(self, engine: Services) -> None:
        started(engine)
        with pytest.raises(NotFound):
            engine.inspect_container(NAME[:-1])

    @pytest.mark.parametrize("remove", ["stop", "remove_container"])
    def test_it_ends_as_a_service(self, engine: Services, manager: Manager, remove: str) -> None:
        made = started(engine)
        arguments = {"timeout": 10} if remove == "stop" else {"force": True}
        getattr(engine, remove)(made, **arguments)
        assert manager.calls == [f"remove s-{NAME}"]
        with pytest.raises(NotFound):
            engine.inspect_container(made)

    def test_what_was_asked_for_can_be_removed(self, engine: Services, manager: Manager) -> None:
        made = engine.create_container_from_config(BODY, NAME)["Id"]
        engine.remove_container(made, force=True)
        assert manager.calls == []
        with pytest.raises(NotFound):
            engine.inspect_container(NAME)

    def test_asked_for_again_it_is_another(self, engine: Services) -> None:
        first = engine.create_container_from_config(BODY, NAME)["Id"]
        second = engine.create_container_from_config(BODY, NAME)["Id"]
        assert engine.inspect_container(NAME)["Id"] == second != first
        with pytest.raises(NotFound):
            engine.inspect_container(first)

    def test_its_last_lines_are_on_its_own_machine(
        self, engine: Services, manager: Manager
    ) -> None:
        made = started(engine)
        status = manager.running[0]["Status"]
        with pytest.raises(NotFound):  # it never had a container
            engine.logs(made, tail=2)
        status["ContainerStatus"] = {"ContainerID": "c" * 64}
        assert engine.logs(made, tail=2) == f"s-{NAME}\nends\n".encode()
        # As helpers are asked for theirs.
        said = engine.logs(HUB["Id"], stdout=True, stderr=False)
        assert said == b"{'stdout': True, 'stderr': False} of ffff"
        manager.machines["b"] = "down"
        with pytest.raises(NotFound):
            engine.logs(made, tail=2)

    def test_lists(self, engine: Services, manager: Manager) -> None:
        assert engine.containers(all=True, filters=SERVERS) == []
        made = started(engine)
        [one] = engine.containers(filters=SERVERS)
        assert (one["Id"], one["Names"], one["Labels"]) == (made, [f"/{NAME}"], LABELS)
        manager.running[0]["Status"]["State"] = "failed"
        assert engine.containers(filters=SERVERS) == []
        assert len(engine.containers(all=True, filters=SERVERS)) == 1
        other = labelled("site", "hub")
        assert engine.containers(filters=other) == []
        assert manager.calls == [f"containers {{'filters': {other}}}"]


class TestMachines:
    def test_the_memory_of_those_that_answer_and_may_have_servers(
        self, engine: Services, manager: Manager
    ) -> None:
        def nodes() -> list[dict[str, Any]]:
            return [
                machine("a", "host", 1),
                machine("b", "host", 2),
                machine("c", "away", 3) | {"Status": {"State": "down"}},
                machine("d", "other", 4) | {"Spec": {"Labels": {}}},
                machine("e", "name", 5),
            ]

        manager.nodes = nodes  # type: ignore[method-assign]
        assert engine.machines() == {"host a": 1, "host b": 2, "other": 4, "name": 5}
        client: Any = manager
        some = Services(client, "site", replace(SWARM, label="zhub=servers"))
        assert some.machines() == {"host a": 1, "host b": 2, "name": 5}

    def test_a_server_is_listed_with_the_name_of_its_own(
        self, engine: Services, manager: Manager
    ) -> None:
        started(engine)
        [server] = engine.containers(filters=SERVERS)
        # Both machines have the same host name here.
        assert server["Node"] == "host b"
        assert engine.containers(filters=SERVERS, size=True) == []
        with pytest.raises(NotFound):
            engine.stats(server["Id"], stream=False, one_shot=True)


def machine(node: str, host: str, memory: int) -> dict[str, Any]:
    return {
        "ID": node,
        "Status": {"State": "ready"},
        "Spec": {"Labels": {"zhub": "servers"}},
        "Description": {"Hostname": host, "Resources": {"MemoryBytes": memory}},
    }


class TestOneHomeOneServer:
    def test_while_the_last_one_ends_the_next_waits(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started(engine)
        ending = list(manager.running)
        engine.stop(NAME, 10)
        manager.running = ending

        def gone(_: float) -> None:
            assert len(manager.running) == 1, "there is no other one yet"
            manager.running = []

        monkeypatch.setattr("time.sleep", gone)
        started(engine)
        assert len(manager.running) == 1

    def test_one_that_does_not_end_is_said(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(swarm, "GONE_SECONDS", -1)
        started(engine)
        ending = list(manager.running)
        engine.stop(NAME, 10)
        manager.running = ending
        with pytest.raises(UnusableError, match="Your last server does not end"):
            started(engine)
        assert manager.made == {}

    def test_on_a_machine_that_does_not_answer_it_may_still_write(
        self, engine: Services, manager: Manager
    ) -> None:
        started(engine)
        manager.machines["b"] = "down"
        assert engine.inspect_container(NAME)["State"]["Error"] == services.AWAY
        engine.stop(NAME, 10)
        with pytest.raises(UnusableError, match=r"may still write .* try again in 4 minutes"):
            started(engine)
        assert manager.made == {}

    @pytest.mark.parametrize(
        ("passed", "said"), [(90, "in 2 minutes"), (200, "in a minute"), (211, "")]
    )
    def test_it_ends_with_its_lease(
        self,
        engine: Services,
        manager: Manager,
        monkeypatch: pytest.MonkeyPatch,
        passed: int,
        said: str,
    ) -> None:
        started(engine)
        manager.machines["b"] = "down"
        began = time.monotonic()
        monkeypatch.setattr("time.monotonic", lambda: began)
        engine.stop(NAME, 10)
        monkeypatch.setattr("time.monotonic", lambda: began + passed)
        if said:
            with pytest.raises(UnusableError, match=said):
                started(engine)
        else:
            started(engine)
        assert len(manager.made) == (not said)

    def test_a_guard_that_has_just_started_knows_of_no_removal(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started(engine)
        manager.machines["b"] = "down"
        engine.stop(NAME, 10)
        began = time.monotonic()
        monkeypatch.setattr("time.monotonic", lambda: began + 1000)
        client: Any = manager
        restarted = Services(client, "site", SWARM)
        with pytest.raises(UnusableError, match="try again in 4 minutes"):
            started(restarted)
        monkeypatch.setattr("time.monotonic", lambda: began + 1211)
        started(restarted)

    def test_on_a_machine_that_was_removed_it_does_not(
        self, engine: Services, manager: Manager
    ) -> None:
        started(engine)
        manager.machines["b"] = "down"
        engine.stop(NAME, 10)
        del manager.machines["b"]
        started(engine)
        assert len(manager.made) == 1


class TestTaskThatTheManagersReject:
    """As where an operator takes the label from a machine: whether it has ended, nobody says."""

    STATUS: ClassVar = {
        "State": "rejected",
        "Err": "assigned node no longer meets constraints",
        "ContainerStatus": {"ContainerID": "c" * 64},
    }

    def reject(self, engine: Services, manager: Manager, status: dict[str, Any]) -> None:
        started(engine)
        manager.running[0]["Status"] = status
        assert not engine.inspect_container(NAME)["State"]["Running"]
        engine.stop(NAME, 10)
        # The managers then forget it at once, wherever its machine is.
        manager.running = []

    @pytest.mark.parametrize(
        "status",
        [
            STATUS,
            STATUS | {"ContainerStatus": None},
            STATUS | {"Err": "something else"},
        ],
        ids=["both", "starting", "other"],
    )
    def test_it_may_run_until_its_lease_is_over(
        self,
        engine: Services,
        manager: Manager,
        monkeypatch: pytest.MonkeyPatch,
        status: dict[str, Any],
    ) -> None:
        began = time.monotonic()
        monkeypatch.setattr("time.monotonic", lambda: began)
        self.reject(engine, manager, status)
        with pytest.raises(UnusableError, match=r"takes no servers .* try again in 4 minutes"):
            started(engine)
        assert manager.made == {}
        monkeypatch.setattr("time.monotonic", lambda: began + 211)
        started(engine)
        assert len(manager.made) == 1

    def test_another_users_does_not_wait(self, engine: Services, manager: Manager) -> None:
        self.reject(engine, manager, self.STATUS)
        engine._await_gone(LABELS | {"zhub.user": "bob"})

    def test_one_that_never_had_a_container(self, engine: Services, manager: Manager) -> None:
        """Such as one whose image cannot be had."""
        self.reject(engine, manager, {"State": "rejected", "Err": "No such image"})
        started(engine)
        assert len(manager.made) == 1


class TestMachine:
    """The swarm itself would take one that is not ready first: it has the fewest servers."""

    def constraints(self, manager: Manager) -> list[str]:
        [service] = manager.made.values()
        found: list[str] = service["Spec"]["TaskTemplate"]["Placement"]["Constraints"]
        return found

    def test_any_that_is_ready(self, engine: Services, manager: Manager) -> None:
        started(engine)
        assert self.constraints(manager) == []

    def test_none_without_a_guard(self, engine: Services, manager: Manager) -> None:
        manager.guarded = {"b"}
        started(engine)
        assert self.constraints(manager) == ["node.id!=a"]

    @pytest.mark.parametrize("before", ["registry.example.com/notebook@sha256:before", None])
    def test_none_without_the_image(
        self, engine: Services, manager: Manager, before: str | None
    ) -> None:
        manager.keeping = {"a": BODY["Image"]} | ({"b": before} if before else {})
        started(engine)
        assert self.constraints(manager) == ["node.id!=b"]

    def test_any_with_a_guard_where_none_has_the_image_yet(
        self, engine: Services, manager: Manager
    ) -> None:
        manager.keeping = {}
        manager.guarded = {"a"}
        started(engine)
        assert self.constraints(manager) == ["node.id!=b"]

    @pytest.mark.parametrize("guarded", [set(), {"c"}])
    def test_no_server_where_none_is_ready(
        self, engine: Services, manager: Manager, guarded: set[str]
    ) -> None:
        manager.guarded = guarded
        with pytest.raises(UnusableError, match=r"No machine is ready .* nodeguard runs on none"):
            started(engine)
        assert manager.made == {}

    UNMOUNTED = "starting container failed: failed to mount local volume: no such file or directory"

    @pytest.mark.parametrize("state", ["failed", "rejected"])
    def test_none_that_has_not_started_a_server_lately(
        self,
        engine: Services,
        manager: Manager,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        state: str,
    ) -> None:
        began = time.monotonic()
        monkeypatch.setattr("time.monotonic", lambda: began)

        def refuses(node: str) -> None:
            manager.node = node
            started(engine)
            manager.running[0]["Status"] = {"State": state, "Err": self.UNMOUNTED}
            engine.remove_container(NAME, force=True)

        refuses("b")
        assert "host has not started a server, and gets none for 5 minutes" in caplog.text
        assert self.UNMOUNTED in caplog.text
        started(engine)
        assert self.constraints(manager) == ["node.id!=b"]
        engine.remove_container(NAME, force=True)
        # Where all of them do so, each is tried again.
        refuses("a")
        started(engine)
        assert self.constraints(manager) == []
        engine.remove_container(NAME, force=True)
        refuses("b")
        monkeypatch.setattr("time.monotonic", lambda: began + 301)
        started(engine)
        assert self.constraints(manager) == []

    def test_who_has_got_one_that_does_not_start_it_reads_so(
        self, engine: Services, manager: Manager
    ) -> None:
        manager.state, manager.said = "failed", self.UNMOUNTED
        with pytest.raises(
            UnusableError, match=r"Please try again: you get another.* no such file"
        ):
            started(engine)
        assert manager.made == {}
        manager.state, manager.said = "running", ""
        started(engine)
        assert self.constraints(manager) == ["node.id!=b"]

    def test_one_that_prepares_a_server_for_long_is_left_to_do_so(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as one that gets the image."""
        monkeypatch.setattr(room, "SECONDS", -1)
        manager.state = "preparing"
        started(engine)
        assert NAME in manager.made

    def test_any_on_which_one_has_ended_by_itself(self, engine: Services, manager: Manager) -> None:
        started(engine)
        manager.running[0]["Status"] = {"State": "failed", "Err": "task: non-zero exit (1)"}
        engine.remove_container(NAME, force=True)
        started(engine)
        assert self.constraints(manager) == []

    def test_one_without_the_label_is_left_out_by_it(self) -> None:
        nodes = [
            {"ID": "a", "Spec": {"Labels": {"zhub": "servers"}}},
            {"ID": "b", "Spec": {"Labels": {"zhub": "servers"}}},
            {"ID": "c", "Spec": {"Labels": None}},
        ]
        tasks = [own_task("nodeguard", "a", "x")]
        assert placement.unready(nodes, tasks, "zhub=servers", "y") == ["b"]


def test_files_of_one_machine_alone_get_no_server(
    engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a stack that was on one engine before: another would make an empty home."""
    own = HOME | {"Options": HOME["Options"] | {"device": HOME["Mountpoint"]}}
    for home in (own, HOME | {"Options": None}):
        monkeypatch.setattr(manager, "inspect_volume", lambda _, home=home: home)
        with pytest.raises(UnusableError, match="Your files are on one machine"):
            started(engine)
    assert manager.made == {}


def test_users_servers_are_listed_for_operators(engine: Services, manager: Manager) -> None:
    """As `make users` asks: it says whether a server runs another image than a new one gets."""
    started(engine)
    client: Any = engine
    manager.images = dict.fromkeys(POLICY.settings.images, "sha256:new")
    [server] = servers.running(client, POLICY.settings).values()
    assert (server.memory, server.old) == (1 << 30, False)
    made = manager.made[NAME]["Spec"]["TaskTemplate"]["ContainerSpec"]
    made["Image"] = "registry.example.com/notebook@sha256:before"
    [server] = servers.running(client, POLICY.settings).values()
    assert server.old


class TestNetwork:
    def test_it_is_on_all_nodes_and_the_hub_may_join_it(
        self, engine: Services, manager: Manager
    ) -> None:
        bridges = {"com.docker.network.enable_ipv6": "false"}
        engine.create_network(
            NAME,
            driver="bridge",
            options=bridges,
            labels=NETWORK_LABELS,
            internal=True,
            ipam=addressing(SUBNET),
        )
        options = manager.networked[NAME]["options"]
        assert (options["driver"], options["attachable"]) == ("overlay", True)
        assert options["internal"]
        assert not options["options"]
        [pool] = options["ipam"]["Config"]
        assert pool == {**addressing(SUBNET)["Config"][0], "IPRange": None}

    def test_what_is_sent_in_it_is_encrypted_if_the_stack_says_so(self, manager: Manager) -> None:
        client: Any = manager
        started(Services(client, "site", replace(SWARM, encrypted=True)))
        assert manager.networked[NAME]["options"]["options"] == {"encrypted": ""}

    @pytest.mark.parametrize("now", [True, False])
    def test_one_that_was_left_from_before_the_setting_changed(
        self,
        manager: Manager,
        now: bool,  # noqa: FBT001
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        client: Any = manager
        engine = Services(client, "site", replace(SWARM, encrypted=now))
        seen = manager.inspect_network

        def left(name: str) -> dict[str, Any]:
            return seen(name) | {"Options": {} if now else {"encrypted": ""}}

        monkeypatch.setattr(manager, "inspect_network", left)
        with pytest.raises(UnusableError, match="before the setting swarmEncryption changed"):
            started(engine)
        assert manager.made == {}

    def test_a_subnet_that_is_taken_is_refused_as_by_an_engine(
        self, engine: Services, manager: Manager
    ) -> None:
        """The hub then asks for the next one."""
        options: dict[str, Any] = {"labels": NETWORK_LABELS, "internal": True}
        engine.create_network("other", **options, ipam=addressing(SUBNET))
        with pytest.raises(APIError) as refused:
            engine.create_network(NAME, **options, ipam=addressing(SUBNET))
        assert "overlap" in str(refused.value.explanation)
        assert NAME not in manager.networked
        engine.create_network(NAME, **options, ipam=addressing(IPv4Network("10.213.0.16/28")))

    def test_who_is_in_it(self, engine: Services) -> None:
        made = started(engine)
        assert set(engine.inspect_network(NAME)["Containers"]) == {HUB["Id"], made}
        engine.stop(made, 10)
        assert set(engine.inspect_network(NAME)["Containers"]) == {HUB["Id"]}

    def test_its_removal_waits_for_the_server(self, engine: Services, manager: Manager) -> None:
        started(engine)
        engine.stop(NAME, 10)
        manager.busy = 3
        engine.remove_network(NAME)
        assert manager.networked == {}

    def test_its_removal_waits_until_the_engine_has_forgotten_it(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started(engine)
        engine.stop(NAME, 10)
        left = [manager.networked[NAME]] * 3
        seen = manager.inspect_network
        monkeypatch.setattr(
            manager, "inspect_network", lambda name: left.pop() if left else seen(name)
        )
        engine.remove_network(NAME)
        assert (left, manager.networked) == ([], {})

    def test_any_other_error_is_the_engines(
        self, engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started(engine)
        monkeypatch.setattr(swarm, "GONE_SECONDS", -1)
        manager.busy = 1
        with pytest.raises(APIError):
            engine.remove_network(NAME)


def test_networks_that_the_managers_let_nobody_join(
    engine: Services, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine 28 says."""

    def fails(*_: Any, **__: Any) -> None:
        raise APIError("", explanation=said)

    monkeypatch.setattr(manager, "connect_container_to_network", fails)
    at: dict[str, Any] = {"aliases": [HUB_ALIAS], "ipv4_address": hub_address(SUBNET)}
    said = "attaching to network failed, make sure your network options are correct and check"
    with pytest.raises(UnusableError, match="neither paused nor drained"):
        engine.connect_container_to_network(HUB["Id"], NAME, **at)
    said = "Could not attach to network x1: rpc error: code = NotFound desc = network x1 not found"
    with pytest.raises(UnusableError, match="network of your last server is not gone yet"):
        engine.connect_container_to_network(HUB["Id"], NAME, **at)
    said = "no such network"
    with pytest.raises(APIError, match="no such network"):
        engine.connect_container_to_network(HUB["Id"], NAME, **at)


def test_no_server_starts_where_an_engine_would_leave_out_its_walls(
    engine: Services, manager: Manager
) -> None:
    manager.engine = "24.0.7"
    with pytest.raises(UnusableError, match=r"engines before 25 .* host \(24.0.7\)"):
        started(engine)
    assert manager.made == {}


def test_the_guard_makes_the_calls_that_it_always_makes(engine: Services, manager: Manager) -> None:
    """As the hub asks, from the first call of a start to the last of an end."""
    client: Any = engine
    confinement: Any = type(
        "Confinement",
        (),
        {
            "name_servers": [],
            "left_out": [],
            "server": lambda *_: None,
            "again": lambda *_: None,
        },
    )()
    events: list[str] = []
    stopped: list[tuple[str, ...]] = []
    audit: Any = SimpleNamespace(
        seen=lambda event, **_: events.append(event),
        start=lambda _: None,
        stopped=lambda *run, user: stopped.append((*run, user)),
    )
    policy = replace(POLICY, settings=replace(POLICY.settings, homes_path="/srv/homes"))
    folders = Folders(client, Helpers(client, "filter", "site"), policy.settings)
    guard = Guard(client, policy, confinement, folders, audit)

    made = guard.create_container(Request("", {"name": NAME}, asked()))["Id"]
    guard.start_container(Request(made, {}, {}))
    guard.create_network(
        Request(
            "",
            {},
            {
                "Name": NAME,
                "Labels": NETWORK_LABELS,
                "IPAM": {"Config": [{"Subnet": "10.214.0.0/28"}]},
            },
        )
    )
    endpoint = {"Aliases": [HUB_ALIAS], "IPAMConfig": {"IPv4Address": "10.214.0.2"}}
    guard.connect(Request(NAME, {}, {"Container": HUB["Id"], "EndpointConfig": endpoint}))
    guard.disconnect(Request("none", {}, {"Container": made}))
    guard.connect(Request(NAME, {}, {"Container": made}))
    assert guard.inspect_container(Request(NAME, {}, {}))["State"]["Status"] == "running"
    query = {"all": "1", "filters": f'{{"label": {SERVERS["label"]}}}'.replace("'", '"')}
    [one] = guard.list_containers(Request("", query, {}))
    assert one["Id"] == made
    guard.stop_container(Request(NAME, {"t": "10"}, {}))
    guard.disconnect(Request(NAME, {}, {"Container": HUB["Id"], "Force": True}))
    guard.remove_network(Request(NAME, {}, {}))
    assert (manager.made, manager.networked) == ({}, {})
    assert manager.calls == [
        f"connect ffff n-{NAME} ['{HUB_ALIAS}'] 10.214.0.14",
        f"remove s-{NAME}",
        f"disconnect ffff n-{NAME}",
    ]
    assert events == ["container.make", "container.start"]
    assert stopped == [(made, "2026-11-29T10:00:00Z", "alice")]
