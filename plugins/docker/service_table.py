"""The property table of docker:index/service:Service.

From resource_docker_service.go in kreuzwerker/terraform-provider-docker v4.5.0.
"""

from __future__ import annotations

from typing import Any

from plugins.docker.resource import (
    DURATION,
    NOT_NEGATIVE,
    flag,
    labels,
    number,
    object_type,
    options,
    strings,
    text,
)
from plugins.properties import Property
from plugins.property_types import BOOLEAN, INTEGER, STRING, ListOf, Scalar, one_of, set_of

LIST = ListOf(STRING)
RATIO = Scalar("string", pattern=r"0(\.\d+)?|1(\.0+)?", pattern_in_words="a number from 0.0 to 1.0")


def _same_ratio(old: Any, new: Any) -> bool:
    """The engine's ratio is read back with one digit behind the point."""
    try:
        return round(float(old), 1) == round(float(new), 1)
    except (TypeError, ValueError):
        return False


def _part(name: str, *rows: Property) -> Any:
    return object_type(f"ServiceTaskSpec{name}", *rows)


def _file(kind: str) -> Any:
    """What a secret or a config, which the swarm has, becomes in a container."""
    return _part(
        f"ContainerSpec{kind.capitalize()}",
        Property(f"{kind}Id", STRING, required=True),
        text(f"{kind}Name"),
        Property("fileName", STRING, required=True),
        Property("fileUid", STRING, default="0"),
        Property("fileGid", STRING, default="0"),
        Property("fileMode", NOT_NEGATIVE, default=0o444),
    )


