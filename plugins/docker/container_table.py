"""The property table of docker:index/container:Container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plugins.docker import hostconfig
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
from plugins.values import UNKNOWN, Properties

DEVICE_RATE = set_of(
    object_type(
        "ContainerDeviceRate",
        Property("path", STRING, required=True),
        Property("rate", NOT_NEGATIVE, required=True),
    )
)
MOUNT = object_type(
    "ContainerMount",
    Property("target", STRING, required=True),
    text("source"),
    Property("type", one_of("bind", "volume", "tmpfs"), required=True),
    flag("readOnly"),
    Property(
        "bindOptions",
        object_type(
            "ContainerMountBindOptions",
            Property(
                "propagation",
                one_of("private", "rprivate", "shared", "rshared", "slave", "rslave"),
            ),
        ),
    ),
    Property(
        "volumeOptions",
        object_type(
            "ContainerMountVolumeOptions",
            flag("noCopy"),
            labels("ContainerMountVolumeOptions"),
            text("driverName"),
            options("driverOptions"),
            text("subpath", replaces=True),
        ),
    ),
    Property(
        "tmpfsOptions",
        object_type("ContainerMountTmpfsOptions", number("sizeBytes"), number("mode")),
        replaces=True,
    ),
)
NETWORK = object_type(
    "ContainerNetworksAdvanced",
    Property("name", STRING, required=True),
    strings("aliases"),
    text("ipv4Address"),
    text("ipv6Address"),
    strings("linkLocalIps"),
    text("macAddress"),
    strings("driverOpts"),
    number("gwPriority", type=NOT_NEGATIVE),
)
VOLUME = object_type(
    "ContainerVolume",
    text("containerPath"),
    text("fromContainer"),
    Property(
        "hostPath",
        Scalar("string", pattern=r"|/.*|[A-Za-z]:[/\\].*", pattern_in_words="an absolute path"),
        output_default="",
    ),
    text("volumeName"),
    flag("readOnly"),
    text("selinuxRelabel", type=one_of("", "z", "Z")),
)
UPLOAD = object_type(
    "ContainerUpload",
    Property("file", STRING, required=True),
    text("content"),
    text("contentBase64"),
    text("source"),
    text("sourceHash"),
    flag("executable"),
    Property(
        "permissions",
        Scalar("string", pattern="|0[0-7]{3}", pattern_in_words="four octal digits such as 0644"),
        output_default="",
    ),
    text("owner"),
    text("group"),
)
PORT = object_type(
    "ContainerPort",
    Property("internal", INTEGER, required=True),
    Property("external", INTEGER, computed=True),
    Property("ip", STRING, default="0.0.0.0"),  # noqa: S104  (as the official plugin)
    Property("protocol", STRING, default="tcp"),
)


def _ports_equal(old: Any, new: Any) -> bool:
    """The order of ports does not matter; one without an external port keeps the one it got."""
    if not (isinstance(old, list) and isinstance(new, list)) or len(old) != len(new):
        return not old and not new

    def met(before: Properties) -> bool:
        return any(
            all(
                after.get(name) in (before.get(name), None)
                for name in ("internal", "external", "ip", "protocol")
            )
            for after in new
        )

    return all(map(met, old))


def mounts_replace(old: Any, new: Any) -> bool:
    """Tell whether a change of mounts replaces the container. Most changes within one do not.

    Another number of mounts replaces; so does a change of a mount's property that replaces. The
    number of unknown mounts is not known.
    """
    if new is UNKNOWN or UNKNOWN in new or len(old) != len(new):
        return True

    def without(mounts: list[Any], others: list[Any]) -> Iterator[Properties]:
        return (m for m in mounts if all(MOUNT.differ(other, m) for other in others))

    return any(
        mount.get("tmpfsOptions") or mount.get("volumeOptions", {}).get("subpath")
        for mount in [*without(old, new), *without(new, old)]
    )


def _unless_left_out(old: Any, new: Any) -> bool:
    """An empty user or directory means the image's own."""
    return new in (None, "", old)


