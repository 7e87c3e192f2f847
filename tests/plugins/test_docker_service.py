"""A service's properties in the engine's form and back, its diffs, and what is refused.

No swarm is needed: an engine stores the body of a create as it is, and adds what it has chosen.
"""

from __future__ import annotations

import base64
import copy
import json
from typing import Any, ClassVar

import pytest

from plugins.calls import ResourceError
from plugins.docker import durations, serviceread, servicespec
from plugins.docker.provider import DockerProvider
from plugins.docker.resource import filled
from plugins.docker.service import Service, _failures, with_chosen
from plugins.property_types import Failure
from plugins.values import UNKNOWN, Secret
from tests.plugins.told_engine import Tell

SERVICE = Service(DockerProvider())
DIGEST = f"registry.example.com/hub@sha256:{'0' * 64}"

MINIMAL: dict[str, Any] = {"name": "it", "taskSpec": {"containerSpec": {"image": DIGEST}}}
FULL: dict[str, Any] = {
    "name": "it",
    "labels": [{"label": "a", "value": "b"}],
    "taskSpec": {
        "containerSpec": {
            "image": DIGEST,
            "labels": [{"label": "c", "value": "d"}],
            "commands": ["/bin/setpriv", "--no-new-privs"],
            "args": ["guard"],
            "hostname": "guard",
            "env": {"ZHUB_PREFIX": "zhub-test", "EMPTY": "", "EQUALS": "a=b"},
            "dir": "/srv",
            "user": "1001:1000",
            "groups": ["1000"],
            "privileges": {"seLinuxContext": {"disable": False, "type": "container_t"}},
            "readOnly": True,
            "mounts": [
                {
                    "type": "bind",
                    "source": "/var/run/docker.sock",
                    "target": "/var/run/docker.sock",
                    "readOnly": False,
                    "bindOptions": {"propagation": "rprivate"},
                },
                {
                    "type": "volume",
                    "source": "zhub-test-guardsocket",
                    "target": "/run/guard",
                    "volumeOptions": {
                        "noCopy": True,
                        "labels": [{"label": "zhub.role", "value": "guardsocket"}],
                        "driverName": "local",
                        "driverOptions": {"type": "none", "o": "bind", "device": "/srv/x"},
                    },
                },
                {
                    "type": "tmpfs",
                    "target": "/run",
                    "tmpfsOptions": {"sizeBytes": 1048576, "mode": 0o1777},
                },
            ],
            "stopSignal": "SIGTERM",
            "stopGracePeriod": "30s",
            "healthcheck": {
                "tests": ["CMD", "/usr/local/bin/zhub-health", "guard"],
                "interval": "10s",
                "timeout": "1m",
                "startPeriod": "1m30s",
                "retries": 3,
            },
            "hosts": [{"host": "ldap", "ip": "192.0.2.1"}],
            "dnsConfig": {
                "nameservers": ["192.0.2.53"],
                "searches": ["example.com"],
                "options": ["ndots:1"],
            },
            "secrets": [
                {"secretId": "s1", "secretName": "key", "fileName": "hub.key", "fileMode": 0o400}
            ],
            "configs": [{"configId": "c1", "configName": "ca", "fileName": "ca.pem"}],
            "sysctl": {"net.ipv4.ip_forward": "0"},
            "capAdds": ["CAP_SETGID"],
            "capDrops": ["ALL"],
            "init": False,
        },
        "resources": {
            "limits": {"nanoCpus": 500000000, "memoryBytes": 201326592},
            "reservation": {"memoryBytes": 134217728},
        },
        "restartPolicy": {
            "condition": "any",
            "delay": "5s",
            "maxAttempts": 0,
            "window": "0s",
        },
        "placement": {
            "constraints": ["node.role==manager", "node.labels.zhub==servers"],
            "prefs": ["node.labels.rack"],
            "maxReplicas": 1,
            "platforms": [{"architecture": "s390x", "os": "linux"}],
        },
        "forceUpdate": 2,
        "runtime": "container",
        "networksAdvanceds": [{"id": "n1", "aliases": ["hub"], "driverOpts": ["a=b"]}],
        "logDriver": {"name": "json-file", "options": {"max-size": "10m"}},
    },
    "mode": {"replicated": {"replicas": 1}},
    "endpointSpec": {
        "mode": "dnsrr",
        "ports": [
            {"name": "https", "targetPort": 8443, "publishedPort": 11119, "publishMode": "host"}
        ],
    },
    "updateConfig": {"order": "stop-first", "delay": "2s", "maxFailureRatio": "0.5"},
    "rollbackConfig": {"monitor": "1h"},
    "convergeConfig": {"timeout": "2m", "delay": "1s"},
}


