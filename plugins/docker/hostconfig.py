"""Convert a container's properties to the engine's form; `inspected` converts them back.

Pure functions. The order of elements follows
resource_docker_container_funcs.go in kreuzwerker/terraform-provider-docker.
"""

from __future__ import annotations

import base64
import grp
import io
import pwd
import tarfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from plugins.docker import durations
from plugins.docker.resource import in_order, label_map
from plugins.values import Properties

MEGABYTE = 1024 * 1024

#: Properties that are the same in the engine's `Config` and `HostConfig`.
CONFIG = {
    "hostname": "Hostname",
    "domainname": "Domainname",
    "tty": "Tty",
    "stdinOpen": "OpenStdin",
    "stopSignal": "StopSignal",
    "stopTimeout": "StopTimeout",
    "command": "Cmd",
    "entrypoints": "Entrypoint",
    "user": "User",
    "workingDir": "WorkingDir",
}
HOST_CONFIG = {
    "rm": "AutoRemove",
    "readOnly": "ReadonlyRootfs",
    "privileged": "Privileged",
    "publishAllPorts": "PublishAllPorts",
    "runtime": "Runtime",
    "init": "Init",
    "dns": "Dns",
    "dnsOpts": "DnsOptions",
    "dnsSearches": "DnsSearch",
    "cpuShares": "CpuShares",
    "cpuSet": "CpusetCpus",
    "storageOpts": "StorageOpt",
    "networkMode": "NetworkMode",
    "usernsMode": "UsernsMode",
    "ipcMode": "IpcMode",
    "sysctls": "Sysctls",
    "groupAdds": "GroupAdd",
    "securityOpts": "SecurityOpt",
    "tmpfs": "Tmpfs",
}
#: Properties that are written to `HostConfig` but not read back; the program's value is kept.
WRITTEN_ONLY = {
    "cgroupnsMode": "CgroupnsMode",
    "cgroupParent": "CgroupParent",
    "deviceCgroupRules": "DeviceCgroupRules",
    "pidMode": "PidMode",
}
#: Sizes: megabytes in the program, bytes at the engine. -1 (no limit) is not converted.
SIZES = {
    "memory": "Memory",
    "memoryReservation": "MemoryReservation",
    "memorySwap": "MemorySwap",
    "shmSize": "ShmSize",
}
RATES = {
    "deviceReadBps": "BlkioDeviceReadBps",
    "deviceReadIops": "BlkioDeviceReadIOps",
    "deviceWriteBps": "BlkioDeviceWriteBps",
    "deviceWriteIops": "BlkioDeviceWriteIOps",
}
HEALTH = {
    "interval": "Interval",
    "timeout": "Timeout",
    "startPeriod": "StartPeriod",
    "startInterval": "StartInterval",
}
NETWORK_DATA = {
    "ipAddress": "IPAddress",
    "ipPrefixLength": "IPPrefixLen",
    "gateway": "Gateway",
    "globalIpv6Address": "GlobalIPv6Address",
    "globalIpv6PrefixLength": "GlobalIPv6PrefixLen",
    "ipv6Gateway": "IPv6Gateway",
    "macAddress": "MacAddress",
}


def create_body(inputs: Properties) -> dict[str, Any]:
    """Return the body of the engine's call that creates a container."""
    config = renamed(inputs, CONFIG)
    config |= {"Image": inputs["image"], "Labels": label_map(inputs)}
    config["Env"] = in_order(inputs.get("envs", []))
    if inputs.get("healthcheck"):
        config["Healthcheck"] = healthcheck(inputs["healthcheck"])
    ports = inputs.get("ports", [])
    config["ExposedPorts"] = {_port_key(port): {} for port in ports}
    volumes = inputs.get("volumes", [])
    config["Volumes"] = {v["containerPath"]: {} for v in volumes if v.get("containerPath")}
    return {**config, "HostConfig": _host_config(inputs), "NetworkingConfig": {}}


