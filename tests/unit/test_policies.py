"""The policy pack: the program's own resources pass, and each weakness is found by its policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import policies
import pytest
from pulumi_policy import PolicyResourceOptions, ResourceValidationArgs
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.policy import PolicyCustomTimeouts
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from tests.images.pki import Identity
from tests.unit.recorder import Recording, run

REMOTE = {"docker:host": "ssh://ops@z.example.com"}
DEMO = REMOTE | {"zhub:demoDirectory": "true"}

#: On all addresses, with everything a site may set.
SITE = REMOTE | {
    "zhub:hostname": "hub.example.com",
    "zhub:port": "8443",
    "zhub:ldapServer": "ldap.example.com",
    "zhub:ldapAllowedGroups": '["cn=jupyter,o=example"]',
    "zhub:engineSocket": "/run/user/1000/docker.sock",
    "zhub:registry": "registry.example.com",
}


def violations(kind: str, inputs: Any) -> dict[str, list[str]]:
    """What each policy has to say about a resource, judged as the SDK has it judged."""
    options = PolicyResourceOptions(
        protect=False,
        ignore_changes=[],
        delete_before_replace=None,
        aliases=[],
        custom_timeouts=PolicyCustomTimeouts(0, 0, 0),
        additional_secret_outputs=[],
    )
    props = unknown_checking_proxy(deserialize_properties(inputs))
    args = ResourceValidationArgs(kind, props, "urn", "it", options, None)
    found: dict[str, list[str]] = {}
    for policy in policies.POLICIES:
        name = policy.name

        def report(message: str, _: str | None, name: str = name) -> None:
            found.setdefault(name, []).append(message)

        policy.validate(args, report)
    return found


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("variant", ["demo", "site", "brought"])
def test_the_programs_own_resources_pass(variant: str, *, preview: bool, tmp_path: Path) -> None:
    Identity.create("hub.example.com").write(tmp_path, "hub")
    brought = {
        "zhub:tlsCertFile": str(tmp_path / "hub.crt"),
        "zhub:tlsKeyFile": str(tmp_path / "hub.key"),
    }
    config = {"demo": DEMO, "site": SITE, "brought": SITE | brought}[variant]
    recording = run(config, preview=preview)
    assert {one.urn: violations(one.type, one.raw) for one in recording.declared} == {
        one.urn: {} for one in recording.declared
    }


@pytest.fixture(scope="module")
def demo() -> Recording:
    return run(DEMO)


BIND = {"type": "bind", "source": "/var/run/docker.sock", "target": "/engine.sock"}
SOCKET = {"hostPath": "/var/run/docker.sock", "containerPath": "/var/run/docker.sock"}
PORT = {"internal": 8081, "external": 8081}
SETUID = {"drops": ["ALL"], "adds": ["CAP_SETUID"]}

#: A container of the program, what is changed in it, and the policy and message that finds it.
CONTAINERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("hub", {"privileged": True}, "not-privileged", "it: privileged is set"),
    ("hub", {"devices": [{"hostPath": "/dev/kvm"}]}, "not-privileged", "it: devices is set"),
    ("hub", {"gpus": "all"}, "not-privileged", "it: gpus is set"),
    ("hub", {"networkMode": "host"}, "own-namespaces", "it: networkMode is host"),
    ("hub", {"pidMode": "host"}, "own-namespaces", "it: pidMode is host"),
    ("hub", {"ipcMode": "host"}, "own-namespaces", "it: ipcMode is host"),
    ("hub", {"usernsMode": "host"}, "own-namespaces", "it: usernsMode is host"),
    (
        "hub",
        {"networkMode": "container:other"},
        "own-namespaces",
        "it: networkMode is container:other",
    ),
    (
        "hub",
        {"volumes": [SOCKET, {"volumeName": "certs", "containerPath": "/certs"}]},
        "no-files-of-the-machine",
        "it: /var/run/docker.sock of the engine's machine is mounted",
    ),
    (
        "hub",
        {"mounts": [BIND]},
        "no-files-of-the-machine",
        "it: /var/run/docker.sock of the engine's machine is mounted",
    ),
    (
        "directory",
        {"volumes": [{"fromContainer": "guard"}]},
        "no-files-of-the-machine",
        "it: the volumes of guard are mounted",
    ),
    (
        "guard",
        {"volumes": [SOCKET, {"hostPath": "/etc", "containerPath": "/etc"}]},
        "no-files-of-the-machine",
        "it: /etc of the engine's machine is mounted",
    ),
    (
        "guard",
        {"volumes": [{**SOCKET, "hostPath": "/"}]},
        "no-files-of-the-machine",
        "it: / of the engine's machine is mounted",
    ),
    (
        "guard",
        {"networkMode": "bridge"},
        "no-files-of-the-machine",
        "it: /var/run/docker.sock of the engine's machine is mounted",
    ),
    (
        "hub",
        {"envs": ["DOCKER_HOST=tcp://192.0.2.7:2375"]},
        "guarded",
        "it: DOCKER_HOST is tcp://192.0.2.7:2375, which is not the guard's socket",
    ),
    (
        "hub",
        {"envs": []},
        "guarded",
        "it: DOCKER_HOST is not set, which is not the guard's socket",
    ),
    ("hub", {"memory": None}, "memory-limited", "it: memory is not limited"),
    (
        "hub",
        {"memorySwap": -1},
        "memory-limited",
        "it: memorySwap is not the same as memory, so that there is swap beyond the limit",
    ),
    (
        "guard",
        {"envs": ["ZHUB_USER_MEMORY=2G", "ZHUB_USER_CPUS=2.0", "ZHUB_USER_PIDS="]},
        "users-limited",
        "it: ZHUB_USER_PIDS is not set: the guard is not told that limit of users' servers",
    ),
    ("hub", {"capabilities": None}, "capabilities-dropped", "it: capabilities are not dropped"),
    (
        "hub",
        {"capabilities": SETUID},
        "capabilities-dropped",
        "it: it has the capability CAP_SETUID",
    ),
    (
        "hub",
        {"securityOpts": []},
        "no-new-privileges",
        "it: securityOpts has no no-new-privileges:true",
    ),
    (
        "hub",
        {"securityOpts": ["no-new-privileges:true", "seccomp=unconfined"]},
        "no-new-privileges",
        "it: securityOpts has seccomp=unconfined",
    ),
    ("guard", {"readOnly": False}, "confined", "it: readOnly is not set"),
    ("hub", {"user": "0:1000"}, "confined", "it: user is root"),
    ("hub", {"user": None}, "confined", "it: user is root"),
    (
        "hub",
        {"ports": [PORT]},
        "https-only",
        "it: port 8081 is published at 0.0.0.0 without TLS",
    ),
    (
        "directory",
        {"ports": [{"internal": 389, "ip": "192.0.2.7"}]},
        "https-only",
        "it: port 389 is published at 192.0.2.7 without TLS",
    ),
    ("hub", {"publishAllPorts": True}, "https-only", "it: publishAllPorts is set"),
]


@pytest.mark.parametrize(
    ("name", "change", "policy", "message"),
    CONTAINERS,
    ids=[
        f"{name}-{'-'.join(change)}-{number}"
        for number, (name, change, _, _) in enumerate(CONTAINERS)
    ],
)
def test_a_weakened_container_is_found(
    demo: Recording, name: str, change: dict[str, Any], policy: str, message: str
) -> None:
    container = demo.one("Container", name)
    changed = {key: v for key, v in {**container.raw, **change}.items() if v is not None}
    assert violations(container.type, changed) == {policy: [message]}


def test_a_port_of_this_machine_alone_needs_no_tls(demo: Recording) -> None:
    container = demo.one("Container", "directory")
    ports = [{"internal": 389, "ip": "127.0.0.1"}, {"internal": 389, "ip": "::1"}]
    assert violations(container.type, {**container.raw, "ports": ports}) == {}


def test_the_hubs_port_needs_its_certificate(demo: Recording) -> None:
    container = demo.one("Container", "hub")
    found = violations(container.type, {**container.raw, "volumes": []})
    assert found == {"https-only": ["it: port 11119 is published at 0.0.0.0 without TLS"]}


def test_an_image_names_its_platform(demo: Recording) -> None:
    image = demo.one("Image", "hub")
    build = {key: value for key, value in image.raw["build"].items() if key != "platform"}
    found = violations(image.type, {**image.raw, "build": build})
    assert list(found) == ["platform-named"]


def test_a_volume_is_no_way_to_the_machines_files(demo: Recording) -> None:
    volume = demo.one("Volume", "state")
    options = {"type": "none", "o": "bind", "device": "/etc"}
    found = violations(volume.type, {**volume.raw, "driverOpts": options})
    assert found == {"no-volume-of-the-machine": ["it: the volume is /etc of the engine's machine"]}


def test_a_network_is_not_the_sites(demo: Recording) -> None:
    network = demo.one("Network", "hub")
    found = violations(network.type, {**network.raw, "driver": "macvlan"})
    assert found == {"own-network": ["it: driver is macvlan"]}


@pytest.mark.parametrize(
    "kind",
    ["docker:index/service:Service", "docker-build:index:Image", "docker:index/plugin:Plugin"],
)
def test_what_no_policy_judges_does_not_pass(kind: str) -> None:
    found = violations(kind, {})
    assert found == {"known-types": [f"it: no policy knows the type {kind}"]}


def test_what_is_not_known_yet_does_not_pass(demo: Recording) -> None:
    """The SDK only advises then, and the preview would be green."""
    container = demo.one("Container", "hub")
    found = violations(container.type, {**container.raw, "pidMode": UNKNOWN_STRING_VALUE})
    assert found == {"own-namespaces": ["it: pidMode is not known before `pulumi up`"]}


def test_every_policy_is_shown_to_find_something() -> None:
    """A new policy needs a test of its own."""
    elsewhere = {"platform-named", "no-volume-of-the-machine", "own-network", "known-types"}
    shown = {policy for _, _, policy, _ in CONTAINERS} | elsewhere
    assert {policy.name for policy in policies.POLICIES} == shown