def checked(program: dict[str, Any]) -> dict[str, Any]:
    """Return a program's inputs with their defaults."""
    failures: list[Failure] = []
    inputs: dict[str, Any] = SERVICE.table.normalise(program, "", failures)
    assert not failures
    return inputs


def engines(body: dict[str, Any], **chosen: Any) -> dict[str, Any]:
    """Return what the engine says of a service that was created with that body."""
    spec = copy.deepcopy(body)
    # As of an engine that was asked for neither.
    spec["Mode"] = spec["Mode"] or {"Replicated": {"Replicas": 1}}
    spec["TaskTemplate"].setdefault("Runtime", "container")
    endpoint = {"Mode": "vip"} | spec["EndpointSpec"]
    spec["EndpointSpec"] = endpoint
    return {"Spec": spec, "Endpoint": {"Spec": endpoint, "Ports": endpoint["Ports"]}, **chosen}


def stored(program: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs of a service that the program has made."""
    inputs = checked(program)
    found = filled(SERVICE.table, serviceread.stored(engines(servicespec.body(inputs))))
    kept = {name: inputs[name] for name in ("convergeConfig", "auth") if name in inputs}
    return {**kept, **found}


def changes(before: dict[str, Any], program: dict[str, Any]) -> dict[str, str]:
    """Return the detailed diff between a stored service and a program."""
    found = SERVICE.diff([], {}, checked(program), before)
    return {change.path: change.kind + " replaces" * change.replaces for change in found}


def changed(program: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the program with another value at a path; None to leave it out."""
    result = copy.deepcopy(program)
    *parents, last = path.split(".")
    place = result
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return result


class TestForms:
    def test_what_the_engine_gets(self) -> None:
        body = servicespec.body(checked(FULL))
        task = body["TaskTemplate"]
        spec = task["ContainerSpec"]
        assert (body["Name"], body["Labels"]) == ("it", {"a": "b"})
        assert body["Mode"] == {"Replicated": {"Replicas": 1}}
        assert spec["Command"] == ["/bin/setpriv", "--no-new-privs"]
        assert spec["Args"] == ["guard"]
        assert spec["Env"] == ["EMPTY=", "EQUALS=a=b", "ZHUB_PREFIX=zhub-test"]
        assert (spec["CapabilityAdd"], spec["CapabilityDrop"]) == (["CAP_SETGID"], ["ALL"])
        assert (spec["ReadOnly"], spec["Init"]) == (True, False)
        assert spec["StopGracePeriod"] == 30 * 10**9
        assert spec["Hosts"] == ["192.0.2.1 ldap"]
        assert spec["Healthcheck"]["StartPeriod"] == 90 * 10**9
        assert spec["Secrets"] == [
            {
                "SecretID": "s1",
                "SecretName": "key",
                "File": {"Name": "hub.key", "UID": "0", "GID": "0", "Mode": 0o400},
            }
        ]
        assert spec["Configs"][0]["File"]["Mode"] == 0o444
        assert [one["Type"] for one in spec["Mounts"]] == ["bind", "volume", "tmpfs"]
        assert task["Resources"] == {
            "Limits": {"NanoCPUs": 500000000, "MemoryBytes": 201326592},
            "Reservations": {"MemoryBytes": 134217728},
        }
        assert task["RestartPolicy"] == {
            "Condition": "any",
            "Delay": 5 * 10**9,
            "MaxAttempts": 0,
            "Window": 0,
        }
        assert task["Placement"]["Preferences"] == [
            {"Spread": {"SpreadDescriptor": "node.labels.rack"}}
        ]
        assert task["Networks"] == [{"Target": "n1", "Aliases": ["hub"], "DriverOpts": {"a": "b"}}]
        assert task["LogDriver"] == {"Name": "json-file", "Options": {"max-size": "10m"}}
        assert body["EndpointSpec"]["Ports"] == [
            {
                "Name": "https",
                "Protocol": "tcp",
                "TargetPort": 8443,
                "PublishedPort": 11119,
                "PublishMode": "host",
            }
        ]
        assert body["UpdateConfig"] == {
            "Parallelism": 1,
            "Delay": 2 * 10**9,
            "FailureAction": "pause",
            "Monitor": 5 * 10**9,
            "MaxFailureRatio": 0.5,
            "Order": "stop-first",
        }
        assert body["RollbackConfig"]["Monitor"] == 3600 * 10**9

    def test_what_the_engine_gets_of_a_program_that_says_next_to_nothing(self) -> None:
        body = servicespec.body(checked(MINIMAL))
        assert body["Mode"] == {}
        assert body["EndpointSpec"] == {"Ports": []}
        assert "UpdateConfig" not in body
        spec = body["TaskTemplate"]["ContainerSpec"]
        assert (spec["Init"], spec["StopGracePeriod"], spec["Isolation"]) == (False, 0, "default")

    def test_a_service_on_every_node(self) -> None:
        program = {**MINIMAL, "mode": {"global": True}}
        body = servicespec.body(checked(program))
        assert body["Mode"] == {"Global": {}}
        assert stored(program)["mode"] == {"global": True}

    def test_one_without_replicas_has_none(self) -> None:
        # The engine leaves zeros out of nothing here, but of the replicas.
        found = engines(servicespec.body(checked(MINIMAL)))
        found["Spec"]["Mode"] = {"Replicated": {"Replicas": 0}}
        assert serviceread.stored(found)["mode"] == {
            "replicated": {"replicas": 0},
            "global": False,
        }

    def test_a_network_by_its_name(self) -> None:
        program = changed(MINIMAL, "taskSpec.networksAdvanceds", [{"name": "hub"}])
        task = servicespec.body(checked(program))["TaskTemplate"]
        assert task["Networks"] == [{"Target": "hub", "Aliases": [], "DriverOpts": {}}]

    def test_ports_are_as_the_engine_has_opened_them(self) -> None:
        found = engines(servicespec.body(checked(MINIMAL)))
        found["Endpoint"]["Ports"] = [
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 30000, "PublishMode": "ingress"}
        ]
        assert serviceread.stored(found)["endpointSpec"]["ports"][0]["publishedPort"] == 30000

    def test_how_it_is_reached_is_chosen_a_little_later(self) -> None:
        found = engines(servicespec.body(checked(MINIMAL)))
        assert serviceread.settled(found)
        found["Endpoint"] = {"Spec": {}}
        assert serviceread.settled(found)
        del found["Spec"]["EndpointSpec"]
        assert not serviceread.settled(found)

    @pytest.mark.parametrize(
        ("nanoseconds", "text"),
        [
            (0, "0s"),
            (500_000_000, "500ms"),
            (60 * 10**9, "1m"),
            (90 * 10**9, "1m30s"),
            (600 * 10**9, "10m"),
            (3600 * 10**9, "1h"),
            (3900 * 10**9, "1h5m"),
            (36000 * 10**9, "10h"),
        ],
    )
    def test_durations_are_short(self, nanoseconds: int, text: str) -> None:
        assert durations.short(nanoseconds) == text
        assert durations.parse(text) == nanoseconds


