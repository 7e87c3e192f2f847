"""Rules for containers, by role. Anything else is refused; see allowed.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from allowed import DIGEST, FLAG, Table, labels
from folders import SHARED
from logs import DRIVER, LOGS
from profiles import PROFILE_IMAGES
from rules import (
    ANYTHING,
    POSITIVE,
    UNKNOWN,
    UNSET,
    Rule,
    both,
    by,
    each,
    fields,
    later,
    matching,
    maybe,
    only,
    shown,
)

ENGINE_SOCKET = "/var/run/docker.sock"
GUARD_SOCKET = "/run/guard/engine.sock"

OWN_CONFIG = "/certs/hub_config.py"
"""Configuration of the site's own, which the hub runs; own_configuration in policies.py says so."""

UNUSED = "unused\n"
"""Content of a file that no setting has a value for."""

HEALTH = "/usr/local/bin/zhub-health"
IMAGE = later(DIGEST)
"""Any digest; own_images in policies.py checks that it is the right Image's."""

PROXY_OPTIONS = {
    "apiPort": 8001,
    "metricsPort": 8002,
    "tokenFile": "/run/proxy/token",
    "routesFile": "/run/proxy/routes.json",
    "hub": "http://127.0.0.1:8081",
    "key": "/certs/hub.key",
    "certificate": "/certs/hub.crt",
}
"""Options of the proxy that must have these values; the others are settings of the stack."""

CONTAINER_FILE = {"content": ANYTHING, "permissions": only("0600")}
"""A file for a container: given by its content, never by a path on the operator's machine."""


def environment(required: Table, also: Table | None = None) -> Rule:
    """Variables of a container: these, and other ZHUB_ variables.

    Args:
        required: must be there.
        also: need not be there.
    """
    known = required | (also or {})

    def check(lines: Any) -> Iterator[str]:
        pairs = [line.partition("=") for line in lines or () if line is not UNKNOWN]
        values = {name: value for name, _, value in pairs}
        for name, value in values.items():
            if name in known:
                yield from (f" has {name}, which{problem}" for problem in known[name](value))
            elif not re.fullmatch(r"ZHUB_[A-Z0-9_]+", name):
                yield f" has {name}; allowed: {', '.join(required)} and other ZHUB_ variables"
        if len(values) < len(pairs):
            yield " has a variable more than once"
        lacking = [name for name in required if name not in values]
        # A value with a digest, and so its whole line, is not known before the image is built.
        awaited = [name for name in lacking if required[name].later]
        perhaps = [name for name, rule in (also or {}).items() if rule.later and name not in values]
        unknown = len(lines or ()) - len(pairs)
        if unknown > len(awaited) + len(perhaps):
            yield " has a variable that is not known before `pulumi up`"
        elif unknown >= len(awaited):
            lacking = [name for name in lacking if name not in awaited]
        yield from (f" lacks {name}" for name in lacking)

    return Rule(check)


def _no_swap(container: Any) -> Iterator[str]:
    memory, swap = container.get("memory"), container.get("memorySwap")
    if memory != swap:
        yield f".memorySwap is {shown(swap)}; allowed: {shown(memory)} as memory, so no swap"


def _own_port(hub: Any) -> Iterator[str]:
    """Report published ports other than the one on which the proxy serves HTTPS."""
    if len(hub.get("ports") or ()) != 1:
        yield f".ports is {shown(hub.get('ports'))}; allowed: one"
    for number, port in enumerate(hub.get("ports") or ()):
        if f"--port={port.get('internal')}" not in (hub.get("command") or ()):
            yield f".ports[{number}].internal is {shown(port.get('internal'))}, not the hub's own"


def _same_port(front: Any) -> Iterator[str]:
    """Report anything but one published port, which is the same inside."""
    ports = front.get("ports") or ()
    if len(ports) != 1:
        yield f".ports is {shown(front.get('ports'))}; allowed: one"
    for number, port in enumerate(ports):
        if port.get("internal") != port.get("external"):
            yield f".ports[{number}].internal is {shown(port.get('internal'))}, not the external"


def _proxy_options(command: Any) -> Iterator[str]:
    """Report options of the proxy that would open its API, or end at another hub."""
    try:
        [text] = command
        options = json.loads(text)
        given = {name: options[name] for name in PROXY_OPTIONS}
    except (TypeError, ValueError, KeyError):
        yield f" is {shown(command)}; allowed: the proxy's options, in JSON"
        return
    if given != PROXY_OPTIONS:
        yield f" has {shown(given)}; allowed: {shown(PROXY_OPTIONS)}"


