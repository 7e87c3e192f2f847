"""The guard's container and its rules."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pulumi
import pulumi_docker as docker
import pytest

from components.guard import Guard, GuardArgs
from components.guard import environment as of_guard
from components.names import Names
from components.settings.swarm import Swarm
from tests.components.recorder import Recording, environment, run, run_alone
from tests.components.stack_config import read
from tests.components.stacks import SITE


def test_the_guard_gets_its_rules_from_the_stack_and_the_hub_gets_the_same(
    site: Recording, demo: Recording
) -> None:
    from zhub import settings as hub_settings

    env = environment(site.one("Container", "guard"))
    of_hub = environment(site.one("Container", "hub"))
    own = {
        "ZHUB_USER_BLOCKED_NETWORKS",
        "ZHUB_USERS_MEMORY",
        "ZHUB_FILTER_IMAGE",
        "ZHUB_DIRECTORY_NETWORK",
        # Arguments of the hub, which is run by hand with them as well.
        "ZHUB_PORT",
        "ZHUB_LDAP_SERVERS",
    }
    assert {name: of_hub[name] for name in env.keys() - own} == {
        name: value for name, value in env.items() if name not in own
    }
    read = hub_settings.read_guard(env)
    assert (read.user_memory, read.users_memory) == ("4096M", "")
    assert read.notebook_image == site.outputs["notebookDigest"]["value"]
    assert read.hub_port == 11119
    assert read.directory_servers == (("ldap1.example.com", 636), ("ldap2.example.com", 636))
    assert read.directory_network == "bridge"
    of_demo = hub_settings.read_guard(environment(demo.one("Container", "guard")))
    assert of_demo.directory_servers == (("directory", 389),)
    assert of_demo.directory_network == "zhub-test-directory"
    networks = {
        "zhub:usersMemory": "64G",
        "zhub:userAllowedNetworks": '["10.20.30.40"]',
        "zhub:userBlockedNetworks": '["198.51.100.0/24"]',
    }
    read = hub_settings.read_guard(environment(run(SITE | networks).one("Container", "guard")))
    assert read.user_allowed_networks == (IPv4Network("10.20.30.40"),)
    assert read.user_blocked_networks == (IPv4Network("198.51.100.0/24"),)
    assert read.users_memory == f"{64 << 10}M"


def test_the_guard_alone_has_the_engines_socket_and_no_network(site: Recording) -> None:
    container = site.one("Container", "guard")
    guard = container.inputs
    assert guard["networkMode"] == "none"
    assert not guard.get("networksAdvanced")
    assert guard["readOnly"] is True
    assert guard["securityOpts"] == ["no-new-privileges:true"]
    assert guard["capabilities"] == {"drops": ["ALL"], "adds": ["CAP_SETGID", "CAP_SETUID"]}
    assert guard["memory"] == guard["memorySwap"]
    mounted = {
        one.name
        for one in site.all("Container")
        for volume in one.inputs.get("volumes", ())
        if volume.get("hostPath")
    }
    assert mounted == {"guard"}
    # A plain folder, which stays the same one when the guard or the engine is restarted.
    volume = site.one("Volume", "guardsocket").inputs
    assert "driverOpts" not in volume
    [shared] = [
        one
        for one in site.one("Container", "hub").inputs["volumes"]
        if one.get("volumeName") == volume["name"]
    ]
    assert shared["readOnly"] is True
    assert container.urn in site.one("Container", "hub").dependencies


def arguments(max_servers: int = 500) -> GuardArgs:
    settings = read(SITE)[0]
    assert settings.ldap
    return GuardArgs(
        names=Names("zhub-test"),
        engine_socket="/run/user/1000/docker.sock",
        image="sha256:1",
        notebook_image="sha256:2",
        filter_image="sha256:3",
        address=replace(settings.address, port=8443, base_path="/test/"),
        separate_proxy=False,
        ldap=settings.ldap,
        users=replace(settings.users, max_servers=max_servers),
        logs=settings.logs,
        retain=False,
    )


def alone(max_servers: int = 500) -> Recording:
    def program() -> None:
        before = docker.Network("before", name="before")
        guard = Guard(
            "guard",
            arguments(max_servers),
            pulumi.ResourceOptions(depends_on=[before]),
        )
        pulumi.export("volume", guard.volume)

    return run_alone(program)


@pytest.mark.parametrize("retain", [False, True])
def test_only_the_guard_has_the_audit_log_which_a_destroy_leaves_with_the_database(
    retain: bool,  # noqa: FBT001
) -> None:
    found = run(SITE | {"zhub:retain": str(retain).lower(), "zhub:separateProxy": "true"})
    volume = found.one("Volume", "guardaudit")
    having = [
        one.name
        for one in found.all("Container")
        for mount in one.inputs.get("volumes", ())
        if mount.get("volumeName") == volume.inputs["name"]
    ]
    assert having == ["guard"]
    assert volume.request.retainOnDelete is retain


def test_alone_it_takes_plain_values_and_names_the_volume_of_its_socket() -> None:
    recording = alone()
    container = recording.one("Container", "guard")
    assert container.inputs["image"] == "sha256:1"
    assert container.inputs["volumes"] == [
        {"volumeName": "zhub-test-guardsocket", "containerPath": "/run/guard"},
        {"volumeName": "zhub-test-audit", "containerPath": "/var/log/zhub"},
        {"hostPath": "/run/user/1000/docker.sock", "containerPath": "/var/run/docker.sock"},
    ]
    variables = environment(container)
    assert variables["ZHUB_NOTEBOOK_IMAGE"] == "sha256:2"
    assert variables["ZHUB_FILTER_IMAGE"] == "sha256:3"
    assert variables["ZHUB_PORT"] == "8443"
    assert recording.outputs["volume"]["value"] == "zhub-test-guardsocket"


def test_alone_its_container_waits_for_what_the_component_depends_on() -> None:
    """Pulumi passes dependencies of a component on to none of its children."""
    recording = alone()
    before = recording.one("Network", "before").urn
    assert before in recording.one("Container", "guard").dependencies


@pytest.mark.parametrize(("servers", "memory"), [(1, 192), (500, 192), (508, 193), (4096, 641)])
def test_alone_it_has_memory_for_the_networks_of_all_servers(servers: int, memory: int) -> None:
    container = alone(servers).one("Container", "guard").inputs
    assert container["memory"] == memory


def test_the_guard_alone_learns_where_homes_are() -> None:
    from zhub import settings as hub_settings

    there = run(SITE | {"zhub:homesPath": "/srv/homes/zhub"})
    of_guard = environment(there.one("Container", "guard"))
    assert hub_settings.read_guard(of_guard).homes_paths == ("/srv/homes/zhub",)
    assert "ZHUB_HOMES_PATH" not in environment(there.one("Container", "hub"))
    assert "ZHUB_HOMES_PATH" not in environment(run(SITE).one("Container", "guard"))


def test_guard_and_hub_know_the_limit_of_homes_where_there_is_one() -> None:
    from zhub import settings as hub_settings

    there = run(SITE | {"zhub:homeLimit": "2G"})
    of_guard = environment(there.one("Container", "guard"))
    assert hub_settings.read_guard(of_guard).home_limit == 2 << 30
    of_hub = environment(there.one("Container", "hub"))
    assert of_hub["ZHUB_HOME_LIMIT"] == of_guard["ZHUB_HOME_LIMIT"] == "2048M"
    for name in ("guard", "hub"):
        assert "ZHUB_HOME_LIMIT" not in environment(run(SITE).one("Container", name))


def test_only_on_a_swarm_the_guard_learns_of_nodes() -> None:
    from zhub import settings as hub_settings

    args = arguments()

    def seen(swarm: Swarm | None) -> tuple[bool, str, bool]:
        environment = {name: str(v) for name, v in of_guard(replace(args, swarm=swarm)).items()}
        assert ("ZHUB_SWARM" in environment) is (swarm is not None)
        found = hub_settings.read_guard(environment)
        return found.swarm, found.swarm_nodes, found.swarm_encryption

    assert seen(None) == (False, "", False)
    assert seen(Swarm()) == (True, "", False)
    assert seen(Swarm(label="zhub=servers")) == (True, "zhub=servers", False)
    assert seen(Swarm(encrypted=True)) == (True, "", True)