MOUNT = _part(
    "ContainerSpecMount",
    Property("target", STRING, required=True),
    text("source"),
    Property("type", one_of("bind", "volume", "tmpfs"), required=True),
    flag("readOnly"),
    Property(
        "bindOptions",
        _part(
            "ContainerSpecMountBindOptions",
            Property(
                "propagation",
                one_of("private", "rprivate", "shared", "rshared", "slave", "rslave"),
                default="rprivate",
            ),
        ),
    ),
    Property(
        "volumeOptions",
        _part(
            "ContainerSpecMountVolumeOptions",
            flag("noCopy"),
            labels("ServiceTaskSpecContainerSpecMountVolumeOptions"),
            text("driverName"),
            options("driverOptions"),
        ),
    ),
    Property(
        "tmpfsOptions",
        _part("ContainerSpecMountTmpfsOptions", number("sizeBytes"), number("mode")),
    ),
)
CONTAINER = _part(
    "ContainerSpec",
    Property("image", STRING, required=True),
    labels("ServiceTaskSpecContainerSpec"),
    # What the engine calls the entry point, and its arguments.
    Property("commands", LIST),
    Property("args", LIST),
    text("hostname"),
    options("env"),
    text("dir"),
    text("user"),
    Property("groups", LIST),
    Property(
        "privileges",
        _part(
            "ContainerSpecPrivileges",
            Property("credentialSpec", STRING, unsupported=True),
            Property(
                "seLinuxContext",
                _part(
                    "ContainerSpecPrivilegesSeLinuxContext",
                    flag("disable"),
                    *(text(name) for name in ("user", "role", "type", "level")),
                ),
            ),
        ),
    ),
    flag("readOnly"),
    Property("mounts", set_of(MOUNT)),
    text("stopSignal"),
    Property("stopGracePeriod", DURATION, computed=True),
    Property(
        "healthcheck",
        _part(
            "ContainerSpecHealthcheck",
            Property("tests", LIST),
            Property("interval", DURATION, default="0s"),
            Property("timeout", DURATION, default="0s"),
            Property("startPeriod", DURATION, default="0s"),
            Property("retries", NOT_NEGATIVE, default=0),
        ),
        computed=True,
    ),
    Property(
        "hosts",
        set_of(
            _part(
                "ContainerSpecHost",
                Property("host", STRING, required=True),
                Property("ip", STRING, required=True),
            )
        ),
        replaces=True,
    ),
    Property(
        "dnsConfig",
        _part(
            "ContainerSpecDnsConfig",
            Property("nameservers", LIST, required=True),
            Property("searches", LIST),
            Property("options", LIST),
        ),
        computed=True,
    ),
    Property("secrets", set_of(_file("secret"))),
    Property("configs", set_of(_file("config"))),
    Property("isolation", one_of("default", "process", "hyperv"), default="default"),
    options("sysctl", replaces=True),
    Property("capAdds", LIST),
    Property("capDrops", LIST),
    Property("init", BOOLEAN, computed=True),
)
RESOURCES = _part(
    "Resources",
    Property("limits", _part("ResourcesLimits", number("nanoCpus"), number("memoryBytes"))),
    Property(
        "reservation",
        _part(
            "ResourcesReservation",
            number("nanoCpus"),
            number("memoryBytes"),
            Property("genericResources", STRING, unsupported=True),
        ),
    ),
)
PLACEMENT = _part(
    "Placement",
    strings("constraints"),
    strings("prefs"),
    number("maxReplicas", type=NOT_NEGATIVE),
    Property(
        "platforms",
        set_of(
            _part(
                "PlacementPlatform",
                Property("architecture", STRING, required=True),
                Property("os", STRING, required=True),
            )
        ),
    ),
)
RESTART = _part(
    "RestartPolicy",
    text("condition", type=one_of("none", "on-failure", "any")),
    text("delay", type=DURATION),
    number("maxAttempts", type=NOT_NEGATIVE),
    text("window", type=DURATION),
)
TASK = object_type(
    "ServiceTaskSpec",
    Property("containerSpec", CONTAINER, required=True),
    Property("resources", RESOURCES, computed=True),
    Property("restartPolicy", RESTART, computed=True),
    Property("placement", PLACEMENT, computed=True),
    Property("forceUpdate", NOT_NEGATIVE, computed=True),
    Property("runtime", one_of("container", "plugin"), computed=True),
    Property(
        "networksAdvanceds",
        set_of(
            _part(
                "NetworksAdvanced",
                text("id"),
                text("name"),
                strings("aliases"),
                strings("driverOpts"),
            )
        ),
        replaces=True,
    ),
    Property(
        "logDriver",
        _part("LogDriver", Property("name", STRING, required=True), options("options")),
    ),
)
MODE = object_type(
    "ServiceMode",
    Property(
        "replicated",
        object_type("ServiceModeReplicated", Property("replicas", NOT_NEGATIVE, default=1)),
        computed=True,
    ),
    Property("global", BOOLEAN, default=False),
)
ENDPOINT = object_type(
    "ServiceEndpointSpec",
    Property("mode", one_of("vip", "dnsrr"), computed=True),
    Property(
        "ports",
        ListOf(
            object_type(
                "ServiceEndpointSpecPort",
                text("name"),
                Property("protocol", one_of("tcp", "udp", "sctp"), default="tcp"),
                Property("targetPort", INTEGER, required=True),
                Property("publishedPort", INTEGER, computed=True),
                Property("publishMode", one_of("host", "ingress"), default="ingress"),
            )
        ),
    ),
)


def _rollout(name: str, *actions: str) -> Any:
    return object_type(
        name,
        Property("parallelism", NOT_NEGATIVE, default=1),
        Property("delay", DURATION, default="0s"),
        Property("failureAction", one_of(*actions), default="pause"),
        Property("monitor", DURATION, default="5s"),
        Property("maxFailureRatio", RATIO, default="0.0", equal=_same_ratio),
        Property("order", one_of("stop-first", "start-first"), default="stop-first"),
    )


#: The property table.
PROPERTIES = (
    Property("name", STRING, replaces=True),
    labels("Service", computed=True, replaces=False),
    Property("taskSpec", TASK, required=True),
    Property("mode", MODE, computed=True, replaces=True),
    Property("endpointSpec", ENDPOINT, computed=True),
    Property("updateConfig", _rollout("ServiceUpdateConfig", "pause", "continue", "rollback")),
    Property("rollbackConfig", _rollout("ServiceRollbackConfig", "pause", "continue")),
    # Only this plugin knows the rest.
    Property(
        "convergeConfig",
        object_type(
            "ServiceConvergeConfig",
            Property("delay", DURATION, default="7s"),
            Property("timeout", DURATION, default="3m"),
        ),
    ),
    Property(
        "auth",
        object_type(
            "ServiceAuth",
            Property("serverAddress", STRING, required=True),
            text("username"),
            Property("password", STRING, secret=True),
        ),
        replaces=True,
    ),
)
