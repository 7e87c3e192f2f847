"""Convert what the engine's `inspect` says of a service to properties.

Pure functions. What is read back follows resource_docker_service_structures.go in
kreuzwerker/terraform-provider-docker.
"""

from __future__ import annotations

from typing import Any

from plugins.docker import durations
from plugins.docker.hostconfig import HEALTH
from plugins.docker.inspected import stored_mount
from plugins.docker.resource import in_order, label_list
from plugins.docker.servicespec import (
    AMOUNTS,
    CONTAINER,
    DNS,
    PORT,
    RESTART_TIMES,
    ROLLOUT,
    ROLLOUT_TIMES,
    SELINUX,
)
from plugins.values import Properties


def settled(found: dict[str, Any]) -> bool:
    """Tell whether the engine has chosen how the service is reached, some time after a create."""
    return bool(_endpoint(found).get("Mode"))


def _endpoint(found: dict[str, Any]) -> dict[str, Any]:
    made = (found.get("Endpoint") or {}).get("Spec") or {}
    return made if made.get("Mode") else found["Spec"].get("EndpointSpec") or {}


def stored(found: dict[str, Any]) -> Properties:
    """Return the properties of an existing service, from the engine's `inspect`."""
    spec = found["Spec"]
    ports = (found.get("Endpoint") or {}).get("Ports") or _endpoint(found).get("Ports") or []
    result = {
        "name": spec["Name"],
        "labels": label_list(spec.get("Labels")),
        "taskSpec": _task(spec["TaskTemplate"]),
        "mode": _mode(spec.get("Mode") or {}),
        "endpointSpec": {
            **_named(_endpoint(found), {"mode": "Mode"}),
            "ports": [_named(port, PORT) for port in ports],
        },
    }
    for name, key in (("updateConfig", "UpdateConfig"), ("rollbackConfig", "RollbackConfig")):
        if spec.get(key):
            result[name] = _rollout(spec[key])
    return result


def _named(found: dict[str, Any], names: dict[str, str]) -> Properties:
    """Return what the engine has a value for, under the program's names."""
    return {name: found[key] for name, key in names.items() if found.get(key)}


def _task(task: dict[str, Any]) -> Properties:
    result: Properties = {
        "containerSpec": _container(task["ContainerSpec"]),
        "forceUpdate": task.get("ForceUpdate", 0),
        **_named(task, {"runtime": "Runtime"}),
    }
    if task.get("Resources") is not None:
        result["resources"] = _resources(task["Resources"])
    if task.get("RestartPolicy") is not None:
        result["restartPolicy"] = _restart(task["RestartPolicy"])
    if task.get("Placement") is not None:
        result["placement"] = _placement(task["Placement"])
    if networks := task.get("Networks"):
        result["networksAdvanceds"] = in_order(map(_network, networks))
    if log := task.get("LogDriver"):
        result["logDriver"] = {"name": log["Name"], **_named(log, {"options": "Options"})}
    return result


def _container(spec: dict[str, Any]) -> Properties:
    result: Properties = {
        **_named(spec, CONTAINER),
        "labels": label_list(spec.get("Labels")),
        "env": dict(line.partition("=")[::2] for line in spec.get("Env") or []),
        "mounts": in_order(map(_mount, spec.get("Mounts") or [])),
        "hosts": in_order(map(_host, spec.get("Hosts") or [])),
        "secrets": in_order(_file(item, "secret") for item in spec.get("Secrets") or []),
        "configs": in_order(_file(item, "config") for item in spec.get("Configs") or []),
    }
    if (grace := spec.get("StopGracePeriod")) is not None:
        result["stopGracePeriod"] = durations.short(grace)
    if (check := spec.get("Healthcheck")) is not None:
        times = {n: durations.short(check.get(k) or 0) for n, k in HEALTH.items() if k in _TIMES}
        result["healthcheck"] = {
            "tests": check.get("Test") or [],
            "retries": check.get("Retries", 0),
            **times,
        }
    if (dns := spec.get("DNSConfig")) is not None:
        result["dnsConfig"] = _named(dns, DNS)
    if (privileges := spec.get("Privileges")) is not None:
        context = privileges.get("SELinuxContext")
        result["privileges"] = {"seLinuxContext": _named(context, SELINUX)} if context else {}
    if (init := spec.get("Init")) is not None:
        result["init"] = init
    return result


#: Of a health check; services have no `startInterval`.
_TIMES = {"Interval", "Timeout", "StartPeriod"}


def _mount(found: dict[str, Any]) -> Properties:
    result = stored_mount(found)
    result.get("volumeOptions", {}).pop("subpath", None)
    return result


def _host(entry: str) -> Properties:
    ip, _, host = entry.partition(" ")
    return {"ip": ip, "host": host}


def _file(found: dict[str, Any], kind: str) -> Properties:
    key, file = kind.capitalize(), found.get("File") or {}
    return {
        f"{kind}Id": found[f"{key}ID"],
        f"{kind}Name": found.get(f"{key}Name", ""),
        "fileName": file.get("Name", ""),
        "fileUid": file.get("UID") or "0",
        "fileGid": file.get("GID") or "0",
        "fileMode": file.get("Mode", 0),
    }


def _resources(found: dict[str, Any]) -> Properties:
    parts = {"limits": "Limits", "reservation": "Reservations"}
    return {
        name: {one: found[key].get(other, 0) for one, other in AMOUNTS.items()}
        for name, key in parts.items()
        if found.get(key) is not None
    }


def _restart(found: dict[str, Any]) -> Properties:
    times = {
        name: durations.short(found[key])
        for name, key in RESTART_TIMES.items()
        if found.get(key) is not None
    }
    return {
        **_named(found, {"condition": "Condition"}),
        "maxAttempts": found.get("MaxAttempts") or 0,
        **times,
    }


def _placement(found: dict[str, Any]) -> Properties:
    return {
        "constraints": in_order(found.get("Constraints") or []),
        "prefs": in_order(
            item["Spread"]["SpreadDescriptor"] for item in found.get("Preferences") or []
        ),
        "maxReplicas": found.get("MaxReplicas", 0),
        "platforms": in_order(
            {"architecture": item.get("Architecture", ""), "os": item.get("OS", "")}
            for item in found.get("Platforms") or []
        ),
    }


def _network(found: dict[str, Any]) -> Properties:
    return {
        "id": found["Target"],
        "aliases": in_order(found.get("Aliases") or []),
        "driverOpts": in_order(f"{k}={v}" for k, v in (found.get("DriverOpts") or {}).items()),
    }


def _mode(found: dict[str, Any]) -> Properties:
    replicated = found.get("Replicated")
    return {
        **({"replicated": {"replicas": replicated.get("Replicas", 0)}} if replicated else {}),
        "global": found.get("Global") is not None,
    }


def _rollout(found: dict[str, Any]) -> Properties:
    return {
        "parallelism": found.get("Parallelism", 0),
        **_named(found, {name: key for name, key in ROLLOUT.items() if name != "parallelism"}),
        **{name: durations.short(found.get(key) or 0) for name, key in ROLLOUT_TIMES.items()},
        "maxFailureRatio": f"{found.get('MaxFailureRatio') or 0:.1f}",
    }