class TestDiff:
    @pytest.mark.parametrize("program", [MINIMAL, FULL], ids=["minimal", "full"])
    def test_the_same_program_is_no_change(self, program: dict[str, Any]) -> None:
        assert changes(stored(program), program) == {}

    def test_what_the_engine_has_chosen_is_no_change(self) -> None:
        before = stored(FULL)
        program = copy.deepcopy(FULL)
        for name in ("labels", "mode", "endpointSpec"):
            del program[name]
        for name in ("resources", "restartPolicy", "placement", "forceUpdate", "runtime"):
            del program["taskSpec"][name]
        for name in ("stopGracePeriod", "healthcheck", "dnsConfig", "init"):
            del program["taskSpec"]["containerSpec"][name]
        assert changes(before, program) == {}

    @pytest.mark.parametrize(
        ("path", "value", "expected"),
        [
            (
                "taskSpec.containerSpec.image",
                "other",
                {"taskSpec.containerSpec.image": "update"},
            ),
            ("taskSpec.containerSpec.env.NEW", "x", {"taskSpec.containerSpec.env.NEW": "add"}),
            (
                "taskSpec.containerSpec.env.EMPTY",
                None,
                {"taskSpec.containerSpec.env.EMPTY": "delete"},
            ),
            (
                "taskSpec.containerSpec.healthcheck.retries",
                4,
                {"taskSpec.containerSpec.healthcheck.retries": "update"},
            ),
            ("taskSpec.resources.limits.memoryBytes", 1, None),
            ("taskSpec.placement.maxReplicas", 2, None),
            ("taskSpec.containerSpec.capDrops", [], {"taskSpec.containerSpec.capDrops": "delete"}),
            ("taskSpec.containerSpec.readOnly", False, None),
            (
                "mode",
                {"replicated": {"replicas": 2}},
                {"mode.replicated.replicas": "update replaces"},
            ),
            ("name", "other", {"name": "update replaces"}),
            ("labels", [{"label": "a", "value": "c"}], {"labels[0].value": "update"}),
            (
                "taskSpec.containerSpec.sysctl",
                {"net.ipv4.ip_forward": "1"},
                {'taskSpec.containerSpec.sysctl["net.ipv4.ip_forward"]': "update replaces"},
            ),
            ("updateConfig.maxFailureRatio", "0.50", {}),
            ("updateConfig.maxFailureRatio", "0.6", {"updateConfig.maxFailureRatio": "update"}),
            ("taskSpec.containerSpec.image", UNKNOWN, {"taskSpec.containerSpec.image": "update"}),
        ],
    )
    def test_a_change(self, path: str, value: Any, expected: dict[str, str] | None) -> None:
        expected = {path: "update"} if expected is None else expected
        assert changes(stored(FULL), changed(FULL, path, value)) == expected

    @pytest.mark.parametrize(
        "path",
        [
            "taskSpec.networksAdvanceds",
            "taskSpec.containerSpec.hosts",
            "taskSpec.containerSpec.labels",
        ],
    )
    def test_what_replaces(self, path: str) -> None:
        found = changes(stored(FULL), changed(FULL, path, None))
        assert found
        assert all(kind.endswith("replaces") for kind in found.values())

    def test_another_mode_replaces(self) -> None:
        program = changed(FULL, "mode", {"global": True})
        del program["convergeConfig"]
        found = changes(stored(FULL), program)
        assert found["mode.global"] == "update replaces"

    def test_a_network_by_its_name_replaces_every_time(self) -> None:
        """Of the official plugin's making; its documentation says to use the id."""
        program = changed(MINIMAL, "taskSpec.networksAdvanceds", [{"name": "hub"}])
        found = changes(stored(program), program)
        assert set(found.values()) <= {"update replaces", "add replaces", "delete replaces"}
        assert found

    def test_a_minute_written_as_seconds_is_a_change_every_time(self) -> None:
        program = changed(MINIMAL, "taskSpec.containerSpec.stopGracePeriod", "60s")
        path = "taskSpec.containerSpec.stopGracePeriod"
        assert changes(stored(program), program) == {path: "update"}
        program = changed(MINIMAL, path, "1m")
        assert changes(stored(program), program) == {}