def container(prefix: str, role: str, own: Table) -> Rule:
    """A container of a stack, including the one that never runs.

    Args:
        prefix: of the stack's names.
        role: the container's name after the prefix.
        own: rules of this role, in addition to those of all containers, or instead of them.
    """
    common = {
        "name": only(f"{prefix}-{role}"),
        "image": later(DIGEST),
        "labels": labels(prefix, role),
        "restart": only("always"),
        "start": only(None, True),
        "mustRun": only(None, True),
        "wait": FLAG,
        "waitTimeout": ANYTHING,
        "destroyGraceSeconds": ANYTHING,
        "removeVolumes": FLAG,
        "containerReadRefreshTimeoutMilliseconds": ANYTHING,
        "networkMode": only("none"),
        "memory": POSITIVE,
        "memorySwap": POSITIVE,
        "logDriver": DRIVER,
        # By the driver: LOGS.
        "logOpts": ANYTHING,
        "capabilities": fields({"drops": only(["ALL"])}),
        "securityOpts": only(["no-new-privileges:true"]),
    }
    logs = [] if "logDriver" in own else [LOGS]
    return both(fields(common | own), Rule(_no_swap), *logs)


def capabilities(*names: str) -> Rule:
    """Only these capabilities."""
    return fields({"drops": only(["ALL"]), "adds": each(only(*names))})


def health(*command: str) -> Rule:
    """Only this command: in the guard's container, another one could use the engine's socket.

    Args:
        command: the program, then a pattern for each argument.
    """
    program, *arguments = command

    def check(tests: Any) -> Iterator[str]:
        given = list(map(str, tests or ()))
        patterns = ["CMD", re.escape(program), *arguments]
        if len(given) != len(patterns) or not all(map(re.fullmatch, patterns, given)):
            yield f" is {shown(tests)}; allowed: CMD {' '.join(command)}"

    times = ("interval", "timeout", "startPeriod", "startInterval", "retries")
    return fields({"tests": Rule(check), **dict.fromkeys(times, ANYTHING)})


def volume(name: str, *, writable: bool) -> Rule:
    """A mount of this volume."""
    return fields(
        {"volumeName": only(name), "readOnly": only(None, False) if writable else only(True)}
    )


