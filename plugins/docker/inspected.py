"""Convert what the engine's `inspect` says of a container to properties.

Pure functions. The order of elements and which properties are read back follow
resource_docker_container_funcs.go in kreuzwerker/terraform-provider-docker.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from plugins.docker import durations
from plugins.docker.hostconfig import (
    CONFIG,
    HEALTH,
    HOST_CONFIG,
    MEGABYTE,
    NETWORK_DATA,
    RATES,
    SIZES,
)
from plugins.docker.resource import in_order
from plugins.values import Properties


def stored(found: dict[str, Any], before: Properties) -> Properties:
    """Return the properties of an existing container, from the engine's `inspect`.

    `before` are its stored properties: some are read back only if the program set them.
    """
    config, host, state = found["Config"], found["HostConfig"], found["State"]
    networks = found["NetworkSettings"] or {}
    result: Properties = {name: config.get(key) for name, key in CONFIG.items()}
    result |= {name: host.get(key) for name, key in HOST_CONFIG.items()}
    result |= {name: _megabytes(host.get(key) or 0) for name, key in SIZES.items()}
    result |= {
        name: in_order({"path": d["Path"], "rate": d["Rate"]} for d in host.get(key) or [])
        for name, key in RATES.items()
    }
    image = found["Image"] if before.get("image", "").startswith("sha256:") else config["Image"]
    must_run = before.get("mustRun")
    result |= {
        "name": found["Name"].lstrip("/"),
        "image": image,
        "init": bool(host.get("Init")),
        "stopTimeout": config.get("StopTimeout") or 0,
        "stopSignal": config.get("StopSignal") or "",
        "platform": found.get("Platform"),
        "restart": host["RestartPolicy"]["Name"],
        "maxRetryCount": host["RestartPolicy"]["MaximumRetryCount"],
        "logDriver": host["LogConfig"]["Type"],
        "mounts": in_order(map(stored_mount, host.get("Mounts") or [])),
        "hosts": in_order(map(_stored_host, host.get("ExtraHosts") or [])),
        "bridge": networks.get("Bridge", ""),
        "networkDatas": _network_datas(networks),
        "mustRun": must_run,
    }
    for name in ("dns", "dnsOpts", "dnsSearches", "groupAdds", "securityOpts"):
        result[name] = in_order(result[name] or [])
    # Never null: the official plugin would take null as not known yet, and replace.
    for name in ("command", "entrypoints"):
        result[name] = result[name] or []
    if host.get("CapAdd") or host.get("CapDrop"):
        result["capabilities"] = {
            "adds": in_order(host.get("CapAdd") or []),
            "drops": in_order(host.get("CapDrop") or []),
        }
    if host.get("NanoCpus"):
        result["cpus"] = _cpus(host["NanoCpus"])
    if config.get("Healthcheck"):
        result["healthcheck"] = _stored_healthcheck(config["Healthcheck"])
    if not state["Running"]:
        result["exitCode"] = state["ExitCode"]
        if must_run:
            # The program wants true, so the next update starts it again.
            result["mustRun"] = False
    # An ended container has no ports; one that need not run keeps the stored ones.
    ports = networks.get("Ports") or {} if state["Running"] or must_run else None
    return result | _stored_where_set(host, ports, before)


def _stored_where_set(
    host: dict[str, Any], ports: dict[str, Any] | None, before: Properties
) -> Properties:
    """Return the properties that are read back only if the program set them."""
    result: Properties = {}
    if before.get("logOpts"):
        result["logOpts"] = host["LogConfig"]["Config"]
    if before.get("pidMode"):
        result["pidMode"] = host["PidMode"]
    if before.get("ulimits"):
        result["ulimits"] = in_order(
            {"name": u["Name"], "soft": u["Soft"], "hard": u["Hard"]}
            for u in host.get("Ulimits") or []
        )
    if before.get("devices"):
        result["devices"] = _stored_devices(host.get("Devices") or [], before["devices"])
    if before.get("ports") and ports is not None:
        result["ports"] = _stored_ports(ports)
    return result


def _megabytes(size: int) -> int:
    return size // MEGABYTE if size > 0 else size


def _cpus(nano: int) -> str:
    """Return a number of processors as the official plugin writes it: `1.0`, `1.5`, `0.25`."""
    return f"{Decimal(nano) / 10**9:f}".rstrip("0") if nano % 10**9 else f"{nano // 10**9}.0"


def _stored_healthcheck(check: dict[str, Any]) -> Properties:
    times = {name: durations.written(check.get(key, 0)) for name, key in HEALTH.items()}
    return {"tests": check.get("Test") or [], "retries": check.get("Retries", 0), **times}


def _stored_host(entry: str) -> Properties:
    host, _, ip = entry.partition(":")
    return {"host": host, "ip": ip}


def stored_mount(mount: dict[str, Any]) -> Properties:
    """Return a mount in the stored form."""
    result: Properties = {
        "target": mount["Target"],
        "source": mount.get("Source", ""),
        "type": mount["Type"],
        "readOnly": mount.get("ReadOnly", False),
    }
    if mount.get("BindOptions"):
        result["bindOptions"] = {"propagation": mount["BindOptions"].get("Propagation", "")}
    if mount.get("TmpfsOptions"):
        tmpfs = mount["TmpfsOptions"]
        result["tmpfsOptions"] = {
            "sizeBytes": tmpfs.get("SizeBytes", 0),
            "mode": tmpfs.get("Mode", 0),
        }
    if mount.get("VolumeOptions"):
        volume = mount["VolumeOptions"]
        driver = volume.get("DriverConfig") or {}
        result["volumeOptions"] = {
            "noCopy": volume.get("NoCopy", False),
            "labels": in_order(
                {"label": k, "value": v} for k, v in (volume.get("Labels") or {}).items()
            ),
            "driverName": driver.get("Name", ""),
            "driverOptions": driver.get("Options") or {},
            "subpath": volume.get("Subpath", ""),
        }
    return result


def _stored_devices(devices: list[dict[str, Any]], before: list[Properties]) -> list[Properties]:
    named = {device["hostPath"] for device in before if device.get("containerPath")}
    return in_order(
        {
            "hostPath": device["PathOnHost"],
            "containerPath": device["PathInContainer"] if device["PathOnHost"] in named else "",
            "permissions": device["CgroupPermissions"],
        }
        for device in devices
    )


def _stored_ports(ports: dict[str, list[dict[str, str]] | None]) -> list[Properties]:
    result = []
    for key in sorted(ports, key=lambda key: int(key.partition("/")[0])):
        internal, _, protocol = key.partition("/")
        result += [
            {
                "internal": int(internal),
                "external": int(binding["HostPort"]),
                "ip": binding["HostIp"],
                "protocol": protocol,
            }
            for binding in ports[key] or []
        ]
    return result


def _network_datas(networks: dict[str, Any]) -> list[Properties]:
    return [
        {"networkName": name, **{to: data.get(key) for to, key in NETWORK_DATA.items()}}
        for name, data in sorted((networks.get("Networks") or {}).items())
    ]