def _host_config(inputs: Properties) -> dict[str, Any]:
    host = {"Init": False, **renamed(inputs, HOST_CONFIG), **renamed(inputs, WRITTEN_ONLY)}
    host |= limits(inputs)
    host |= {key: bytes_of(inputs.get(name, 0)) for name, key in SIZES.items()}
    host["Mounts"] = [mount(item) for item in inputs.get("mounts", [])]
    host["LogConfig"] = {"Type": inputs.get("logDriver", ""), "Config": inputs.get("logOpts", {})}
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in inputs.get("ports", []):
        binding = {"HostIp": port["ip"], "HostPort": str(port.get("external", 0))}
        bindings.setdefault(_port_key(port), []).append(binding)
    host["PortBindings"] = bindings
    host["ExtraHosts"] = [f"{item['host']}:{item['ip']}" for item in inputs.get("hosts", [])]
    volumes = inputs.get("volumes", [])
    host["Binds"] = [_bind(v) for v in volumes if v.get("hostPath") or v.get("volumeName")]
    host["VolumesFrom"] = [v["fromContainer"] for v in volumes if v.get("fromContainer")]
    host["Ulimits"] = [
        {"Name": u["name"], "Soft": u["soft"], "Hard": u["hard"]} for u in inputs.get("ulimits", [])
    ]
    capabilities = inputs.get("capabilities", {})
    host["CapAdd"] = _capabilities(capabilities.get("adds", []))
    host["CapDrop"] = _capabilities(capabilities.get("drops", []))
    host["Devices"] = [
        {
            "PathOnHost": device["hostPath"],
            "PathInContainer": device.get("containerPath") or device["hostPath"],
            "CgroupPermissions": device["permissions"],
        }
        for device in inputs.get("devices", [])
    ]
    # The client must implement this option: the engine does not know it.
    if "systempaths=unconfined" in host.get("SecurityOpt", []):
        host["SecurityOpt"] = [o for o in host["SecurityOpt"] if o != "systempaths=unconfined"]
        host |= {"MaskedPaths": [], "ReadonlyPaths": []}
    if inputs.get("cpus"):
        host["NanoCpus"] = int(Decimal(inputs["cpus"]) * 10**9)
    else:
        host |= renamed(inputs, {"cpuPeriod": "CpuPeriod", "cpuQuota": "CpuQuota"})
    return host


def _capabilities(names: list[str]) -> list[str]:
    """Return capabilities in full: Docker's own client changes them so before they are sent.

    A program that says CHOWN therefore differs from what a refresh finds, CAP_CHOWN.
    """
    upper = {name.strip().upper() for name in names}
    return sorted(n if n == "ALL" or n.startswith("CAP_") else f"CAP_{n}" for n in upper)


def limits(inputs: Properties) -> dict[str, Any]:
    """Return what the engine can change of an existing container, without the sizes."""
    return {
        "RestartPolicy": {
            "Name": inputs["restart"],
            "MaximumRetryCount": inputs.get("maxRetryCount", 0),
        },
        "CpuShares": inputs.get("cpuShares", 0),
        "CpusetCpus": inputs.get("cpuSet", ""),
        **{
            key: [{"Path": item["path"], "Rate": item["rate"]} for item in inputs[name]]
            for name, key in RATES.items()
            if inputs.get(name)
        },
    }


def update_body(inputs: Properties) -> dict[str, Any]:
    """Return the body of the engine's call that updates a container."""
    sizes = {key: bytes_of(inputs.get(name, 0)) for name, key in SIZES.items() if name != "shmSize"}
    return {**limits(inputs), **sizes}


def bytes_of(megabytes: int) -> int:
    """Return a size in bytes."""
    return megabytes * MEGABYTE if megabytes > 0 else megabytes


def renamed(inputs: Properties, names: dict[str, str]) -> dict[str, Any]:
    """Return those properties that are set, under the engine's names."""
    return {key: inputs[name] for name, key in names.items() if inputs.get(name)}


