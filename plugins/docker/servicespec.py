"""Convert a service's properties to the engine's form; `serviceread` converts them back.

Pure functions. What is sent although the program leaves it out follows
resource_docker_service_structures.go in kreuzwerker/terraform-provider-docker.
"""

from __future__ import annotations

from typing import Any

from plugins.docker import durations
from plugins.docker.hostconfig import healthcheck, mount, renamed
from plugins.docker.resource import in_order, label_map
from plugins.values import Properties

#: Properties that are the same in the engine's `ContainerSpec`.
CONTAINER = {
    "image": "Image",
    "commands": "Command",
    "args": "Args",
    "hostname": "Hostname",
    "dir": "Dir",
    "user": "User",
    "groups": "Groups",
    "readOnly": "ReadOnly",
    "stopSignal": "StopSignal",
    "isolation": "Isolation",
    "sysctl": "Sysctls",
    "capAdds": "CapabilityAdd",
    "capDrops": "CapabilityDrop",
}
DNS = {"nameservers": "Nameservers", "searches": "Search", "options": "Options"}
SELINUX = {
    "disable": "Disable",
    "user": "User",
    "role": "Role",
    "type": "Type",
    "level": "Level",
}
AMOUNTS = {"nanoCpus": "NanoCPUs", "memoryBytes": "MemoryBytes"}
RESTART_TIMES = {"delay": "Delay", "window": "Window"}
ROLLOUT = {"parallelism": "Parallelism", "failureAction": "FailureAction", "order": "Order"}
ROLLOUT_TIMES = {"delay": "Delay", "monitor": "Monitor"}
PORT = {
    "name": "Name",
    "protocol": "Protocol",
    "targetPort": "TargetPort",
    "publishedPort": "PublishedPort",
    "publishMode": "PublishMode",
}


def body(inputs: Properties) -> dict[str, Any]:
    """Return the body of the engine's calls that create and update a service."""
    endpoint = inputs.get("endpointSpec", {})
    return {
        "Name": inputs["name"],
        "Labels": label_map(inputs),
        "TaskTemplate": _task(inputs["taskSpec"]),
        "Mode": _mode(inputs.get("mode", {})),
        "EndpointSpec": {
            **renamed(endpoint, {"mode": "Mode"}),
            "Ports": [renamed(port, PORT) for port in endpoint.get("ports", [])],
        },
        **{
            key: _rollout(inputs[name])
            for name, key in (
                ("updateConfig", "UpdateConfig"),
                ("rollbackConfig", "RollbackConfig"),
            )
            if name in inputs
        },
    }


def _task(task: Properties) -> dict[str, Any]:
    log = task.get("logDriver")
    return {
        "ContainerSpec": _container(task["containerSpec"]),
        "Resources": _resources(task.get("resources", {})),
        "RestartPolicy": _restart(task["restartPolicy"]) if "restartPolicy" in task else {},
        "Placement": _placement(task.get("placement", {})),
        "ForceUpdate": task.get("forceUpdate", 0),
        **renamed(task, {"runtime": "Runtime"}),
        "Networks": [_network(item) for item in task.get("networksAdvanceds", [])],
        **({"LogDriver": {"Name": log["name"], "Options": log.get("options", {})}} if log else {}),
    }


def _container(spec: Properties) -> dict[str, Any]:
    result = {
        **renamed(spec, CONTAINER),
        "Labels": label_map(spec),
        "Env": in_order(f"{name}={value}" for name, value in spec.get("env", {}).items()),
        "Mounts": [mount(item) for item in spec.get("mounts", [])],
        # 0 kills at once.
        "StopGracePeriod": durations.parse(spec.get("stopGracePeriod", "0")),
        "Healthcheck": healthcheck(spec["healthcheck"]) if "healthcheck" in spec else {},
        # As in hosts(5), and not as for containers.
        "Hosts": [f"{item['ip']} {item['host']}" for item in spec.get("hosts", [])],
        "DNSConfig": renamed(spec.get("dnsConfig", {}), DNS),
        "Secrets": [_file(item, "secret") for item in spec.get("secrets", [])],
        "Configs": [_file(item, "config") for item in spec.get("configs", [])],
        "Init": spec.get("init", False),
    }
    if "privileges" in spec:
        context = spec["privileges"].get("seLinuxContext")
        result["Privileges"] = {"SELinuxContext": renamed(context, SELINUX)} if context else {}
    return result


def _file(item: Properties, kind: str) -> dict[str, Any]:
    key = kind.capitalize()
    return {
        f"{key}ID": item[f"{kind}Id"],
        f"{key}Name": item.get(f"{kind}Name", ""),
        "File": {
            "Name": item["fileName"],
            "UID": item["fileUid"],
            "GID": item["fileGid"],
            "Mode": item["fileMode"],
        },
    }


def _resources(resources: Properties) -> dict[str, Any]:
    parts = {"limits": "Limits", "reservation": "Reservations"}
    return {
        key: renamed(resources[name], AMOUNTS) for name, key in parts.items() if name in resources
    }


def _restart(policy: Properties) -> dict[str, Any]:
    times = {key: durations.parse(policy.get(name, "0")) for name, key in RESTART_TIMES.items()}
    return {
        **renamed(policy, {"condition": "Condition"}),
        "MaxAttempts": policy.get("maxAttempts", 0),
        **times,
    }


def _placement(placement: Properties) -> dict[str, Any]:
    return {
        "Constraints": in_order(placement.get("constraints", [])),
        "Preferences": [
            {"Spread": {"SpreadDescriptor": by}} for by in in_order(placement.get("prefs", []))
        ],
        "MaxReplicas": placement.get("maxReplicas", 0),
        "Platforms": [
            {"Architecture": item["architecture"], "OS": item["os"]}
            for item in placement.get("platforms", [])
        ],
    }


def _network(network: Properties) -> dict[str, Any]:
    driver_options = (option.partition("=") for option in network.get("driverOpts", []))
    return {
        "Target": network.get("id") or network["name"],
        "Aliases": in_order(network.get("aliases", [])),
        "DriverOpts": {name: value for name, equals, value in driver_options if equals},
    }


def _mode(mode: Properties) -> dict[str, Any]:
    if mode.get("global"):
        return {"Global": {}}
    replicated = mode.get("replicated")
    return {"Replicated": {"Replicas": replicated["replicas"]}} if replicated else {}


def _rollout(config: Properties) -> dict[str, Any]:
    return {
        **renamed(config, ROLLOUT),
        **{key: durations.parse(config[name]) for name, key in ROLLOUT_TIMES.items()},
        "MaxFailureRatio": float(config["maxFailureRatio"]),
    }
