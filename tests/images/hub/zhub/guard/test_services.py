"""A server as a service has what it has as a container, and the hub sees it alike."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from zhub.contract import AWAIT_FILTER, LEASE
from zhub.guard import services
from zhub.guard.bodies import Refused
from zhub.guard.seccomp import PROFILE
from zhub.guard.services import Swarm
from zhub.servers import leftovers

from tests.images.hub.zhub.guard.test_policy import LABELS, NAME, POLICY, VARIABLES, asked

NEW = (1, 54)
HOME: dict[str, Any] = {
    "Name": "site-home-alice",
    "Driver": "local",
    "Mountpoint": "/var/lib/docker/volumes/site-home-alice/_data",
    "Labels": {**LABELS, "zhub.role": "home"},
    "Options": {"type": "none", "o": "bind", "device": "/srv/homes/site-home-alice"},
}
CONTAINER = POLICY.container(NAME, asked())


def body(api: tuple[int, int] = NEW, **container: Any) -> dict[str, Any]:
    """Return the service of alice's server, some of whose container's limits are others."""
    host = {**CONTAINER["HostConfig"], **container}
    made = services.body(
        NAME,
        {**CONTAINER, "HostConfig": host},
        HOME,
        "n1",
        Swarm(label="zhub=servers", processor="s390x", grace=10, api=api),
    )
    # As the engine gets it.
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


class TestBody:
    def test_it_never_runs_twice(self) -> None:
        made = body()
        assert made["Mode"] == {"Replicated": {"Replicas": 1}}
        assert made["TaskTemplate"]["RestartPolicy"] == {"Condition": "none"}

    def test_walls(self) -> None:
        spec = body()["TaskTemplate"]["ContainerSpec"]
        assert spec["CapabilityDrop"] == ["ALL"]
        assert spec["Init"] is False
        assert spec["Privileges"]["NoNewPrivileges"] is True
        seccomp = spec["Privileges"]["Seccomp"]
        assert seccomp["Mode"] == "custom"
        assert base64.b64decode(seccomp["Profile"]).decode() == PROFILE
        assert not {"CapabilityAdd", "Sysctls", "Command", "User", "Groups"} & spec.keys()

    def test_what_a_service_cannot_have_is_not_left_out_silently(self) -> None:
        with pytest.raises(ValueError, match="services have no security option apparmor="):
            body(SecurityOpt=["no-new-privileges", "apparmor=mine"])

    def test_limits_and_what_is_reserved(self) -> None:
        gib = 1 << 30
        assert body()["TaskTemplate"]["Resources"] == {
            "Limits": {"MemoryBytes": gib, "NanoCPUs": 1_500_000_000, "Pids": 100},
            "Reservations": {"MemoryBytes": gib, "NanoCPUs": 150_000_000},
            "SwapBytes": 0,
        }

    def test_what_older_engines_do_not_know(self) -> None:
        assert "SwapBytes" not in body((1, 51))["TaskTemplate"]["Resources"]
        assert body((1, 46))["TaskTemplate"]["ContainerSpec"]["OomScoreAdj"] == 500
        assert "OomScoreAdj" not in body((1, 45))["TaskTemplate"]["ContainerSpec"]

    def test_files_are_those_of_its_user_on_every_node(self) -> None:
        home, shared_memory = body()["TaskTemplate"]["ContainerSpec"]["Mounts"]
        assert home == {
            "Type": "volume",
            "Source": "site-home-alice",
            "Target": "/home/jovyan",
            "VolumeOptions": {
                "Labels": HOME["Labels"],
                "DriverConfig": {"Name": "local", "Options": HOME["Options"]},
            },
        }
        assert shared_memory["Target"] == services.SHARED_MEMORY
        assert shared_memory["TmpfsOptions"]["SizeBytes"] == CONTAINER["HostConfig"]["ShmSize"]
        folder = {"Type": "bind", "Source": "/srv/shared/project", "Target": "/shared/project"}
        *_, last = body(Mounts=[folder])["TaskTemplate"]["ContainerSpec"]["Mounts"]
        assert last == folder

    def test_it_waits_for_its_filter_and_has_a_lease_whatever_the_hub_says(self) -> None:
        env = body()["TaskTemplate"]["ContainerSpec"]["Env"]
        assert env == [*CONTAINER["Env"], f"{AWAIT_FILTER}=127.0.9.9:9", f"{LEASE}=180"]
        # The hub's own word for them is refused.
        for name in (AWAIT_FILTER, LEASE):
            request = asked()
            request["Env"].append(f"{name}=")
            with pytest.raises(Refused, match=f"Env has {name}, which no server gets"):
                POLICY.container(NAME, request)

    def test_where_it_may_run_and_what_it_is_connected_to(self) -> None:
        made = body()
        task = made["TaskTemplate"]
        assert task["Placement"] == {
            "Constraints": ["node.labels.zhub==servers"],
            "Platforms": [{"OS": "linux", "Architecture": "s390x"}],
        }
        assert task["Networks"] == [{"Target": "n1"}]
        assert made["EndpointSpec"] == {"Mode": "dnsrr"}
        assert services._constraints("") == []

    def test_name_servers_log_and_end(self) -> None:
        task = body(Dns=["127.0.0.1"])["TaskTemplate"]
        assert task["ContainerSpec"]["DNSConfig"] == {"Nameservers": ["127.0.0.1"]}
        assert "DNSConfig" not in body()["TaskTemplate"]["ContainerSpec"]
        assert task["LogDriver"] == {
            "Name": "json-file",
            "Options": {"max-size": "10m", "max-file": "3"},
        }
        assert task["ContainerSpec"]["StopGracePeriod"] == 10_000_000_000


READY = {"Status": {"State": "ready"}}
DOWN = {"Status": {"State": "down"}}


def task(state: str, **more: Any) -> dict[str, Any]:
    """A task as a manager has it."""
    return {
        "CreatedAt": "2026-11-29T10:00:00Z",
        "NodeID": "a",
        "Status": {"State": state, "Timestamp": "2026-11-29T11:00:00Z", **more},
        "NetworksAttachments": [
            {"Network": {"Spec": {"Name": NAME}}, "Addresses": ["10.214.0.4/28"]}
        ],
    }


def seen(task: dict[str, Any] | None, node: dict[str, Any] | None) -> dict[str, Any]:
    service = {"ID": "s1", "Spec": body()}
    return services.as_container(service, task, node)


class TestSeen:
    def test_a_server_that_runs(self) -> None:
        found = seen(task("running", ContainerStatus={"ExitCode": 0}), READY)
        assert (found["Id"], found["Name"]) == ("s1", f"/{NAME}")
        assert found["Config"]["Labels"] == LABELS
        variables = leftovers.environment(found)
        assert variables.items() >= VARIABLES.items()
        assert found["State"]["Status"] == "running"
        assert found["State"]["Running"]
        assert found["NetworkSettings"]["Networks"] == {NAME: {"IPAddress": "10.214.0.4"}}
        assert leftovers.grants(found) == []

    @pytest.mark.parametrize("state", ["new", "pending", "assigned", "preparing", "starting"])
    def test_one_that_starts_has_not_ended(self, state: str) -> None:
        found = seen(task(state, Err="no suitable node"), READY)["State"]
        assert (found["Running"], found["Status"]) == (True, "created")
        # Such as why there is no node for it.
        assert found["Error"] == "no suitable node"

    def test_one_that_has_no_task_yet_has_not_ended(self) -> None:
        found = seen(None, None)
        assert found["State"]["Running"]
        assert found["NetworkSettings"]["Networks"] == {}

    @pytest.mark.parametrize("state", ["complete", "shutdown", "failed", "rejected", "orphaned"])
    def test_one_that_has_ended(self, state: str) -> None:
        found = seen(task(state, Err="task: non-zero exit (137)"), READY)["State"]
        assert (found["Running"], found["Status"]) == (False, "exited")
        assert found["FinishedAt"] == "2026-11-29T11:00:00Z"

    def test_exit_codes(self) -> None:
        found = seen(task("failed", ContainerStatus={"ExitCode": 137}), READY)["State"]
        assert found["ExitCode"] == 137

    def test_one_on_a_machine_that_does_not_answer_may_still_run(self) -> None:
        found = seen(task("running"), DOWN)["State"]
        assert (found["Running"], found["Error"]) == (True, "its machine does not answer")

    def test_one_on_a_machine_that_was_removed_has_ended(self) -> None:
        """`docker node rm --force` is how an operator says that the machine is off."""
        found = seen(task("running"), None)["State"]
        assert not found["Running"]

    def test_shared_folders(self) -> None:
        spec = body()
        spec["TaskTemplate"]["ContainerSpec"]["Mounts"] += [
            {"Type": "bind", "Target": "/shared/project", "ReadOnly": True},
            {"Type": "bind", "Target": "/shared/team"},
        ]
        found = services.as_container({"ID": "s1", "Spec": spec}, task("running"), READY)
        assert leftovers.grants(found) == ["project:ro", "team:rw"]

    def test_the_newest_task_counts(self) -> None:
        old, new = task("failed"), task("running") | {"CreatedAt": "2026-11-29T10:00:01Z"}
        assert services.newest([new, old]) is new
        assert services.newest([]) is None
