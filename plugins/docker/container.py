"""docker:index/container:Container."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from docker.errors import APIError
from docker.utils import parse_repository_tag

from plugins.calls import Call, CheckCall, Created, InitError, ResourceError
from plugins.docker import hostconfig, inspected
from plugins.docker.container_table import PROPERTIES, mounts_replace
from plugins.docker.errors import gone_is_fine, is_missing, said
from plugins.docker.resource import EngineResource
from plugins.property_types import Change, Failure, ListOf
from plugins.values import UNKNOWN, Properties, has_unknown


class Container(EngineResource):
    """A container. Most changes replace it, a few are applied in place, some have no effect."""

    token = "docker:index/container:Container"
    schema_version = 2
    delete_before_replace = True
    properties: ClassVar = PROPERTIES

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        return [*super().check(inputs, old, call), *_failures(inputs)]

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        found = super().diff(changes, old, new, state)
        if not mounts_replace(self.table.stored(state).get("mounts", []), new.get("mounts", [])):
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
        return {**state, **inspected.stored(found, state)}

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
                with gone_is_fine():
                    client.stop(id, timeout=state.get("destroyGraceSeconds") or 0)
            with gone_is_fine():
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
            found = self.read(id, inputs, call)
        except ResourceError as error:
            raise InitError(str(error), outputs, id) from None
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