def _port_key(port: Properties) -> str:
    return f"{port['internal']}/{port['protocol']}"


def _bind(volume: Properties) -> str:
    # A path on the host wins over a volume's name.
    source = volume.get("hostPath") or volume["volumeName"]
    mode = "ro" if volume.get("readOnly") else "rw"
    if volume.get("selinuxRelabel"):
        mode += f",{volume['selinuxRelabel']}"
    return f"{source}:{volume['containerPath']}:{mode}"


def healthcheck(check: Properties) -> dict[str, Any]:
    """Return a health check in the engine's form."""
    times = {key: durations.parse(check[name]) for name, key in HEALTH.items() if name in check}
    return {"Test": check.get("tests", []), "Retries": check.get("retries", 0), **times}


def mount(mount: Properties) -> dict[str, Any]:
    """Return a mount in the engine's form."""
    body: dict[str, Any] = {
        "Type": mount["type"],
        "Target": mount["target"],
        "Source": mount.get("source", ""),
        "ReadOnly": mount.get("readOnly", False),
    }
    # Options for other types of mounts are ignored.
    if mount["type"] == "bind" and "bindOptions" in mount:
        body["BindOptions"] = {"Propagation": mount["bindOptions"].get("propagation", "")}
    if mount["type"] == "tmpfs" and "tmpfsOptions" in mount:
        tmpfs = mount["tmpfsOptions"]
        body["TmpfsOptions"] = {
            "SizeBytes": tmpfs.get("sizeBytes", 0),
            "Mode": tmpfs.get("mode", 0),
        }
    if mount["type"] == "volume" and "volumeOptions" in mount:
        volume = mount["volumeOptions"]
        body["VolumeOptions"] = {
            "NoCopy": volume.get("noCopy", False),
            "Labels": label_map(volume),
            "DriverConfig": {
                "Name": volume.get("driverName", ""),
                "Options": volume.get("driverOptions", {}),
            },
            **({"Subpath": volume["subpath"]} if volume.get("subpath") else {}),
        }
    return body


def endpoint(network: Properties) -> dict[str, Any]:
    """Return the settings for connecting a container to a network."""
    driver_options = (option.partition("=") for option in network.get("driverOpts", []))
    return {
        "Aliases": in_order(network.get("aliases", [])),
        "IPAMConfig": {
            "IPv4Address": network.get("ipv4Address", ""),
            "IPv6Address": network.get("ipv6Address", ""),
            "LinkLocalIPs": in_order(network.get("linkLocalIps", [])),
        },
        "MacAddress": network.get("macAddress", ""),
        "DriverOpts": {name: value for name, equals, value in driver_options if equals},
        **({"GwPriority": network["gwPriority"]} if network.get("gwPriority") else {}),
    }


def uploads_tar(uploads: list[Properties]) -> bytes:
    """Return a tar of the uploads, to be unpacked at `/`.

    Raises OSError if a `source` cannot be read, KeyError for an unknown owner or group.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for upload in uploads:
            content = _content(upload)
            member = tarfile.TarInfo(upload["file"])
            member.size = len(content)
            member.mtime = int(time.time())
            executable = 0o744 if upload.get("executable") else 0o644
            permissions = upload.get("permissions")
            member.mode = int(permissions, 8) if permissions else executable
            # Names are looked up on this machine, not in the container, as in the official plugin.
            member.uid = _number(upload.get("owner"), lambda name: pwd.getpwnam(name).pw_uid)
            member.gid = _number(upload.get("group"), lambda name: grp.getgrnam(name).gr_gid)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _content(upload: Properties) -> bytes:
    if upload.get("source"):
        return Path(upload["source"]).read_bytes()
    if upload.get("contentBase64"):
        return base64.b64decode(upload["contentBase64"])
    return str(upload["content"]).encode()


def _number(name: str | None, look_up: Any) -> int:
    if not name:
        return 0
    return int(name) if name.isdecimal() else int(look_up(name))
