"""Users' servers as services of a swarm: the engine's form of them, and what it says of them.

Pure functions. The guard checks what the hub asks for as on a single engine (policy.py), and what
comes out of that, the body of a container, is what the service's container is made from.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from zhub.contract import (
    AWAIT_FILTER,
    FILTER_SIGN,
    LEASE,
    LEASE_SECONDS,
    NO_NETWORK,
    ROLE,
    STACK,
    SUBNET_PREFIX,
    USER,
)
from zhub.guard.environment import HOME
from zhub.guard.policy import CPU_PERIOD

SECCOMP = "seccomp="
"""What a profile among a container's security options begins with."""

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of the container
SHARED_MEMORY_MODE = 0o1777

NANO = 10**9

RESERVED_CPUS = 10
"""A server reserves its processors divided by this: most servers wait for their users. It reserves
all of its memory, because a machine cannot take that back."""

SWAP_API = (1, 52)
OOM_API = (1, 46)
"""Versions of the engine's API from which services have these limits; older ones refuse neither."""

WALLS_API = (1, 44)
"""From this version on, services have no-new-privileges and a seccomp profile of their own."""

ENDED = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}
"""States of a task that does not run any more (swarmkit's design/task_model.md)."""

UNFIT = "no longer meets constraints"
"""In what managers say of a task whose machine has lost the label, or some of its memory."""

ENCRYPTED = "encrypted"
"""Option of the overlay driver: machines send each other the network's packets by IPsec only."""

ID = "zhub.id"
"""Label of a service with the ID by which the hub knows the server: there is one before there is a
service."""

AWAY = "its machine does not answer"


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """What all servers of a stack have in common on a swarm."""

    label: str = ""
    """NAME=VALUE of the nodes that they may run on; empty for all nodes."""
    processor: str
    """Of the image, as images name it; the engine takes no other nodes."""
    grace: int
    """Seconds that a server has to end."""
    api: tuple[int, int]
    """Version of the managers' API."""
    unready: tuple[str, ...] = ()
    """IDs of machines that get no server at the moment."""
    encrypted: bool = False
    """Whether machines encrypt what is sent in users' networks."""