class TestUpdate:
    def test_what_the_engine_chose_stays(self) -> None:
        """The engine replaces all of a service by what an update says."""
        program = changed(MINIMAL, "taskSpec.containerSpec.image", "other")
        body = servicespec.body(with_chosen(SERVICE.table, checked(program), stored(FULL)))
        before = servicespec.body(checked(FULL))
        task, old = body["TaskTemplate"], before["TaskTemplate"]
        assert task["ContainerSpec"]["Image"] == "other"
        for name in ("Resources", "RestartPolicy", "Placement", "ForceUpdate", "Runtime"):
            assert task[name] == old[name]
        for name in ("Healthcheck", "DNSConfig", "StopGracePeriod"):
            assert task["ContainerSpec"][name] == old["ContainerSpec"][name]
        assert body["Mode"] == before["Mode"]
        assert body["EndpointSpec"] == before["EndpointSpec"]
        # What is not computed is gone.
        assert task["ContainerSpec"]["Env"] == []
        assert task["Networks"] == []

    def test_what_the_program_says_wins(self) -> None:
        program = changed(FULL, "taskSpec.placement", {"constraints": ["node.role==worker"]})
        found = with_chosen(SERVICE.table, checked(program), stored(FULL))
        assert found["taskSpec"]["placement"] == {"constraints": ["node.role==worker"]}


