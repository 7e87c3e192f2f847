"""Dangerous changes of a separate proxy and its network, and the policy pack's report of each."""

from __future__ import annotations

import json
from typing import Any

from rules import shown

from tests.policy.worse_containers import HUBS, PORT, Case

OPTIONS = {
    "apiPort": 8001,
    "metricsPort": 8002,
    "tokenFile": "/run/proxy/token",
    "routesFile": "/run/proxy/routes.json",
    "hub": "http://127.0.0.1:8081",
    "key": "/certs/hub.key",
    "certificate": "/certs/hub.crt",
}
JOINED = {"hub-beside-proxy": "1000:1000", "proxy": "1002:1000"}
TOKEN = {"volumeName": "zhub-test-proxy", "containerPath": "/run/proxy"}


def _options(**other: Any) -> Case:
    given = OPTIONS | other
    message = f"command has {shown(given)}; allowed: {shown(OPTIONS)}"
    return "proxy", {"command": [json.dumps(given)]}, message


PROXY: list[Case] = [
    *(
        (name, {"networkMode": mode}, f'networkMode is "{mode}"; allowed: that of front')
        for name in JOINED
        for mode in ("host", "bridge", "container:zhub-other-front")
    ),
    *((name, {"ports": [PORT]}, f"ports is {shown([PORT])}; allowed: not set") for name in JOINED),
    *((name, {"sysctls": {"net.ipv4.ip_forward": "1"}}, "") for name in JOINED),
    *(
        (name, {"user": "0:0"}, f'user is "0:0"; allowed: "{user}"')
        for name, user in JOINED.items()
    ),
    ("front", {"networkMode": "host"}, 'networkMode is "host"; allowed: "bridge"'),
    ("front", {"entrypoints": ["sh"]}, 'entrypoints is ["sh"]; allowed: ["cat"]'),
    ("front", {"user": "0:0"}, 'user is "0:0"; allowed: "65534:65534"'),
    ("front", {"volumes": [TOKEN]}, ""),
    (
        "front",
        {"sysctls": {"net.ipv4.ip_forward": "1"}},
        'sysctls.net.ipv4.ip_forward is "1"; allowed: "0"',
    ),
    (
        "front",
        {"ports": [PORT, {"internal": 8001, "external": 8001}]},
        f"ports is {shown([PORT, {'internal': 8001, 'external': 8001}])}; allowed: one",
    ),
    (
        "front",
        {"ports": [{"internal": 8001, "external": 11119}]},
        "ports[0].internal is 8001, not the external",
    ),
    _options(tokenFile="/tmp/x"),  # noqa: S108 - inside the container
    _options(routesFile="/tmp/x"),  # noqa: S108 - inside the container
    _options(hub="http://192.0.2.7"),
    _options(apiPort=11119),
    _options(metricsPort=11119),
    ("proxy", {"command": None}, "command is not set; allowed: the proxy's options, in JSON"),
    ("proxy", {"entrypoints": ["sh"]}, ""),
    ("proxy", {"envs": ["NODE_OPTIONS=--inspect=0.0.0.0"]}, ""),
    (
        "proxy",
        {"volumes": [HUBS[0], TOKEN]},
        "volumes[/run/proxy].readOnly is not set; allowed: true",
    ),
    (
        "hub-beside-proxy",
        {"volumes": HUBS},
        "volumes lacks containerPath /run/proxy",
    ),
]
