"""What the engine of this machine says of its swarm, and whether that carries users' servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError

from components.settings import swarm as settings
from components.settings.build import Platform
from components.settings.config import Config
from components.settings.engine import HOST, Engine
from components.settings.swarm import SWARM, Swarm

#: Where a manager listens, besides its address in the swarm.
MANAGER_PORT = ":2377"

#: Least version of the API, and of engines that are nodes: an older one starts a service's
#: containers without no-new-privileges and its own seccomp profile, and does not say so.
API = (1, 44)
ENGINE = (25, 0)

#: From this version of the API on, services have an OOM score, and a limit of swap.
OOM_API = (1, 46)
SWAP_API = (1, 52)

#: Seconds between two signs of life of a node that this project advises. A node that misses three
#: of them is down, and what runs there ends when it is back (swarmkit's manager/dispatcher).
HEARTBEAT = 30
MISSED = 3

#: Processors as nodes name them, by platform.
PROCESSORS = {Platform.S390X: "s390x", Platform.AMD64: "x86_64", Platform.ARM64: "aarch64"}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One of the swarm's engines, as a manager knows it."""

    id: str
    name: str
    engine: str
    """Version."""
    processor: str
    labels: Mapping[str, str]
    ready: bool
    """Whether the managers hear from it."""
    active: bool
    """Whether it takes new tasks: it is neither paused nor drained."""
    manager: bool

    def runs(self, platform: Platform) -> bool:
        """Whether it is for these images: the engine starts services on no other, emulation or not.

        `PlatformFilter` in manager/scheduler/filter.go of moby/swarmkit.
        """
        return self.processor == PROCESSORS[platform]

    def has(self, label: str | None) -> bool:
        """Whether it has a label, NAME=VALUE; every node has none."""
        name, _, value = (label or "").partition("=")
        return label is None or self.labels.get(name) == value


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an engine says of its swarm."""

    state: str
    """Of its part in it: inactive, pending, active, error or locked."""
    error: str = ""
    """Why it does not work; empty if it does."""
    node: str = ""
    """The engine's own ID as a node."""
    manager: bool = False
    managers: Sequence[str] = ()
    """Addresses of the managers, as far as it knows them."""
    nodes: Sequence[Node] = ()
    """All there are, if it is a manager."""
    live_restore: bool = False
    api: tuple[int, int] = (0, 0)
    """Version of its API."""
    heartbeat: float | None = None
    """Seconds between two signs of life of a node; None if it does not say."""


def ask(client: docker.APIClient, info: Mapping[str, Any]) -> Facts:
    """Return what an engine says of its swarm.

    Args:
        client: of the engine.
        info: what it says of itself.

    Raises:
        docker.errors.DockerException: it does not answer.
    """
    found = info.get("Swarm") or {}
    manager = bool(found.get("ControlAvailable"))
    error, nodes = found.get("Error", ""), []
    if manager:
        try:
            nodes = [_node(one) for one in client.nodes()]
        except APIError as refused:
            # Such as: the swarm does not have a leader.
            error = str(refused.explanation)
    major, minor = client.api_version.split(".")
    dispatcher = ((found.get("Cluster") or {}).get("Spec") or {}).get("Dispatcher") or {}
    period = dispatcher.get("HeartbeatPeriod")
    return Facts(
        state=found.get("LocalNodeState") or "inactive",
        error=error,
        node=found.get("NodeID") or "",
        manager=manager,
        managers=tuple(
            one["Addr"].removesuffix(MANAGER_PORT) for one in found.get("RemoteManagers") or ()
        ),
        nodes=tuple(nodes),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        api=(int(major), int(minor)),
        heartbeat=period / 1e9 if period else None,
    )


def _node(found: Mapping[str, Any]) -> Node:
    spec, about = found["Spec"], found["Description"]
    return Node(
        id=found["ID"],
        name=about["Hostname"],
        engine=about["Engine"]["EngineVersion"],
        processor=about["Platform"]["Architecture"],
        labels=spec.get("Labels") or {},
        ready=found["Status"]["State"] == "ready",
        active=spec["Availability"] == "active",
        manager=spec["Role"] == "manager",
    )


def refuse_unfit(
    config: Config, wanted: Swarm, facts: Facts, engine: Engine, platform: Platform
) -> None:
    """Note what is wrong with a swarm, so that users' servers could not run on it.

    Args:
        config: of the stack.
        wanted: the nodes that servers run on.
        facts: what the engine says.
        engine: how to reach it, for commands.
        platform: of the images.
    """
    docker_ = f"docker --host {engine.host}"
    if facts.state == "inactive":
        first = ", and cannot be while live-restore is on" if facts.live_restore else ""
        config.clash(
            SWARM,
            f"is set, but the engine at {engine.host} is in no swarm{first}. Make one, and let the"
            " other machines join",
            f"{docker_} swarm init",
            f"or {SWARM.remove_command()}",
        )
    elif facts.state == "locked":
        config.clash(
            SWARM,
            f"is set, but the engine at {engine.host} has restarted, and its swarm's key is locked",
            f"{docker_} swarm unlock",
        )
    elif facts.state != "active" or facts.error:
        config.clash(
            SWARM,
            f"is set, but the swarm of the engine at {engine.host} does not work"
            f" ({facts.state}): {facts.error or 'the engine does not say why'}",
            f"{docker_} info",
        )
    elif not facts.manager:
        config.clash(
            HOST,
            f"is {engine.host}, a worker of its swarm: only managers make services. Managers are"
            f" {', '.join(facts.managers)}",
            HOST.set_command(f"ssh://user@{next(iter(facts.managers), 'manager.example.com')}"),
        )
        config.refused.add(HOST)
    else:
        _refuse_nodes(config, wanted, facts, docker_, platform)