def containers(prefix: str) -> Table:
    """Containers by role."""
    limit = matching(r"\d*\.?\d*[1-9]\d*(\.0+)?[KMGT]?", "a limit above 0")
    certs, state, guard = (f"{prefix}-{name}" for name in ("certs", "state", "guardsocket"))
    front_network = {
        "networkMode": only("bridge"),
        "networksAdvanced": by(
            "name",
            {f"{prefix}-hub": fields({"aliases": only(["hub"])})},
            # Only with the demo directory.
            {f"{prefix}-directory": fields({"aliases": only(["hub"])})},
        ),
        "ports": each(
            fields(
                {
                    "internal": POSITIVE,
                    "external": POSITIVE,
                    "ip": maybe(matching(r"[0-9a-fA-F.:]+", "an address")),
                    "protocol": only(None, "tcp"),
                }
            )
        ),
        "sysctls": fields(
            {
                "net.ipv4.ip_forward": only("0"),
                # For ports below 1024.
                "net.ipv4.ip_unprivileged_port_start": maybe(only("0")),
            }
        ),
    }
    joined = {"networkMode": later(matching(r"container:[0-9a-f]{64}", "that of front"))}
    token = volume(f"{prefix}-proxy", writable=True)
    mounts = {
        "/certs": volume(certs, writable=False),
        "/srv/jupyterhub": volume(state, writable=True),
        "/run/guard": volume(guard, writable=False),
    }
    hub = {
        "command": each(matching(r"--port=\d+|--ldap=\S+", "--port=NUMBER, --ldap=SERVERS")),
        "envs": environment(
            {
                "ZHUB_PREFIX": only(prefix),
                "DOCKER_HOST": only(f"unix://{GUARD_SOCKET}"),
                # Otherwise the hub would serve without a packet filter.
                "ZHUB_CONFINED": only("true"),
                "ZHUB_NOTEBOOK_IMAGE": IMAGE,
            },
            PROFILE_IMAGES,
        ),
        "healthcheck": health(HEALTH, r"\d+"),
        "readOnly": only(True),
        "tmpfs": fields({"/run": only("", None), "/tmp": only("", None)}),  # noqa: S108
        "user": only("1000:1000"),
    }
    proxy = {
        "command": Rule(_proxy_options),
        "healthcheck": health("/usr/local/bin/proxy-health"),
        **joined,
        "readOnly": only(True),
        "tmpfs": fields({"/tmp": only("", None)}),  # noqa: S108
        "user": only("1002:1000"),
        "volumes": by(
            "containerPath",
            {
                "/certs": volume(certs, writable=False),
                "/run/proxy": volume(f"{prefix}-proxy", writable=False),
            },
        ),
    }
    guard_ = {
        # Starts as root, and becomes its own user in the group of the engine's socket.
        "capabilities": capabilities("CAP_SETGID", "CAP_SETUID"),
        "command": only(["guard"]),
        "entrypoints": only(["/opt/jupyter/bin/python3", "-I", "-m", "zhub"]),
        "envs": environment(
            {
                "ZHUB_PREFIX": only(prefix),
                "ZHUB_USER_MEMORY": limit,
                "ZHUB_USER_CPUS": limit,
                "ZHUB_USER_PIDS": limit,
                "ZHUB_NOTEBOOK_IMAGE": IMAGE,
                "ZHUB_FILTER_IMAGE": IMAGE,
            },
            SHARED | PROFILE_IMAGES,
        ),
        "healthcheck": health(HEALTH, "guard"),
        "readOnly": only(True),
        "volumes": by(
            "containerPath",
            {
                "/run/guard": volume(guard, writable=True),
                "/var/log/zhub": volume(f"{prefix}-audit", writable=True),
                ENGINE_SOCKET: fields({"hostPath": matching(r"/.*\.sock", "the engine's socket")}),
            },
        ),
    }
    hubs_file = fields({**CONTAINER_FILE, "owner": only("1000"), "group": only("1000")})
    # The hub's or, where the proxy has a container of its own, the proxy's.
    ports_file = fields({**CONTAINER_FILE, "owner": only("1000", "1002"), "group": only("1000")})
    files = {
        # Only carries files into a volume. Started by hand, it does nothing.
        "start": only(False),
        "mustRun": only(False),
        "restart": only(None, "no"),
        "entrypoints": only(["/bin/false"]),
        "logDriver": only("none"),
        "logOpts": UNSET,
        "uploads": by(
            "file",
            {"/certs/hub.key": ports_file, "/certs/hub.crt": ports_file},
            {
                OWN_CONFIG: hubs_file,
                "/certs/ldap-ca.pem": hubs_file,
                "/certs/ldap-password": hubs_file,
                "/certs/service-tokens.json": hubs_file,
                "/certs/site.json": hubs_file,
            },
        ),
        "volumes": by("containerPath", {"/certs": volume(certs, writable=True)}),
    }
    directory = {
        "capabilities": capabilities("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"),
        "healthcheck": health("/usr/local/bin/directory-health"),
        "networkMode": only("bridge"),
        "networksAdvanced": by(
            "name", {f"{prefix}-directory": fields({"aliases": only(["directory"])})}
        ),
        "uploads": by(
            "file",
            {
                f"/certs/{file}": fields(CONTAINER_FILE)
                for file in ("directory.key", "directory.crt", "users.json")
            },
        ),
    }
    holder = {
        # Only waits for input that never comes.
        "entrypoints": only(["cat"]),
        "stdinOpen": only(True),
        "stopSignal": only("SIGKILL"),
        "user": only("65534:65534"),
        "readOnly": only(True),
        "logDriver": only("none"),
        "logOpts": UNSET,
    }
    profile = r"profileimage_[a-z0-9_]+"
    of_profile = {
        "name": matching(f"{re.escape(prefix)}-{profile}", f"{prefix}-profileimage_PROFILE"),
        "labels": labels(prefix, matching(profile, "profileimage_PROFILE")),
    }
    with_proxy = {**hub, **front_network, "volumes": by("containerPath", mounts)}
    beside = {**hub, **joined, "volumes": by("containerPath", {**mounts, "/run/proxy": token})}
    return {
        "hub": both(container(prefix, "hub", with_proxy), Rule(_own_port)),
        "hub-beside-proxy": container(prefix, "hub", beside),
        "proxy": container(prefix, "proxy", proxy),
        "front": both(container(prefix, "front", holder | front_network), Rule(_same_port)),
        "guard": container(prefix, "guard", guard_),
        "files": container(prefix, "files", files),
        "directory": container(prefix, "directory", directory),
        **{role: container(prefix, role, holder) for role in ("notebookimage", "filterimage")},
        profile: container(prefix, "profileimage", holder | of_profile),
    }