#: The property table.
PROPERTIES = (
    Property("name", STRING, computed=True, replaces=True),
    Property("image", STRING, required=True, replaces=True),
    # The process.
    Property("command", ListOf(STRING), computed=True, replaces=True),
    Property("entrypoints", ListOf(STRING), computed=True, replaces=True),
    strings("envs", computed=True, replaces=True),
    Property("user", STRING, computed=True, replaces=True, equal=_unless_left_out),
    Property("workingDir", STRING, computed=True, replaces=True, equal=_unless_left_out),
    Property("hostname", STRING, computed=True, replaces=True),
    text("domainname", replaces=True),
    flag("tty", replaces=True),
    flag("stdinOpen", replaces=True),
    Property("stopSignal", STRING, computed=True, replaces=True),
    Property("stopTimeout", INTEGER, computed=True, replaces=True),
    Property("init", BOOLEAN, computed=True),
    Property("platform", STRING, computed=True, replaces=True),
    Property("runtime", STRING, computed=True, replaces=True),
    labels("Container", computed=True),
    # How it is run: only this plugin knows these, except `restart` and `rm`.
    Property("start", BOOLEAN, default=True),
    Property("mustRun", BOOLEAN, default=True),
    flag("wait"),
    Property("waitTimeout", INTEGER, default=60),
    flag("attach"),
    flag("logs"),
    flag("rm"),
    Property("restart", one_of("no", "on-failure", "always", "unless-stopped"), default="no"),
    number("maxRetryCount"),
    number("destroyGraceSeconds"),
    Property("removeVolumes", BOOLEAN, default=True),
    Property("containerReadRefreshTimeoutMilliseconds", INTEGER, default=15000),
    Property(
        "healthcheck",
        object_type(
            "ContainerHealthcheck",
            Property("tests", ListOf(STRING)),
            Property("interval", DURATION, default="0s"),
            Property("timeout", DURATION, default="0s"),
            Property("startPeriod", DURATION, default="0s"),
            Property("startInterval", DURATION, default="0s"),
            number("retries", type=NOT_NEGATIVE),
        ),
        computed=True,
        replaces=True,
    ),
    # Files and volumes.
    Property("uploads", set_of(UPLOAD), replaces=True),
    Property("volumes", set_of(VOLUME), replaces=True),
    # A change within a mount is shown as an update, but has no effect; see `diff`.
    Property("mounts", set_of(MOUNT)),
    options("tmpfs"),
    flag("readOnly", replaces=True),
    options("storageOpts", replaces=True),
    Property("shmSize", NOT_NEGATIVE, computed=True, replaces=True),
    # Network.
    Property("networkMode", STRING, default="bridge", replaces=True),
    Property("networksAdvanced", set_of(NETWORK), replaces=True),
    Property("ports", ListOf(PORT), replaces=True, equal=_ports_equal),
    flag("publishAllPorts", replaces=True),
    strings("dns", replaces=True),
    strings("dnsOpts", replaces=True),
    strings("dnsSearches", replaces=True),
    Property(
        "hosts",
        set_of(
            object_type(
                "ContainerHost",
                Property("host", STRING, required=True),
                Property("ip", STRING, required=True),
            )
        ),
        replaces=True,
    ),
    # Limits.
    number("memory", type=NOT_NEGATIVE),
    number("memoryReservation", type=NOT_NEGATIVE),
    number("memorySwap", type=Scalar("integer", minimum=-1)),
    Property(
        "cpus",
        Scalar("string", pattern=r"\d*\.?\d+|", pattern_in_words="a number such as 1.5"),
        replaces=True,
    ),
    number("cpuShares", type=NOT_NEGATIVE),
    Property(
        "cpuSet",
        Scalar("string", pattern=r"|\d+([,-]\d+)*", pattern_in_words="a range such as 0-1 or 0,2"),
        output_default="",
    ),
    number("cpuPeriod", type=NOT_NEGATIVE),
    number("cpuQuota", type=NOT_NEGATIVE),
    Property("deviceReadBps", DEVICE_RATE),
    Property("deviceReadIops", DEVICE_RATE),
    Property("deviceWriteBps", DEVICE_RATE),
    Property("deviceWriteIops", DEVICE_RATE),
    Property(
        "ulimits",
        set_of(
            object_type(
                "ContainerUlimit",
                Property("name", STRING, required=True),
                Property("soft", INTEGER, required=True),
                Property("hard", INTEGER, required=True),
            )
        ),
        replaces=True,
    ),
    # Rights.
    flag("privileged", replaces=True),
    Property(
        "capabilities",
        object_type(
            "ContainerCapabilities",
            strings("adds"),
            strings("drops"),
        ),
        replaces=True,
    ),
    strings("securityOpts", computed=True, replaces=True),
    strings("groupAdds", replaces=True),
    text("pidMode", replaces=True),
    Property("ipcMode", STRING, computed=True, replaces=True),
    text("usernsMode", replaces=True),
    Property("cgroupnsMode", one_of("", "private", "host"), output_default="", replaces=True),
    text("cgroupParent", replaces=True),
    options("sysctls", replaces=True),
    Property(
        "devices",
        set_of(
            object_type(
                "ContainerDevice",
                Property("hostPath", STRING, required=True),
                text("containerPath"),
                Property("permissions", STRING, default="rwm"),
            )
        ),
        replaces=True,
    ),
    strings("deviceCgroupRules", replaces=True),
    Property("deviceRequests", STRING, unsupported=True),
    Property("gpus", STRING, unsupported=True),
    # Logging.
    Property("logDriver", STRING, computed=True, replaces=True),
    options("logOpts", replaces=True),
    # Outputs.
    Property("bridge", STRING, output=True),
    Property("exitCode", INTEGER, output=True),
    Property("containerLogs", STRING, output=True),
    Property(
        "networkDatas",
        ListOf(
            object_type(
                "ContainerNetworkData",
                *(
                    Property(name, INTEGER if name.endswith("Length") else STRING)
                    for name in ("networkName", *hostconfig.NETWORK_DATA)
                ),
            )
        ),
        output=True,
    ),
)
