"""docker:index/service:Service."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, ClassVar

from docker.errors import APIError
from requests.exceptions import ConnectionError as Lost
from requests.exceptions import ReadTimeout

from plugins.calls import Call, CheckCall, Created, InitError, ResourceError
from plugins.docker import durations, serviceread, servicespec
from plugins.docker.errors import gone_is_fine, is_missing
from plugins.docker.resource import EngineResource, filled
from plugins.docker.service_table import PROPERTIES
from plugins.properties import Object
from plugins.property_types import Failure
from plugins.values import UNKNOWN, Properties

#: Seconds until an engine must have chosen how a new service is reached, and between two looks.
SETTLE_SECONDS = 30
PAUSE = 0.5

#: In one second, which the engine counts in nanoseconds.
SECOND = 1_000_000_000

#: States of an update that has ended otherwise than it should.
FAILED = ("paused", "rollback_completed", "rollback_paused")


class Service(EngineResource):
    """A service of a swarm. Most changes are put to the engine, which replaces its tasks."""

    token = "docker:index/service:Service"
    schema_version = 2
    properties: ClassVar = PROPERTIES

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        return [*super().check(inputs, old, call), *_failures(inputs)]

    def create(self, inputs: Properties, call: Call) -> Created:
        name = inputs["name"]
        headers = self._headers(inputs)
        with self.engine.explained(f"create service {name}"):
            spec = servicespec.body(inputs)
            self._resolve(spec, headers)
            id = self.engine.post("/services/create", spec, headers)["ID"]
        try:
            with self.engine.explained(f"create service {name}"):
                if "convergeConfig" in inputs:
                    self._await_tasks(id, inputs, call, updated=False)
                self._settle(id, call)
            return Created(id, self.read(id, inputs, call) or {})
        except ResourceError as error:
            # As the official plugin does with one that does not run: the next run makes it anew.
            try:
                self.delete(id, inputs, call)
            except ResourceError:
                raise InitError(str(error), self.filled_inputs(inputs), id) from None
            raise

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        found = self.inspected(f"service {id}", id, self.engine.client.inspect_service)
        if found is None:
            return None
        kept = {name: state[name] for name in ("convergeConfig", "auth") if name in state}
        return {**kept, **filled(self.table, serviceread.stored(found))}

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        name = new["name"]
        wanted = with_chosen(self.table, new, state)
        with self.engine.explained(f"update service {name}"):
            version = self.engine.client.inspect_service(id)["Version"]["Index"]
            path = f"/services/{id}/update?version={version}"
            self.engine.post(path, servicespec.body(wanted), self._headers(new))
            if "convergeConfig" in new:
                self._await_tasks(id, wanted, call, updated=True)
            self._settle(id, call)
        return self.read(id, new, call) or {}

    def delete(self, id: str, state: Properties, call: Call) -> None:
        with self.engine.explained(f"remove service {state.get('name', id)}"):
            self._remove(id, state)

    def _headers(self, inputs: Properties) -> dict[str, str]:
        """Return the header with which nodes pull the image."""
        auth = inputs.get("auth")
        if not auth:
            image = inputs["taskSpec"]["containerSpec"]["image"]
            headers: dict[str, str] = self.provider.registry_headers(image)
            return headers
        account = {
            "username": auth.get("username", ""),
            "password": auth.get("password", ""),
            "serveraddress": auth["serverAddress"],
        }
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(account).encode()).decode()}

    def _resolve(self, spec: dict[str, Any], headers: dict[str, str]) -> None:
        """Add the digest to the image's name, and to the placement the platforms that it is for.

        Docker's own client does it, if a registry has the image (`resolveContainerSpecImage`).
        """
        task = spec["TaskTemplate"]
        image = task["ContainerSpec"]["Image"]
        try:
            found = self.engine.get(f"/distribution/{image}/json", headers)
        except (APIError, Lost):
            return
        if "@" not in image:
            task["ContainerSpec"]["Image"] = f"{image}@{found['Descriptor']['digest']}"
        if platforms := found.get("Platforms"):
            task["Placement"]["Platforms"] = [
                # The engine does not tell the versions of 32-bit ARM apart.
                {
                    "Architecture": "" if p["architecture"] == "arm" else p["architecture"],
                    "OS": p["os"],
                }
                for p in platforms
            ]

    def _settle(self, id: str, call: Call) -> None:
        deadline = monotonic() + SETTLE_SECONDS
        while not serviceread.settled(self.engine.client.inspect_service(id)):
            if monotonic() > deadline:
                raise ResourceError(f"the engine has not set up service {id} in {SETTLE_SECONDS} s")
            call.sleep(PAUSE)

    def _await_tasks(self, id: str, inputs: Properties, call: Call, *, updated: bool) -> None:
        """Wait until all replicas run: after an update, until the engine has replaced the tasks.

        Raises:
            ResourceError: they do not, in the time of convergeConfig, with the tasks' errors; or
                the engine has given the update up.
        """
        name = inputs["name"]
        doing, failed = (
            ("updating", "was not updated") if updated else ("waiting for", "did not run")
        )
        deadline = _deadline(inputs)
        seen: dict[int, str] = {}
        while True:
            status = self._update_status(id) if updated else {}
            state = status.get("State", "")
            if state in FAILED:
                raise ResourceError(
                    f"the update of service {name} has ended as {state}:"
                    f" {status.get('Message', '')}{self._errors(id)}"
                )
            running, wanted = self._replicas(id)
            # One that ends at once can be seen running too, but not twice.
            steady, seen = running == seen, running
            if state == "completed" or (not state and steady and len(running) == wanted):
                return
            call.status(f"{doing} {name}: {len(running)} of {wanted} tasks run")
            if monotonic() > deadline:
                limit = inputs["convergeConfig"]["timeout"]
                raise ResourceError(
                    f"service {name} {failed} within {limit} (convergeConfig.timeout):"
                    f" {len(running)} of {wanted} tasks run{self._errors(id)}."
                    f" See: docker service ps --no-trunc {name}"
                )
            call.sleep(PAUSE)

    def _update_status(self, id: str) -> dict[str, str]:
        """Return what the engine says of the last update; empty if there was none."""
        return self.engine.client.inspect_service(id).get("UpdateStatus") or {}

    def _replicas(self, id: str) -> tuple[dict[int, str], int]:
        """Return the tasks of the present spec that run on nodes that are up, and how many should.

        Right after an update its state is still empty and the tasks of before still run.
        """
        client = self.engine.client
        spec = client.inspect_service(id)["Spec"]
        there = {node["ID"] for node in client.nodes() if node["Status"]["State"] != "down"}
        tasks = client.tasks(filters={"service": id, "desired-state": "running"})
        running = {
            task["Slot"]: task["ID"]
            for task in tasks
            if task["Status"]["State"] == "running"
            and task.get("NodeID") in there
            and _unplaced(task["Spec"]) == _unplaced(spec["TaskTemplate"])
        }
        return running, spec["Mode"]["Replicated"]["Replicas"]

    def _errors(self, id: str) -> str:
        """Return why tasks have ended or do not start, each reason once."""
        tasks = self.engine.client.tasks(filters={"service": id})
        found = dict.fromkeys(task["Status"].get("Err") for task in tasks)
        reasons = [reason for reason in found if reason]
        return f" ({'; '.join(reasons)})" if reasons else ""

    def _remove(self, id: str, state: Properties) -> None:
        """Remove it; wait for its containers on this engine, as long as they have to end."""
        client = self.engine.client
        grace = durations.parse(state["taskSpec"]["containerSpec"].get("stopGracePeriod", "0"))
        try:
            tasks = client.tasks(filters={"service": id}) if grace else []
            client.remove_service(id)
        except APIError as error:
            if is_missing(error):
                return
            raise
        for task in tasks:
            status = task["Status"]
            container = (status.get("ContainerStatus") or {}).get("ContainerID")
            if container and status["State"] != "shutdown":
                self._end(container, grace / SECOND)

    def _end(self, container: str, seconds: float) -> None:
        client = self.engine.client
        with gone_is_fine():  # or on another node
            # When it has had its time, it is removed all the same.
            with suppress(ReadTimeout, Lost):
                client.wait(container, timeout=seconds, condition="removed")
            client.remove_container(container, v=True, force=True)


def _unplaced(task: dict[str, Any]) -> dict[str, Any]:
    """Return what a task is made anew for: not for its place, if the node is one of the new ones.

    See: swarmkit's `IsTaskDirty`. The engine shows the kind of task only with the service.
    """
    return {name: value for name, value in task.items() if name not in {"Placement", "Runtime"}}


def _deadline(inputs: Properties) -> float:
    return monotonic() + durations.parse(inputs["convergeConfig"]["timeout"]) / SECOND


def with_chosen(type: Object, new: Properties, state: Properties) -> Properties:
    """Return inputs with what the engine has chosen for what the program leaves out.

    An update replaces all of the engine's service, and Terraform keeps the state's value of a
    property that is computed.
    """
    result = dict(new)
    for row in type.properties:
        before, now = state.get(row.name), new.get(row.name)
        if now is None:
            if row.computed and before is not None:
                result[row.name] = before
        elif isinstance(row.type, Object) and isinstance(before, dict):
            result[row.name] = with_chosen(row.type, now, before)
    return result


def _failures(inputs: Properties) -> Iterator[Failure]:
    """Refuse what the engine or the official plugin refuses."""
    task, mode = inputs.get("taskSpec"), inputs.get("mode")
    if isinstance(mode, dict) and mode.get("global") is True:
        if "replicated" in mode:
            yield Failure("mode.replicated", "cannot go with global")
        if "convergeConfig" in inputs:
            yield Failure("convergeConfig", "cannot go with mode.global")
    if not isinstance(task, dict):
        return
    networks = task.get("networksAdvanceds")
    for index, network in enumerate(networks if isinstance(networks, list) else []):
        if network is not UNKNOWN and not (network.get("id") or network.get("name")):
            yield Failure(f"taskSpec.networksAdvanceds[{index}]", "needs id or name")
