"""What is said of a swarm, and of settings that do not go with one, before anything is declared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pulumi
import pytest

from components.settings import local_engine, swarm_facts
from components.settings.build import Platform
from components.settings.deployed import CONTAINER, Deployed
from components.settings.engine import Engine
from components.settings.swarm import Swarm, refuse_change
from components.settings.swarm_facts import Facts
from tests.components.recorder import run
from tests.components.settings.engines import NO_LEADER, on_this_machine
from tests.components.stack_config import DEMO, read, refused

ON_SWARM = {
    "zhub:swarm": "true",
    "zhub:registry": "registry.example.com",
    "zhub:homesPath": "/srv/homes/zhub",
}

ENGINE = "28.5.2"


def node(name: str, **more: str) -> dict[str, Any]:
    """A node as a manager lists it."""
    key, _, value = more.get("label", "").partition("=")
    return {
        "ID": f"id-of-{name}",
        "Spec": {
            "Labels": {key: value} if key else None,
            "Role": more.get("role", "worker"),
            "Availability": more.get("availability", "active"),
        },
        "Description": {
            "Hostname": name,
            "Platform": {"Architecture": more.get("processor", "s390x"), "OS": "linux"},
            "Engine": {"EngineVersion": more.get("engine", ENGINE)},
        },
        "Status": {"State": more.get("state", "ready")},
    }


MANAGER = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True, "Error": ""}}
WORKER = {
    "Swarm": {
        "LocalNodeState": "active",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": [{"NodeID": "a", "Addr": "192.0.2.7:2377"}],
    }
}
Engines = Callable[..., Engine]


def seen(engine: Engine) -> Facts:
    found = local_engine.ask(engine)
    assert found
    assert found.swarm
    return found.swarm


def problems(engine: Engine, free: int, **config: str) -> str:
    """What the program says of a stack on that engine."""
    with pytest.raises(pulumi.RunError) as raised:
        run(on_this_machine(engine, free, **config) | ON_SWARM, preview=True)
    _, _, said = str(raised.value).partition("\n\n")
    return said


def warnings(facts: Facts, label: str | None = None) -> str:
    return "\n".join(swarm_facts.warnings(Swarm(label=label), facts, Platform.S390X))


class TestSettings:
    def test_a_label_is_for_a_swarm(self) -> None:
        label = {"zhub:swarmNodes": "zhub=servers"}
        said = refused(DEMO | label)
        assert said == "swarmNodes: has no use without swarm\n    pulumi config rm swarmNodes"
        found, _ = read(DEMO | ON_SWARM | label)
        assert found.swarm == Swarm(label="zhub=servers")
        assert read(DEMO)[0].swarm is None

    def test_encryption_is_for_a_swarm(self) -> None:
        encryption = {"zhub:swarmEncryption": "true"}
        assert refused(DEMO | encryption) == (
            "swarmEncryption: has no use without swarm\n    pulumi config rm swarmEncryption"
        )
        found, _ = read(DEMO | ON_SWARM | encryption)
        assert found.swarm == Swarm(encrypted=True)

    @pytest.mark.parametrize("text", ["zhub", "=x", "a b=c", "a==b", "a=b,c=d"])
    def test_what_is_no_label(self, text: str) -> None:
        said = "\n".join(map(str, read(DEMO | ON_SWARM | {"zhub:swarmNodes": text})[1].problems))
        assert f'swarmNodes is "{text}": not a label of nodes' in said
        assert "pulumi config set swarmNodes zhub=servers" in said

    @pytest.mark.parametrize(
        ("config", "about", "command"),
        [
            (
                {"zhub:registry": ""},
                "registry: is not set, but with swarm every node gets the images from a registry",
                "pulumi config set registry registry.example.com/jupyter",
            ),
            (
                {"zhub:homesPath": ""},
                "homesPath: is not set, but with swarm a user's server runs on any node",
                "pulumi config set homesPath /srv/homes/zhub",
            ),
            (
                {"zhub:sharedFolders": json.dumps([{"name": "project"}])},
                "sharedFolders: has project without a path, so in a volume of one engine",
                "pulumi config set --path 'sharedFolders[0].path' project",
            ),
            (
                {
                    "zhub:profiles": json.dumps(
                        [{"name": "plain"}, {"name": "crypto", "devices": ["z90crypt"]}]
                    )
                },
                "profiles: has devices in crypto: with swarm, servers are services",
                "pulumi config rm --path 'profiles[1].devices'",
            ),
        ],
    )
    def test_what_only_one_engine_has(
        self, config: dict[str, str], about: str, command: str
    ) -> None:
        found = read(DEMO | ON_SWARM | config)[1].problems
        [said] = map(str, found)
        assert said.startswith(about)
        assert f"\n    {command}" in said

    @pytest.mark.parametrize(
        ("before", "config", "said"),
        [
            (None, ON_SWARM, ""),
            ([], {}, ""),
            (["ZHUB_SWARM=true", "ZHUB_HOMES_PATH=/srv/homes/zhub"], ON_SWARM, ""),
            ([], ON_SWARM, "swarm: changes, but the stack is up without a swarm"),
            (["ZHUB_SWARM=true"], {}, "swarm: changes, but the stack is up on a swarm"),
            (
                ["ZHUB_SWARM=true", "ZHUB_HOMES_PATH=/srv/old"],
                ON_SWARM,
                "homesPath: changes from /srv/old to /srv/homes/zhub, but each node of the swarm",
            ),
            (
                ["ZHUB_SWARM=true", "ZHUB_HOMES_PATH=/srv/old"],
                ON_SWARM | {"zhub:homesPath": "", "zhub:homesDriver": "vendor/plugin"},
                "homesPath: changes from /srv/old to vendor/plugin, but each node of the swarm",
            ),
            (
                ["ZHUB_SWARM=true", "ZHUB_HOMES_DRIVER=vendor/plugin"],
                ON_SWARM | {"zhub:homesPath": "", "zhub:homesDriver": "vendor/plugin"},
                "",
            ),
        ],
    )
    def test_what_cannot_change_while_the_stack_is_up(
        self, before: list[str] | None, config: dict[str, str], said: str
    ) -> None:
        found, declared = read(DEMO | config)
        urn = "urn:pulumi:prod::zhub::zhub:hub:Hub$docker:index/container:Container::guard"
        state = Deployed({} if before is None else {urn: (CONTAINER, {"envs": before})})
        refuse_change(declared, found.swarm, found.users.homes, state)
        text = "\n".join(map(str, declared.problems))
        assert text.startswith(said)
        assert bool(text) == bool(said)

    def test_without_a_swarm_nothing_of_it_is_said(self, engine_with: Engines, free: int) -> None:
        worker = engine_with(more=WORKER)
        assert run(on_this_machine(worker, free), preview=True).declared


class TestRefused:
    def test_an_engine_in_no_swarm(self, engine_with: Engines, free: int) -> None:
        engine = engine_with()
        said = problems(engine, free)
        assert f"swarm: is set, but the engine at {engine.host} is in no swarm. Make one" in said
        assert f"\n    docker --host {engine.host} swarm init" in said
        assert "live-restore" not in said

    def test_an_engine_that_could_not_be_in_one(self, engine_with: Engines, free: int) -> None:
        said = problems(engine_with(more={"LiveRestoreEnabled": True}), free)
        assert "is in no swarm, and cannot be while live-restore is on" in said

    def test_a_worker(self, engine_with: Engines, free: int) -> None:
        engine = engine_with(more=WORKER)
        said = problems(engine, free)
        assert f"docker:host: is {engine.host}, a worker of its swarm" in said
        assert "Managers are 192.0.2.7\n" in said
        assert "\n    pulumi config set docker:host ssh://user@192.0.2.7" in said

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("locked", "has restarted, and its swarm's key is locked"),
            ("error", "does not work (error): something"),
            ("pending", "does not work (pending): something"),
        ],
    )
    def test_one_that_does_not_work(
        self, engine_with: Engines, free: int, state: str, said: str
    ) -> None:
        info = {"Swarm": {"LocalNodeState": state, "ControlAvailable": False, "Error": "something"}}
        assert said in problems(engine_with(more=info), free)

    def test_one_without_a_leader(self, engine_with: Engines, free: int) -> None:
        said = problems(engine_with(more=MANAGER, api="1.51"), free)
        assert f"does not work (active): {NO_LEADER}" in said

    def test_engines_that_leave_walls_out(self, engine_with: Engines, free: int) -> None:
        nodes = [node("new"), node("old", engine="20.10.24+dfsg1"), node("gone", engine="24.0.9")]
        said = problems(engine_with(more=MANAGER, api="1.41", nodes=nodes), free)
        assert "the engine's API is 1.41: before 1.44, engine 25, services have neither" in said
        assert "old has engine 20.10.24+dfsg1, gone has engine 24.0.9: before 25, an engine" in said
        # Away from the old ones.
        assert "node update --label-add zhub=servers new" in said
        assert "zhub=servers old" not in said

    def test_old_engines_that_get_no_servers_are_fine(
        self, engine_with: Engines, free: int
    ) -> None:
        nodes = [node("new", label="zhub=servers"), node("old", engine="20.10.24")]
        engine = engine_with(more=MANAGER, api="1.51", nodes=nodes)
        said = problems(engine, free, swarmNodes="zhub=servers")
        assert "old has engine" not in said
        assert "leaves no node" not in said

    @pytest.mark.parametrize(
        "others",
        [
            [node("a", label="zhub=other"), node("b")],
            [node("a", label="zhub=servers", state="down")],
            [node("a", label="zhub=servers", availability="drain")],
            [node("a", label="zhub=servers", availability="pause")],
            [node("a", label="zhub=servers", processor="x86_64")],
        ],
        ids=["other", "down", "drained", "paused", "processor"],
    )
    def test_no_node_for_servers(
        self, engine_with: Engines, free: int, others: Sequence[dict[str, Any]]
    ) -> None:
        engine = engine_with(more=MANAGER, api="1.51", nodes=others)
        said = problems(engine, free, swarmNodes="zhub=servers")
        assert "swarmNodes: leaves no node for users' servers: none is for linux/s390x, has" in said
        assert "Nodes: a (" in said
        assert "--availability active --label-add zhub=servers NODE" in said

    def test_the_hubs_own_node_takes_no_tasks(self, engine_with: Engines, free: int) -> None:
        own = {"Swarm": MANAGER["Swarm"] | {"NodeID": "id-of-a"}}
        nodes = [node("a", role="manager", availability="drain"), node("b")]
        said = problems(engine_with(more=own, nodes=nodes), free)
        assert "docker:host: is a, which is paused or drained" in said
        assert "node update --availability active a" in said

    def test_a_good_one(self, engine_with: Engines, free: int) -> None:
        nodes = [node("a", role="manager"), node("b", engine="25.0.0")]
        said = problems(engine_with(more=MANAGER, api="1.44", nodes=nodes), free)
        # homesPath is not there on this machine.
        subjects = [line.partition(":")[0] for line in said.splitlines() if line[:1] != " "]
        assert subjects == ['homesPath is "/srv/homes/zhub"']


class TestWarnings:
    @pytest.fixture
    def facts(self, engine_with: Engines) -> Callable[..., Facts]:
        def facts(*nodes: dict[str, Any], api: str = "1.52") -> Facts:
            return seen(engine_with(more=MANAGER, api=api, nodes=nodes))

        return facts

    def test_what_is_said_of_every_swarm(self, facts: Callable[..., Facts]) -> None:
        three = [node(name, role="manager") for name in "abc"]
        first, second, third = warnings(facts(*three)).splitlines()
        assert first.startswith("servers on a swarm are experimental: hub, proxy and directory")
        assert "tokens, is not encrypted. swarmEncryption encrypts it" in second
        encrypted = swarm_facts.warnings(Swarm(encrypted=True), facts(*three), Platform.S390X)
        assert list(encrypted) == [first, third]
        assert third.startswith(
            "on a swarm, users' servers get as much processor time as other containers"
        )

    def test_managers(self, facts: Callable[..., Facts]) -> None:
        managers = [node(name, role="manager") for name in "abcd"]
        assert "the swarm has one manager" in warnings(facts(managers[0], node("w")))
        assert "has 2 managers, which is no safer than 1: use an odd number" in warnings(
            facts(*managers[:2])
        )
        assert "has 4 managers" in warnings(facts(*managers))

    def test_nodes(self, facts: Callable[..., Facts]) -> None:
        said = warnings(
            facts(
                node("a", engine="27.1.1"),
                node("b", label="zhub=servers", availability="drain"),
                node("c", processor="x86_64"),
            )
        )
        assert "no server, all for linux/s390x, starts on b (s390x, answers, paused" in said
        assert "different versions, as during an update: a has engine 27.1.1, b has" in said
        assert "; c (x86_64, answers)" in said

    def test_nodes_that_get_no_servers_do_not_matter(self, facts: Callable[..., Facts]) -> None:
        said = warnings(
            facts(node("a", label="zhub=servers"), node("b", state="down", processor="x86_64")),
            "zhub=servers",
        )
        assert "no server, all for" not in said

    def test_what_older_engines_lack(self, facts: Callable[..., Facts]) -> None:
        assert "swap" in warnings(facts(api="1.51"))
        assert "OOM score" not in warnings(facts(api="1.46"))
        assert "OOM score" in warnings(facts(api="1.45"))

    @pytest.mark.parametrize(("seconds", "said"), [(5, "no network for 15 s"), (30, ""), (0, "")])
    def test_machines_that_are_soon_taken_for_lost(
        self, engine_with: Engines, seconds: int, said: str
    ) -> None:
        spec = {"Dispatcher": {"HeartbeatPeriod": seconds * 10**9}}
        more = {"Swarm": MANAGER["Swarm"] | {"Cluster": {"Spec": spec}}}
        found = warnings(seen(engine_with(more=more, api="1.52", nodes=[node("a")])))
        assert said in found
        assert ("--dispatcher-heartbeat 30s" in found) is bool(said)

    def test_they_are_part_of_the_stacks(self, facts: Callable[..., Facts]) -> None:
        assert list(swarm_facts.warnings(None, facts(), Platform.S390X)) == []
        # A manager that is reached by ssh is not asked.
        [said] = swarm_facts.warnings(Swarm(), None, Platform.S390X)
        assert "docs/swarm.md" in said
