"""Rules for services, which have a task on each node of a swarm: as strict as for containers.

A service has neither no-new-privileges nor a limit of swap: the provider has no property for them.
What it runs begins with setpriv(1) in their place, where it has more than a task of waiting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from allowed import DIGEST, TEXT, Table, labels
from containers import ENGINE_SOCKET, HEALTH, IMAGE, environment, health
from logs import DRIVER, LOGS
from rules import (
    ANYTHING,
    POSITIVE,
    UNKNOWN,
    Rule,
    by,
    each,
    fields,
    later,
    matching,
    maybe,
    only,
)

WALLED = ["/usr/bin/setpriv", "--no-new-privs", "--"]

#: Of the services that keep profiles' images.
PROFILES = r"nodeprofile_[a-z0-9_]+"

#: Where tasks may run: by a node's label, never by its name.
LABEL = matching(r"node\.labels\.[A-Za-z0-9._-]+==[A-Za-z0-9._-]+", "node.labels.NAME==VALUE")


def _variables(required: Table) -> Rule:
    """Variables of a service, which are a map where those of a container are lines."""
    lines = environment(required)

    def check(variables: Any) -> Iterator[str]:
        given = (variables or {}).items()
        return lines([UNKNOWN if v is UNKNOWN else f"{k}={v}" for k, v in given])

    return Rule(check)


def _log(driver: Any) -> Iterator[str]:
    """Report what a container may not log to either."""
    given = driver or {}
    name, options = given.get("name"), given.get("options")
    yield from (f".name{problem}" for problem in DRIVER(name))
    for problem in LOGS({"logDriver": name, "logOpts": options}):
        yield problem.replace(".logOpts", ".options", 1)


def service(prefix: str, role: str, own: Table) -> Rule:
    """A service of a stack.

    Args:
        prefix: of the stack's names.
        role: the service's name after the prefix, or the pattern of several.
        own: rules of this role for its containers, in addition to those of all, or instead.
    """
    several = role == PROFILES
    its = matching(role, "nodeprofile_PROFILE") if several else role
    names = matching(f"{re.escape(prefix)}-{role}", f"{prefix}-nodeprofile_PROFILE")
    container = {
        "image": later(DIGEST),
        "labels": labels(prefix, its),
        "capDrops": only(["ALL"]),
        "readOnly": only(True),
        "init": only(False),
        "isolation": only(None, "default"),
        "stopSignal": ANYTHING,
        "stopGracePeriod": ANYTHING,
    }
    platform = fields({"architecture": matching(r"[a-z0-9]+", "a processor"), "os": only("linux")})
    task = {
        "containerSpec": fields(container | own),
        "resources": fields({"limits": fields({"memoryBytes": POSITIVE})}),
        "restartPolicy": fields(
            {
                "condition": only("any"),
                **dict.fromkeys(("delay", "maxAttempts", "window"), ANYTHING),
            }
        ),
        "placement": fields({"constraints": each(LABEL), "platforms": each(platform)}),
        "logDriver": Rule(_log),
    }
    return fields(
        {
            "name": names if several else only(f"{prefix}-{role}"),
            "labels": labels(prefix, its),
            "mode": fields({"global": only(True)}),
            "auth": maybe(fields({"serverAddress": TEXT, "username": TEXT, "password": ANYTHING})),
            "taskSpec": fields(task),
        }
    )


def services(prefix: str) -> Table:
    """Services by role. None has a network or a port of its own."""
    waits = {
        "commands": only(["sleep", "infinity"]),
        "user": only("65534:65534"),
    }
    socket = fields(
        {
            "type": only("bind"),
            "source": matching(r"/.*\.sock", "the engine's socket"),
            "readOnly": only(None, False),
        }
    )
    guard = {
        # Starts as root, and becomes its own user in the group of the engine's socket.
        "capAdds": each(only("CAP_SETGID", "CAP_SETUID")),
        "commands": only([*WALLED, "/opt/jupyter/bin/python3", "-I", "-m", "zhub"]),
        "args": only(["nodeguard"]),
        "env": _variables({"ZHUB_PREFIX": only(prefix), "ZHUB_FILTER_IMAGE": IMAGE}),
        "healthcheck": health(WALLED[0], *WALLED[1:], HEALTH, "guard"),
        "mounts": by(
            "target",
            {
                ENGINE_SOCKET: socket,
                "/run/guard": fields({"type": only("tmpfs"), "tmpfsOptions": ANYTHING}),
            },
        ),
    }
    return {
        "nodeguard": service(prefix, "nodeguard", guard),
        **{role: service(prefix, role, waits) for role in ("nodefilter", "nodenotebook")},
        # One for each profile with an image of its own; own_images in policies.py checks which.
        PROFILES: service(prefix, PROFILES, waits),
    }
