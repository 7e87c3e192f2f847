"""On which machines of a swarm users' servers may start; pure functions of what managers list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from zhub.contract import ROLE
from zhub.guard import homes
from zhub.guard.helpers import UnusableError

LEAST_ENGINE = 25
"""From this version on, services have no-new-privileges and a seccomp profile of their own. An
older engine starts them without these and says nothing: it does not know the fields
(`daemon/server/router/swarm/helpers.go` of moby)."""

GUARD = "nodeguard"
"""Label zhub.role of the containers that set filters, one on each machine (components/nodes.py)."""


def check(home: Mapping[str, Any], nodes: Collection[Mapping[str, Any]], label: str) -> None:
    """Check that a server may start on any machine with the label.

    Args:
        home: the volume with the user's files, as the manager's engine has it.
        nodes: all machines.
        label: NAME=VALUE of those that get servers; empty for all.

    Raises:
        UnusableError: it may not.
    """
    if homes.plain(home):
        raise UnusableError(
            "Your files are on one machine, and your server may start on another. Please tell"
            " your administrator, who has to move them (make homes)."
        )
    if old := without_walls(nodes, label):
        raise UnusableError(
            "Your server does not start, because not all machines are safe for servers. Please"
            f" tell your administrator: engines before {LEAST_ENGINE} start services"
            f" without no-new-privileges. Older ones are on {', '.join(old)}"
        )


def without_walls(nodes: Iterable[Mapping[str, Any]], label: str) -> list[str]:
    """Return the machines that could get a server and would start it without its walls.

    Also those that are away or drained: they may be back in a minute.
    """
    return [
        f"{node['Description']['Hostname']} ({version})"
        for node in _labelled(nodes, label)
        if _major(version := node["Description"]["Engine"]["EngineVersion"]) < LEAST_ENGINE
    ]


def unready(
    nodes: Iterable[Mapping[str, Any]],
    tasks: Collection[Mapping[str, Any]],
    label: str,
    image: str,
    refused: Collection[str] = (),
) -> list[str]:
    """Return the IDs of machines with the label that are not ready for a server.

    The swarm would choose these first: it takes the machine with the fewest servers, such as one
    that has just joined, or one on which no server stays. On a machine without a guard, each server
    ends after a minute.

    Args:
        nodes: all machines.
        tasks: of the stack's own services, those that are to run.
        label: NAME=VALUE of the machines that get servers; empty for all.
        image: of the server. A machine that does not keep it yet is left out while another one
            does.
        refused: IDs of machines that have not started a server lately. They are left out while
            there is another one.

    Raises:
        UnusableError: none is ready.
    """
    guarded = {node_of(task) for task in guards(tasks)}
    keeping = {node_of(task) for task in tasks if _runs(task) and _image(task) == _digest(image)}
    there = {str(node["ID"]) for node in _labelled(nodes, label)}
    guarded &= there
    willing = guarded.difference(refused)
    ready = willing & keeping or willing or guarded & keeping or guarded
    if not ready:
        raise UnusableError(
            "No machine is ready for servers yet. Please try again in a few minutes. If it lasts,"
            f" tell your administrator: the service {GUARD} runs on none of them (docker service"
            " ps)."
        )
    return sorted(there - ready)


def guards(tasks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the tasks of guards that run."""
    return [task for task in tasks if _runs(task) and _role(task) == GUARD]


def names(nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what to call machines, by their IDs: by host names, where these are not the same."""
    hosts = {str(node["ID"]): str(node["Description"]["Hostname"]) for node in nodes}
    often = Counter(hosts.values())
    return {one: host if often[host] == 1 else f"{host} {one}" for one, host in hosts.items()}


def memory(nodes: Iterable[Mapping[str, Any]], label: str) -> dict[str, int]:
    """Return the bytes of the machines with the label that answer, by their IDs."""
    return {
        str(node["ID"]): int(node["Description"]["Resources"]["MemoryBytes"])
        for node in _labelled(nodes, label)
        if node["Status"]["State"] == "ready"
    }


def node_of(task: Mapping[str, Any]) -> str:
    """Return the ID of a task's machine; empty if it has none yet."""
    return str(task.get("NodeID") or "")


def answers(task: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether the machine of a task says what becomes of it; of no machine yet, yes."""
    node = nodes.get(node_of(task))
    return node is None or bool(node["Status"]["State"] == "ready")


def _labelled(nodes: Iterable[Mapping[str, Any]], label: str) -> list[Mapping[str, Any]]:
    name, equals, value = label.partition("=")
    return [
        node
        for node in nodes
        if not equals or (node["Spec"].get("Labels") or {}).get(name) == value
    ]


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _runs(task: Mapping[str, Any]) -> bool:
    return bool(task["Status"]["State"] == "running")


def _role(task: Mapping[str, Any]) -> str:
    return str((task["Spec"]["ContainerSpec"].get("Labels") or {}).get(ROLE))


def _image(task: Mapping[str, Any]) -> str:
    return _digest(task["Spec"]["ContainerSpec"]["Image"])


def _digest(image: str) -> str:
    """Return what stands for an image, however its name is written."""
    return image.rpartition("@")[2]