def body(
    name: str,
    container: Mapping[str, Any],
    home: Mapping[str, Any],
    network: str,
    swarm: Swarm,
) -> dict[str, Any]:
    """Return the body that creates a server's service.

    It has one task, which the swarm never starts a second time, nor anywhere else: while a machine
    is cut off, its servers run on there, and a home must not have two.

    Args:
        name: of the server.
        container: the body that would create it on a single engine, as the policy returns it.
        home: the volume with its files, as the engine has it here.
        network: ID of the user's network.
        swarm: where it may run, and how.
    """
    host = container["HostConfig"]
    return {
        "Name": name,
        "Labels": dict(container["Labels"]),
        "TaskTemplate": {
            "ContainerSpec": _container(container, home, swarm),
            "Resources": _resources(host, swarm),
            "RestartPolicy": {"Condition": "none"},
            "Placement": {
                "Constraints": [
                    *_constraints(swarm.label),
                    *(f"node.id!={one}" for one in swarm.unready),
                ],
                "Platforms": [{"OS": "linux", "Architecture": swarm.processor}],
            },
            "Networks": [{"Target": network}],
            "LogDriver": {
                "Name": host["LogConfig"]["Type"],
                "Options": dict(host["LogConfig"]["Config"]),
            },
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        # Without an address of the service's own, which kernels without IPVS cannot have.
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def _constraints(label: str) -> list[str]:
    name, equals, value = label.partition("=")
    return [f"node.labels.{name}=={value}"] if equals else []


def _container(
    container: Mapping[str, Any], home: Mapping[str, Any], swarm: Swarm
) -> dict[str, Any]:
    host = container["HostConfig"]
    address, port = FILTER_SIGN
    spec = {
        "Image": container["Image"],
        # The image has no entry point: its command is all of it.
        "Args": list(container["Cmd"]),
        "Env": [
            *container["Env"],
            f"{AWAIT_FILTER}={address}:{port}",
            f"{LEASE}={LEASE_SECONDS}",
        ],
        "Labels": dict(container["Labels"]),
        "Init": host["Init"],
        "StopGracePeriod": swarm.grace * NANO,
        "CapabilityDrop": list(host["CapDrop"]),
        "Privileges": _privileges(host["SecurityOpt"]),
        "Mounts": [
            _home(home),
            {
                "Type": "tmpfs",
                "Target": SHARED_MEMORY,
                "TmpfsOptions": {"SizeBytes": host["ShmSize"], "Mode": SHARED_MEMORY_MODE},
            },
            *host.get("Mounts", ()),
        ],
        **({"DNSConfig": {"Nameservers": list(host["Dns"])}} if host.get("Dns") else {}),
    }
    if swarm.api >= OOM_API:
        spec["OomScoreAdj"] = host["OomScoreAdj"]
    return spec


def _privileges(options: list[str]) -> dict[str, Any]:
    """Return a container's security options as services have them.

    Raises:
        ValueError: one of them has no place there.
    """
    found: dict[str, Any] = {}
    for option in options:
        if option == "no-new-privileges":
            found["NoNewPrivileges"] = True
        elif option.startswith(SECCOMP):
            profile = option.removeprefix(SECCOMP).encode()
            found["Seccomp"] = {"Mode": "custom", "Profile": base64.b64encode(profile).decode()}
        else:
            raise ValueError(f"services have no security option {option[:40]}")
    return found


def _home(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mount of a home; the engine of the server's node makes the volume by it."""
    return {
        "Type": "volume",
        "Source": found["Name"],
        "Target": HOME,
        "VolumeOptions": {
            "Labels": dict(found["Labels"]),
            "DriverConfig": {"Name": found["Driver"], "Options": dict(found["Options"])},
        },
    }


def _resources(host: Mapping[str, Any], swarm: Swarm) -> dict[str, Any]:
    cpus = host["CpuQuota"] * NANO // CPU_PERIOD
    return {
        "Limits": {
            "MemoryBytes": host["Memory"],
            "NanoCPUs": cpus,
            "Pids": host["PidsLimit"],
        },
        "Reservations": {"MemoryBytes": host["Memory"], "NanoCPUs": cpus // RESERVED_CPUS},
        # Both limits of a container are of memory and swap together.
        **({"SwapBytes": host["MemorySwap"] - host["Memory"]} if swarm.api >= SWAP_API else {}),
    }


def newest(tasks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the task that a service is about; there is one, but for the moment of its making."""
    return max(tasks, key=lambda task: task["CreatedAt"], default=None)


def may_run(task: Mapping[str, Any]) -> bool:
    """Return whether a task's container may run, or may be about to, by what was heard last."""
    return task["Status"]["State"] not in ENDED


def begun(task: Mapping[str, Any]) -> bool:
    """Return whether a task's container runs, or has come to its end."""
    return task["Status"]["State"] == "running" or not may_run(task)


def cut_short(task: Mapping[str, Any]) -> bool:
    """Return whether a task has "ended" by the managers' word alone, and may still run.

    They call it rejected where its machine has lost the label, or has less memory than is reserved,
    also while they do not know yet that it is away (`ConstraintEnforcer` of swarmkit). What the
    machine says later they ignore, as the state is a final one (`processTaskUpdates` of its
    dispatcher). A machine itself rejects a task only before it has a container.
    """
    status = task["Status"]
    return status["State"] == "rejected" and (contained(task) or UNFIT in status.get("Err", ""))


def contained(task: Mapping[str, Any]) -> bool:
    """Return whether a task has, or had, a container."""
    return bool((task["Status"].get("ContainerStatus") or {}).get("ContainerID"))


def hub_address(asked: str) -> str:
    """Return the hub's address in a user's network, given the one that it has on a single engine.

    It is the last one there. Managers give the lowest free address above the one that they gave
    last (`setIPAMSerialAlloc` of moby's cnmallocator), to servers and to each machine of a server.
    The second one, which the hub has on a single engine, would be the first that they give while
    the hub's container is stopped, and that container could not start again.
    """
    return str(IPv4Interface(f"{asked}/{SUBNET_PREFIX}").network[-2])


def encrypted(network: Mapping[str, Any]) -> bool:
    """Return whether machines encrypt what is sent in a network, as the engine describes it."""
    return ENCRYPTED in (network.get("Options") or {})


def as_container(
    service: Mapping[str, Any], task: Mapping[str, Any] | None, node: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a server in the form in which the hub knows containers.

    A server on a machine that does not answer counts as running: it may well be.

    Args:
        service: as the engine has it.
        task: its own; None if it has none yet.
        node: that the task is on; None as long as it is on none, or if the node was removed.
    """
    spec = service["Spec"]["TaskTemplate"]["ContainerSpec"]
    name = service["Spec"]["Name"]
    return {
        "Id": (service["Spec"].get("Labels") or {}).get(ID, service["ID"]),
        "Name": f"/{name}",
        "Image": spec["Image"],
        "Config": {"Env": list(spec.get("Env") or ()), "Labels": _own(spec.get("Labels") or {})},
        # What the limit of all servers' memory is counted by.
        "HostConfig": {
            "Memory": service["Spec"]["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"]
        },
        "State": _state(task, node),
        "NetworkSettings": {"Networks": addresses(task)},
        "Mounts": [
            {"Destination": mount["Target"], "RW": not mount.get("ReadOnly", False)}
            for mount in spec.get("Mounts") or ()
            if mount["Type"] != "tmpfs"
        ],
    }


def _own(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name in {STACK, ROLE, USER}}


def _state(task: Mapping[str, Any] | None, node: Mapping[str, Any] | None) -> dict[str, Any]:
    status: Mapping[str, Any] = task["Status"] if task else {"State": "new"}
    name = status["State"]
    # A removed node's tasks are orphans, and its machine is off: somebody said so.
    ended = name in ENDED or bool(task and task.get("NodeID") and node is None)
    away = not ended and bool(node) and (node or {})["Status"]["State"] != "ready"
    return {
        "Status": "exited" if ended else "running" if name == "running" else "created",
        "Running": not ended,
        "Paused": False,
        "ExitCode": (status.get("ContainerStatus") or {}).get("ExitCode", 0),
        "Error": AWAY if away else status.get("Err", ""),
        # Of the only run that it has: from this, and the ID, the audit log knows one from another.
        "StartedAt": task["CreatedAt"] if task else "",
        "FinishedAt": status.get("Timestamp", "") if ended else "",
    }


def addresses(task: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the networks of a task in which it has an address, and the address in each."""
    return {
        one["Network"]["Spec"]["Name"]: {"IPAddress": one["Addresses"][0].partition("/")[0]}
        for one in (task or {}).get("NetworksAttachments") or ()
        if one.get("Addresses")
    }


def not_yet(made: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked for, as a container that has no network yet."""
    return {
        "Id": made,
        "Name": f"/{name}",
        "Image": body["Image"],
        "Config": {"Env": body["Env"], "Labels": body["Labels"]},
        "HostConfig": body["HostConfig"],
        "State": {
            "Status": "running",
            "Running": True,
            "Paused": False,
            "ExitCode": 0,
            "Error": "",
            "StartedAt": "",
            "FinishedAt": "",
        },
        "NetworkSettings": {"Networks": {NO_NETWORK: {}}},
        "Mounts": [],
    }
