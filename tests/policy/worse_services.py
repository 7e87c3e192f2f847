"""Dangerous changes of services, and the beginning of the policy pack's report of each."""

from __future__ import annotations

from typing import Any

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

Case = tuple[str, str, Any, str]
"""A service's name, the path of a property, its value (None: left out), and the expected report
without the name; an empty text stands for the report that the property may not be set."""

TASK = "taskSpec"
CONTAINER = f"{TASK}.containerSpec"
SOCKET = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}
MEMORY = {"type": "tmpfs", "target": "/run/guard"}
GUARDS = ["/opt/jupyter/bin/python3", "-I", "-m", "zhub"]

SERVICES: list[Case] = [
    # What reaches the machine or other tasks.
    *(
        (name, f"{TASK}.networksAdvanceds", [{"id": "n1"}], "")
        for name in ("nodeguard", "nodefilter", "nodenotebook")
    ),
    *(
        (name, "endpointSpec", {"ports": [{"targetPort": 1}]}, "")
        for name in ("nodeguard", "nodefilter")
    ),
    ("nodefilter", f"{CONTAINER}.mounts", [SOCKET], ""),
    ("nodenotebook", f"{CONTAINER}.mounts", [SOCKET], ""),
    (
        "nodeguard",
        f"{CONTAINER}.mounts",
        [SOCKET, MEMORY, {"type": "bind", "source": "/", "target": "/machine"}],
        f'{CONTAINER}.mounts has target "/machine"; allowed: /var/run/docker.sock, /run/guard',
    ),
    (
        "nodeguard",
        f"{CONTAINER}.mounts",
        [{**SOCKET, "source": "/"}, MEMORY],
        f'{CONTAINER}.mounts[/var/run/docker.sock].source is "/"; allowed: the engine\'s socket',
    ),
    (
        "nodeguard",
        f"{CONTAINER}.mounts",
        [{**SOCKET, "bindOptions": {"propagation": "rshared"}}, MEMORY],
        f"{CONTAINER}.mounts[/var/run/docker.sock].bindOptions is",
    ),
    ("nodeguard", f"{CONTAINER}.mounts", None, f"{CONTAINER}.mounts lacks target"),
    # Rights.
    (
        "nodeguard",
        f"{CONTAINER}.capAdds",
        ["CAP_SETGID", "CAP_SYS_ADMIN"],
        f'{CONTAINER}.capAdds[1] is "CAP_SYS_ADMIN"',
    ),
    ("nodefilter", f"{CONTAINER}.capAdds", ["CAP_NET_ADMIN"], ""),
    ("nodeguard", f"{CONTAINER}.capDrops", None, f"{CONTAINER}.capDrops is not set"),
    ("nodefilter", f"{CONTAINER}.capDrops", [], f"{CONTAINER}.capDrops is not set"),
    ("nodeguard", f"{CONTAINER}.readOnly", False, f"{CONTAINER}.readOnly is false"),
    ("nodeguard", f"{CONTAINER}.init", True, f"{CONTAINER}.init is true"),
    ("nodefilter", f"{CONTAINER}.user", "0:0", f'{CONTAINER}.user is "0:0"'),
    ("nodefilter", f"{CONTAINER}.groups", ["docker"], ""),
    ("nodeguard", f"{CONTAINER}.privileges", {"seLinuxContext": {"disable": True}}, ""),
    ("nodeguard", f"{CONTAINER}.sysctl", {"net.ipv4.ip_forward": "1"}, ""),
    ("nodeguard", f"{CONTAINER}.secrets", [{"secretId": "s", "fileName": "x"}], ""),
    # What runs.
    ("nodeguard", f"{CONTAINER}.commands", GUARDS, f"{CONTAINER}.commands is"),
    ("nodeguard", f"{CONTAINER}.args", ["sh"], f"{CONTAINER}.args is"),
    ("nodefilter", f"{CONTAINER}.commands", ["sh"], f"{CONTAINER}.commands is"),
    ("nodefilter", f"{CONTAINER}.args", ["-c"], ""),
    ("nodefilter", f"{CONTAINER}.env", {"LD_PRELOAD": "/x"}, ""),
    (
        "nodeguard",
        f"{CONTAINER}.env.LD_PRELOAD",
        "/x",
        f"{CONTAINER}.env has LD_PRELOAD; allowed: ZHUB_PREFIX",
    ),
    (
        "nodeguard",
        f"{CONTAINER}.env.ZHUB_PREFIX",
        "zhub-other",
        f'{CONTAINER}.env has ZHUB_PREFIX, which is "zhub-other"',
    ),
    (
        "nodeguard",
        f"{CONTAINER}.healthcheck.tests",
        ["CMD", "/usr/local/bin/zhub-health", "guard"],
        f"{CONTAINER}.healthcheck.tests is",
    ),
    ("nodeguard", f"{CONTAINER}.image", "hub:latest", f'{CONTAINER}.image is "hub:latest"'),
    # Where, how often, and of how much.
    (
        "nodeguard",
        f"{TASK}.placement.constraints",
        ["node.role==manager"],
        f"{TASK}.placement.constraints[0] is",
    ),
    ("nodeguard", "mode", {"replicated": {"replicas": 9}}, "mode.global is not set"),
    ("nodeguard", f"{TASK}.resources", None, f"{TASK}.resources.limits.memoryBytes is not set"),
    ("nodeguard", f"{TASK}.logDriver.name", "none", f'{TASK}.logDriver.name is "none"'),
    (
        "nodeguard",
        f"{TASK}.logDriver.options",
        {"max-size": "10m"},
        f"{TASK}.logDriver.options.max-file is not set",
    ),
    ("nodeguard", f"{TASK}.runtime", "plugin", ""),
    ("nodeguard", "name", "zhub-other-nodeguard", 'name is "zhub-other-nodeguard"'),
    ("nodeguard", "auth.token", "x", 'auth.token is "x"; allowed: not set'),
    ("nodefilter", "auth.serverAddress", None, "auth.serverAddress is not set"),
    # Not known yet.
    (
        "nodeguard",
        f"{CONTAINER}.commands",
        UNKNOWN_STRING_VALUE,
        f"{CONTAINER}.commands is not known before `pulumi up`",
    ),
]