class TestCheck:
    @pytest.mark.parametrize(
        ("path", "value", "refused"),
        [
            (
                "mode",
                {"global": True, "replicated": {"replicas": 1}},
                ("mode.replicated", "cannot go with global"),
            ),
            ("mode", {"global": True}, ("convergeConfig", "cannot go with mode.global")),
            (
                "taskSpec.networksAdvanceds",
                [{"aliases": ["hub"]}],
                ("taskSpec.networksAdvanceds[0]", "needs id or name"),
            ),
        ],
    )
    def test_what_does_not_go_together(
        self, path: str, value: Any, refused: tuple[str, str]
    ) -> None:
        assert Failure(*refused) in list(_failures(checked(changed(FULL, path, value))))

    def test_good_ones(self) -> None:
        assert list(_failures(checked(FULL))) == []
        assert list(_failures(checked({**MINIMAL, "mode": {"global": True}}))) == []
        assert list(_failures({"name": "it", "taskSpec": UNKNOWN, "mode": UNKNOWN})) == []
        networks = changed(MINIMAL, "taskSpec.networksAdvanceds", [UNKNOWN, {"id": UNKNOWN}])
        assert list(_failures(networks)) == []

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("taskSpec.containerSpec.stopGracePeriod", "soon", "must be a duration such as"),
            ("taskSpec.containerSpec.mounts", [{"type": "npipe", "target": "x"}], "must be one of"),
            ("endpointSpec.mode", "mesh", "must be one of vip, dnsrr"),
            ("updateConfig.maxFailureRatio", "1.5", "must be a number from 0.0 to 1.0"),
            ("updateConfig.failureAction", "shrug", "must be one of pause, continue, rollback"),
            ("rollbackConfig.failureAction", "rollback", "must be one of pause, continue"),
            (
                "taskSpec.containerSpec.privileges",
                {"noNewPrivileges": True},
                "is not a property; the properties are seLinuxContext",
            ),
            (
                "taskSpec.containerSpec.privileges",
                {"credentialSpec": {"file": "x"}},
                "is not supported by this plugin",
            ),
        ],
    )
    def test_wrong_values(self, path: str, value: Any, reason: str) -> None:
        failures: list[Failure] = []
        SERVICE.table.normalise(changed(FULL, path, value), "", failures)
        [failure] = failures
        assert failure.reason.startswith(reason)


class TestAccount:
    """With what nodes pull the image."""

    PROGRAM: ClassVar[dict[str, Any]] = {
        **MINIMAL,
        "auth": {
            "serverAddress": "registry.example.com",
            "username": "builder",
            "password": "grün & blau",
        },
    }

    def test_it_reaches_the_engine_and_stays_a_secret(self, tell: Tell) -> None:
        made: dict[str, Any] = {
            "ID": "it",
            "Spec": servicespec.body(checked(self.PROGRAM)),
            "Endpoint": {},
        }
        made["Spec"]["EndpointSpec"]["Mode"] = "dnsrr"
        platform = {"architecture": "s390x", "os": "linux"}
        digest = {"Descriptor": {"digest": "sha256:1"}, "Platforms": [platform]}
        told = tell(
            {
                f"GET /distribution/{DIGEST}/json": [digest],
                "POST /services/create": [{"ID": "it"}],
                "GET /services/it": [made],
            }
        )
        resource, inputs, call = told.call(Service, self.PROGRAM)
        created = resource.create(inputs, call)
        for asked in (f"GET /distribution/{DIGEST}/json", "POST /services/create"):
            sent = base64.urlsafe_b64decode(told.headers[asked]["X-Registry-Auth"])
            assert json.loads(sent) == {
                "serveraddress": "registry.example.com",
                "username": "builder",
                "password": "grün & blau",
            }
        raw = changed(inputs, "auth.password", Secret("grün & blau"))
        assert resource.finished("it", created.outputs, [raw])["auth"] == raw["auth"]

    def test_another_one_replaces(self) -> None:
        assert changes(stored(MINIMAL), self.PROGRAM) == {"auth": "add replaces"}
        other = changed(self.PROGRAM, "auth.password", "other")
        assert changes(stored(self.PROGRAM), other) == {"auth.password": "update replaces"}
        assert changes(stored(self.PROGRAM), self.PROGRAM) == {}


