"""docker:index/container:Container."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from docker.errors import APIError
from docker.utils import parse_repository_tag

from plugins.base import Call, CheckCall, Created, InitError, ResourceError
from plugins.docker import durations, hostconfig
from plugins.docker.engine import is_missing, said
from plugins.docker.resource import (
    EngineResource,
    flag,
    labels,
    number,
    object_type,
    options,
    strings,
    text,
)
from plugins.properties import (
    BOOLEAN,
    INTEGER,
    STRING,
    Change,
    Failure,
    ListOf,
    Property,
    Scalar,
    one_of,
    set_of,
)
from plugins.values import UNKNOWN, Properties, has_unknown

NOT_NEGATIVE = Scalar("integer", minimum=0)
DURATION = Scalar(
    "string", pattern=durations.PATTERN, pattern_in_words="a duration such as 500ms, 30s or 1m30s"
)
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


def _replace(old: Any, new: Any) -> bool:
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


class Container(EngineResource):
    """A container. Most changes replace it, a few are applied in place, some have no effect."""

    token = "docker:index/container:Container"
    schema_version = 2
    delete_before_replace = True
    properties: ClassVar = (
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
            Scalar(
                "string", pattern=r"|\d+([,-]\d+)*", pattern_in_words="a range such as 0-1 or 0,2"
            ),
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

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        return [*super().check(inputs, old, call), *_failures(inputs)]

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        found = super().diff(changes, old, new, state)
        if not _replace(self.table.stored(state).get("mounts", []), new.get("mounts", [])):
            return found
        return [replace(c, replaces=True) if c.property == "mounts" else c for c in found]

    def create(self, inputs: Properties, call: Call) -> Created:
        name = inputs["name"]
        outputs = self.filled_inputs(inputs)
        with self.engine.explained(f"create container {name}"):
            self._provide_image(inputs["image"], call)
            body = hostconfig.create_body(inputs)
            made = self.engine.client.create_container_from_config(
                body, name, inputs.get("platform")
            )
        return Created(made["Id"], self._brought_up(made["Id"], outputs, inputs, call))

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        found = self.inspected(f"container {id[:12]}", id, self.engine.client.inspect_container)
        if found is None:
            return None
        return {**state, **hostconfig.stored(found, state)}

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        name = new["name"]
        wanted = self.filled_inputs(new)
        if "hostname" not in state:
            # It was created but did not start: the official plugin would leave it so.
            return self._brought_up(id, wanted, new, call)
        changed = {change.property for change in self.diff([], {}, new, state)}
        started = "mustRun" in changed and new["mustRun"] and new["start"]
        with self.engine.explained(f"update container {name}"):
            if started:
                self.engine.client.start(id)
            if changed & UPDATED:
                self.engine.post(f"/containers/{id}/update", hostconfig.update_body(new))
        # Not read back: the next refresh shows what the engine made of it.
        defaults = {row.name: row.output_default for row in self.properties}
        outputs = {**state, **{key: wanted.get(key, defaults[key]) for key in changed}}
        if started and new.get("wait"):
            # The official plugin waits only for containers that it created, not for this one.
            try:
                with self.engine.explained(f"start container {name}"):
                    self._await_health(id, new, call)
            except ResourceError as error:
                raise InitError(str(error), outputs, id) from None
        return outputs

    def delete(self, id: str, state: Properties, call: Call) -> None:
        client = self.engine.client
        with self.engine.explained(f"remove container {state.get('name', id[:12])}"):
            if not state.get("attach"):
                # 0 kills at once, even if the container has its own stop timeout.
                with _gone_is_fine():
                    client.stop(id, timeout=state.get("destroyGraceSeconds") or 0)
            with _gone_is_fine():
                client.remove_container(id, v=state.get("removeVolumes", True), force=True)

    def _brought_up(
        self, id: str, outputs: Properties, inputs: Properties, call: Call
    ) -> Properties:
        """Connect, fill, start and await a created container; return its outputs.

        Raises InitError, so that it stays in the state and the next update continues.
        """
        name = inputs["name"]
        try:
            with self.engine.explained(f"bring up container {name}"):
                self._connect(id, inputs)
                self._upload(id, inputs)
                logs = self._start(id, inputs, call)
        except ResourceError as error:
            raise InitError(str(error), outputs, id) from None
        found = self.read(id, inputs, call)
        if found is None:
            raise ResourceError(f"container {name} is gone: something else removed it")
        sets = {
            row.name
            for row in self.properties
            if (isinstance(row.type, ListOf) and not row.type.ordered) or row.name == "capabilities"
        }
        # A set is stored as the program wrote it; only the next refresh shows what the engine made
        # of it. The official plugin does the same.
        said_sets = {k: v for k, v in outputs.items() if k in sets and v}
        return {**outputs, **found, **said_sets, **logs}

    def _provide_image(self, image: str, call: Call) -> None:
        try:
            self.engine.client.inspect_image(image)
        except APIError as error:
            if not is_missing(error):
                raise
        else:
            return
        if image.startswith("sha256:"):
            raise ResourceError(
                f"the engine has no image {image}. If the program builds it, somebody removed it; "
                "build it again with: pulumi up --target-replace <urn of the image>"
            )
        repository, tag = parse_repository_tag(image)
        headers = self.provider.registry_headers(image)
        query = {"fromImage": repository, "tag": tag or "latest"}
        call.status(f"Pulling {image}")
        problem = ""
        try:
            for message in self.engine.stream(call, "/images/create", query, headers=headers):
                problem = message.get("error", problem)
        except APIError as error:
            problem = said(error)
        if problem:
            raise ResourceError(f"the engine has no image {image} and cannot pull it: {problem}")

    def _connect(self, id: str, inputs: Properties) -> None:
        wanted = inputs.get("networksAdvanced", [])
        if not wanted:
            return
        client = self.engine.client
        attached = client.inspect_container(id)["NetworkSettings"]["Networks"]
        if "bridge" in attached:
            client.disconnect_container_from_network(id, "bridge")
        there = {data["NetworkID"] for data in attached.values()}
        for network in wanted:
            if client.inspect_network(network["name"])["Id"] not in there:
                body = {"Container": id, "EndpointConfig": hostconfig.endpoint(network)}
                self.engine.post(f"/networks/{network['name']}/connect", body)

    def _upload(self, id: str, inputs: Properties) -> None:
        uploads = inputs.get("uploads", [])
        if not uploads:
            return
        try:
            content = hostconfig.uploads_tar(uploads)
        except OSError as problem:
            raise ResourceError(f"cannot read the source of an upload: {problem}") from None
        except KeyError as problem:
            raise ResourceError(
                f"cannot upload: {problem.args[0]}. Names of owners and groups are looked up on "
                "this machine; numbers always work"
            ) from None
        self.engine.client.put_archive(id, "/", content)

    def _start(self, id: str, inputs: Properties, call: Call) -> Properties:
        """Start it if wanted, wait for its health or its end; return the logs if wanted."""
        client = self.engine.client
        if inputs["start"]:
            client.start(id)
            if inputs.get("wait"):
                self._await_health(id, inputs, call)
        if not inputs.get("attach"):
            return {}
        for _ in self.engine.stream(call, f"/containers/{id}/wait", {"condition": "not-running"}):
            pass
        if not inputs.get("logs"):
            return {}
        return {"containerLogs": client.logs(id).decode(errors="replace")}

    def _await_health(self, id: str, inputs: Properties, call: Call) -> None:
        name, limit = inputs["name"], inputs["waitTimeout"]
        for second in range(limit + 1):
            found = self.engine.client.inspect_container(id)
            health = found["State"].get("Health")
            if health is None:
                raise ResourceError(
                    f"container {name} has `wait` but neither it nor its image has a healthcheck; "
                    "add a `healthcheck` or leave `wait` out"
                )
            if health["Status"] == "healthy":
                return
            if second < limit:
                call.status(f"waiting for {name} to be healthy: {health['Status']}")
                call.sleep(1)
        raise ResourceError(
            f"container {name} was not healthy within {limit} seconds (waitTimeout): "
            f"{_health_in_words(found)}. Its log: docker logs {name}"
        )


#: A change of these is put to the engine; all the others that do not replace are only remembered.
UPDATED = {
    "restart",
    "maxRetryCount",
    "cpuShares",
    "cpuSet",
    "memory",
    "memoryReservation",
    "memorySwap",
    *hostconfig.RATES,
}


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Ignore that a container is gone already, or about to be."""
    try:
        yield
    except APIError as error:
        if not (is_missing(error) or "is already in progress" in said(error)):
            raise