def _refuse_nodes(
    config: Config, wanted: Swarm, facts: Facts, docker_: str, platform: Platform
) -> None:
    if facts.api < API:
        config.clash(
            SWARM,
            f"is set, but the engine's API is {_dotted(facts.api)}: before {_dotted(API)}, engine"
            f" {ENGINE[0]}, services have neither no-new-privileges nor a seccomp profile, which"
            " users' servers need. Install a newer engine on all nodes, or run without a swarm",
            SWARM.remove_command(),
        )
    chosen = [node for node in facts.nodes if node.has(wanted.label)]
    # Also one that is drained or away: it may be back in a minute.
    if old := [node for node in chosen if _version(node.engine) < ENGINE]:
        config.clash(
            SWARM,
            f"is set, but {_listed(old)}: before {ENGINE[0]}, an engine starts services without"
            " no-new-privileges and reports no error. Install a newer one, or run no servers there",
            settings.SWARM_NODES.set_command(),
            *(f"{docker_} {_labelling(node)}" for node in facts.nodes if node not in old),
        )
    for own in (node for node in facts.nodes if node.id == facts.node and not node.active):
        config.clash(
            HOST,
            f"is {own.name}, which is paused or drained. The engine does not let containers of such"
            " a node into users' networks, and the hub needs that. Make it active; to run no"
            f" servers there, set {settings.SWARM_NODES}",
            f"{docker_} node update --availability active {own.name}",
        )
    if not any(node.ready and node.active and node.runs(platform) for node in chosen):
        which = f"is for {platform}" + (f", has {wanted.label}" if wanted.label else "")
        name, _, value = (wanted.label or settings.SWARM_NODES.example).partition("=")
        there = "; ".join(_state(node) for node in facts.nodes)
        config.clash(
            settings.SWARM_NODES if wanted.label else SWARM,
            f"leaves no node for users' servers: none {which} and takes new tasks. Nodes: {there}",
            f"{docker_} node update --availability active --label-add {name}={value} NODE",
        )


def _labelling(node: Node) -> str:
    return f"node update --label-add {settings.SWARM_NODES.example} {node.name}"


def _state(node: Node) -> str:
    about = [
        node.processor,
        "answers" if node.ready else "does not answer",
        *([] if node.active else ["paused or drained"]),
        *(f"{name}={value}" for name, value in sorted(node.labels.items())),
    ]
    return f"{node.name} ({', '.join(about)})"


def warnings(wanted: Swarm | None, facts: Facts | None, platform: Platform) -> Iterator[str]:
    """Yield what is allowed but not advised, and what servers lack on a swarm.

    Args:
        wanted: the nodes that servers run on; None where they run on the engine itself.
        facts: what a manager says; None if it was not asked.
        platform: of the images.
    """
    if wanted is None:
        return
    yield (
        "servers on a swarm are experimental: hub, proxy and directory stay on the machine of"
        " docker:host, and nobody logs in while that one is away; what else is missing is in"
        " docs/swarm.md"
    )
    if facts is None:
        return
    chosen = [node for node in facts.nodes if node.has(wanted.label)]
    yield from _of_managers(facts)
    fits = [node for node in chosen if node.ready and node.active and node.runs(platform)]
    if others := [node for node in chosen if node not in fits]:
        yield f"no server, all for {platform}, starts on {'; '.join(map(_state, others))}"
    if len({node.engine for node in facts.nodes}) > 1:
        yield (
            f"the swarm's engines are of different versions, as during an update:"
            f" {_listed(facts.nodes)}"
        )
    if facts.api < SWAP_API:
        yield (
            "before engine 29, services have no limit of swap: a user's server may take as much"
            " swap as memory. Turn swap off on all nodes"
        )
    if facts.api < OOM_API:
        yield (
            "before engine 27, services have no OOM score: when a machine runs out of memory, the"
            " kernel may end something else than a user's server"
        )
    if not wanted.encrypted:
        yield (
            "what the hub and users' servers send each other from node to node, such as their"
            f" tokens, is not encrypted. {settings.SWARM_ENCRYPTION} encrypts it, where all nodes'"
            " kernels have IPsec's ESP"
        )
    yield (
        "on a swarm, users' servers get as much processor time as other containers, not less"
        " (services have no such setting)"
    )


def _of_managers(facts: Facts) -> Iterator[str]:
    managers = sum(node.manager for node in facts.nodes)
    if managers == 1:
        yield (
            "the swarm has one manager: if its machine is lost, you have to make a new swarm; of"
            " three managers, one may be lost"
        )
    elif managers % 2 == 0:
        yield (
            f"the swarm has {managers} managers, which is no safer than {managers - 1}: use an odd"
            " number"
        )
    if facts.heartbeat and facts.heartbeat < HEARTBEAT:
        yield (
            f"users' servers end on a node that has no network for {MISSED * facts.heartbeat:g} s."
            f" So that it takes {MISSED * HEARTBEAT} s, on a manager: docker swarm update"
            f" --dispatcher-heartbeat {HEARTBEAT}s"
        )


def _listed(nodes: Sequence[Node]) -> str:
    return ", ".join(f"{node.name} has engine {node.engine}" for node in nodes)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _version(text: str) -> tuple[int, int]:
    """Return the first two numbers of an engine's version, such as 28.5.2 or 26.1.5+dfsg1."""
    numbers = [int(part) for part in text.split(".")[:2] if part.isdecimal()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)