class Converging:
    """An engine whose service is just started or updated, and a call that waits for it.

    Each look finds the next state of the update and the next tasks: the image and id of each. The
    last stays.
    """

    def __init__(self, *looks: tuple[str, tuple[str, ...]]) -> None:
        self.client, self.engine = self, self
        self._looks = list(looks)
        self.said: list[str] = []
        self.status = self.said.append

    def inspect_service(self, _: str) -> dict[str, Any]:
        task = {"Image": "new", "Placement": {"Constraints": []}, "Runtime": "container"}
        found = {"Spec": {"Mode": {"Replicated": {"Replicas": 2}}, "TaskTemplate": task}}
        state, _tasks = self._looks[0]
        update = {"State": state, "Message": "task 7 failed"}
        return found | ({"UpdateStatus": update} if state else {})

    def nodes(self) -> list[dict[str, Any]]:
        return [{"ID": "node", "Status": {"State": "ready"}}]

    def tasks(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        if "desired-state" not in filters:
            return [{"Status": {"State": "failed", "Err": "no suitable node"}}]
        one = {"Status": {"State": "running"}, "NodeID": "node"}
        tasks = enumerate(self._looks[0][1], start=1)
        return [
            one | {"Slot": slot, "ID": task, "Spec": {"Image": task.split()[0], "Placement": {}}}
            for slot, task in tasks
        ]

    def sleep(self, _: float) -> None:
        if len(self._looks) > 1:
            self._looks.pop(0)


ONE, BOTH = ("", ("new 1",)), ("", ("new 1", "new 2"))
RESTARTED, BEFORE = ("", ("new 1", "new 3")), ("", ("old 1", "old 2"))
UPDATING, COMPLETED = ("updating", ("new 1", "old 2")), ("completed", ("new 1", "new 2"))


@pytest.mark.parametrize(
    ("looks", "updated", "counts"),
    [
        ([ONE, BOTH], False, [1, 2]),
        # What ends at once is seen running too, but not twice.
        ([BOTH, RESTARTED, RESTARTED], False, [2, 2]),
        # The engine has not begun the update yet.
        ([BEFORE, UPDATING, COMPLETED], True, [0, 1]),
        # An update that needs no new tasks.
        ([BOTH, BOTH], True, [2]),
    ],
)
def test_it_is_waited_for_until_its_tasks_run(
    looks: list[tuple[str, tuple[str, ...]]],
    updated: bool,  # noqa: FBT001
    counts: list[int],
) -> None:
    engine: Any = Converging(*looks)
    program = MINIMAL | {"convergeConfig": {"timeout": "1m"}}
    Service(engine)._await_tasks("id", program, engine, updated=updated)
    words = "updating" if updated else "waiting for"
    assert engine.said == [f"{words} it: {count} of 2 tasks run" for count in counts]


@pytest.mark.parametrize(
    ("look", "updated", "problem"),
    [
        (ONE, False, "service it did not run within 0s .*: 1 of 2 tasks run .no suitable node"),
        (UPDATING, True, "service it was not updated within 0s .*docker service ps"),
        (
            ("rollback_completed", ()),
            True,
            "ended as rollback_completed: task 7 failed .no suitable",
        ),
    ],
)
def test_what_keeps_it_from_running_is_said(
    look: tuple[str, tuple[str, ...]],
    updated: bool,  # noqa: FBT001
    problem: str,
) -> None:
    engine: Any = Converging(look)
    program = MINIMAL | {"convergeConfig": {"timeout": "0s"}}
    with pytest.raises(ResourceError, match=problem):
        Service(engine)._await_tasks("id", program, engine, updated=updated)