def _health_in_words(found: dict[str, Any]) -> str:
    state = found["State"]
    if found["RestartCount"]:
        # By its restart policy, so that it may well be running just now, for a moment.
        last = f", last with exit code {state['ExitCode']}" if state["Restarting"] else ""
        return f"it ended and was started again {found['RestartCount']} times{last}"
    if not state["Running"]:
        return f"it ended with exit code {state['ExitCode']}"
    log = state["Health"].get("Log") or []
    if not log:
        return f"it is {state['Health']['Status']}, no check has ended yet"
    output = log[-1]["Output"].strip()
    return f"the last check ended with exit code {log[-1]['ExitCode']}" + (
        f" and said {output!r}" if output else ""
    )


def _failures(inputs: Properties) -> Iterator[Failure]:
    """Refuse what the engine or the official plugin refuses only after the container was made."""
    if inputs.get("image") == "":
        yield Failure("image", "must not be empty")
    command = inputs.get("command")
    if isinstance(command, list) and "" in command:
        yield Failure(f"command[{command.index('')}]", "must not be empty")
    volumes = inputs.get("volumes")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else []):
        if not has_unknown(volume) and bool(volume.get("fromContainer")) == bool(
            volume.get("containerPath")
        ):
            yield Failure(f"volumes[{index}]", "needs one of containerPath and fromContainer")
    uploads = inputs.get("uploads")
    if not isinstance(uploads, list) or not uploads:
        return
    if inputs.get("readOnly") is True:
        yield Failure(
            "uploads",
            "cannot go with readOnly: the engine puts no files into a container with a read-only "
            "root, not even into its volumes. Put them into the image, or into a volume by way of "
            "another container",
        )
    for index, upload in enumerate(uploads):
        sources = ("content", "contentBase64", "source")
        if upload is UNKNOWN or any(upload.get(name) is UNKNOWN for name in sources):
            continue
        if sum(1 for name in sources if upload.get(name)) != 1:
            yield Failure(
                f"uploads[{index}]", f"needs exactly one of {', '.join(sources)}, not empty"
            )
