"""What the managers of a swarm say of a stack's services, and of their machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
from docker.errors import NotFound

from zhub.contract import ROLE, STACK, Role, labelled
from zhub.guard import placement, services
from zhub.guard.placement import node_of
from zhub.guard.services import ID


class Managers:
    """Answers what there is; changes nothing."""

    def __init__(self, client: docker.APIClient, prefix: str) -> None:
        self._client: Any = client
        self._prefix = prefix

    def service(self, container: str) -> dict[str, Any] | None:
        """Return a server's service, by its ID or its name."""
        of = {"label": [f"{STACK}={self._prefix}", f"{ROLE}={Role.SERVER}"]}
        by = {"label": [*of["label"], f"{ID}={container}"]} if _is_id(container) else None
        found = self._client.services(filters=by or of | {"name": container})
        # The engine takes a name for the beginning of one.
        return next((one for one in found if by or one["Spec"]["Name"] == container), None)

    def all_shown(self) -> list[dict[str, Any]]:
        """Return all servers, by three calls, each with its Task, and with its Node (IDs)."""
        return self._all_shown(self.nodes())

    def _all_shown(self, nodes: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        own = labelled(self._prefix, Role.SERVER)
        tasks: dict[str, list[dict[str, Any]]] = {}
        for task in self._client.tasks(filters=own):
            tasks.setdefault(task["ServiceID"], []).append(task)
        shown = []
        for service in self._client.services(filters=own):
            its = tasks.get(service["ID"], [])
            task = services.newest(its) or {}
            place = {"Task": task.get("ID", ""), "Node": node_of(task)}
            shown.append(_shown(service, its, nodes) | place)
        return shown

    def listed(self, *, all_: bool) -> list[dict[str, Any]]:
        """Return servers as containers are listed, those that run or all, with their machines."""
        nodes = self.nodes()
        names = placement.names(nodes.values())
        return [
            {
                "Id": one["Id"],
                "Names": [one["Name"]],
                "Labels": one["Config"]["Labels"],
                "NetworkSettings": one["NetworkSettings"],
                "Node": names.get(one["Node"], ""),
            }
            for one in self._all_shown(nodes)
            if all_ or one["State"]["Running"]
        ]

    def shown(self, service: dict[str, Any]) -> dict[str, Any]:
        """Return a server as an engine would describe its container."""
        tasks = self._client.tasks(filters={"service": service["ID"]})
        shown = _shown(service, tasks, self.nodes())
        return shown | {"Image": self._image(shown["Image"])}

    def lines(self, service: dict[str, Any], tail: int) -> bytes:
        """Return the last lines of a server's log, which the managers fetch from its machine.

        Raises:
            docker.errors.NotFound: it never had a container, or its machine does not answer: there
                is nothing to fetch, and the managers, or the machine, would wait for it.
            docker.errors.APIError: its log driver only writes.
        """
        task = services.newest(self._client.tasks(filters={"service": service["ID"]}))
        if not (task and services.contained(task) and self._ready(node_of(task))):
            raise NotFound("no log")
        both = {"stdout": True, "stderr": True, "is_tty": False}
        return b"".join(self._client.service_logs(service["ID"], tail=tail, **both))

    def _ready(self, node: str) -> bool:
        found = self.nodes().get(node)
        return bool(found and found["Status"]["State"] == "ready")

    def _image(self, name: str) -> str:
        """Return an image's ID; its name if it is one of before, which this engine has no more."""
        try:
            return str(self._client.inspect_image(name)["Id"])
        except NotFound:
            return name

    def kept(self) -> list[dict[str, Any]]:
        """Return the tasks of the stack's own services: guards, and what keeps images."""
        own = {"label": [f"{STACK}={self._prefix}"], "mode": ["global"]}
        found = [one["ID"] for one in self._client.services(filters=own)]
        if not found:
            return []
        wanted = {"service": found, "desired-state": ["running"]}
        tasks: list[dict[str, Any]] = self._client.tasks(filters=wanted)
        return tasks

    def guards(self) -> dict[str, str]:
        """Return the tasks of the guards that run on machines that answer, by the machines' IDs."""
        nodes = self.nodes()
        return {
            node_of(task): task["ID"]
            for task in placement.guards(self.kept())
            if node_of(task) in nodes and placement.answers(task, nodes)
        }

    def memory(self, label: str) -> dict[str, int]:
        """Return the bytes of the machines with the label that answer, by their names."""
        nodes = self.nodes().values()
        names = placement.names(nodes)
        return {names[one]: size for one, size in placement.memory(nodes, label).items()}

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return the swarm's machines, by their IDs."""
        return {node["ID"]: node for node in self._client.nodes()}


def _shown(
    service: dict[str, Any], tasks: list[dict[str, Any]], nodes: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    task = services.newest(tasks)
    return services.as_container(service, task, nodes.get(node_of(task)) if task else None)


def _is_id(container: str) -> bool:
    return len(container) == 64 and set(container) <= set("0123456789abcdef")
