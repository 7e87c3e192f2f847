"""Which requests of the hub the guard allows, without an engine."""

from __future__ import annotations

import copy
import json
from ipaddress import IPv4Network
from typing import Any

import docker
import pytest
from docker.types import LogConfig
from dockerspawner import DockerSpawner
from hypothesis import given
from hypothesis import strategies as st
from zhub import settings
from zhub.contract import CPU_SHARES, OOM_SCORE
from zhub.guard.bodies import Refused
from zhub.guard.environment import Image
from zhub.guard.policy import Policy, escaped
from zhub.guard.seccomp import PROFILE
from zhub.login.directory.people import NAME as TYPED

from tests.images.hub.profiles import described

IMAGE = "sha256:" + "0123456789abcdef" * 4
MODELS = "sha256:" + "fedcba9876543210" * 4
NAME = "site-user-alice"
LABELS = {"zhub.stack": "site", "zhub.role": "notebook", "zhub.user": "alice"}
VARIABLES = {"JUPYTERHUB_API_TOKEN": "0" * 32, "JUPYTERHUB_DISABLE_USER_CONFIG": "1"}

POLICY = Policy(
    settings.read_guard(
        {
            "ZHUB_PREFIX": "site",
            "ZHUB_NOTEBOOK_IMAGE": IMAGE,
            "ZHUB_USER_MEMORY": "1G",
            "ZHUB_USER_CPUS": "1.5",
            "ZHUB_USER_PIDS": "100",
            "ZHUB_USER_NETWORK_POOL": "10.214.0.0/16",
        }
    ),
    {IMAGE: Image(("start", "--all"), frozenset({"PATH"}))},
)


def asked() -> dict[str, Any]:
    """Return a request for a server, as the spawner's library makes it."""
    client = docker.APIClient("tcp://127.0.0.1:9", version="1.41")
    config = client.create_container_config(
        IMAGE,
        ["start", "--all"],
        environment=VARIABLES,
        volumes=["/home/jovyan"],
        ports={"8888/tcp": None},  # type: ignore[dict-item] # as the spawner
        labels=LABELS,
        host_config=client.create_host_config(
            auto_remove=False,
            binds={"site-home-alice": {"bind": "/home/jovyan", "mode": "rw"}},
            links={},
            mounts=[],
            mem_limit="1G",
            memswap_limit="1G",
            cpu_period=100_000,
            cpu_quota=150_000,
            pids_limit=100,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
            network_mode="none",
            oom_score_adj=OOM_SCORE,
            cpu_shares=CPU_SHARES,
        ),
    )
    body: dict[str, Any] = json.loads(json.dumps(config))
    return body


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the request with one property added or changed."""
    body = asked()
    place = body
    *folders, last = path.split(".")
    for folder in folders:
        place = place[folder]
    place[last] = value
    return body


def test_the_spawners_request_gets_all_limits() -> None:
    made = POLICY.container(NAME, asked())
    assert made == {
        "Image": IMAGE,
        "Cmd": ["start", "--all"],
        "Env": [f"{name}={value}" for name, value in VARIABLES.items()],
        "ExposedPorts": {"8888/tcp": {}},
        "Volumes": {"/home/jovyan": {}},
        "Labels": LABELS,
        "HostConfig": {
            "AutoRemove": False,
            "Binds": ["site-home-alice:/home/jovyan:rw"],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={PROFILE}"],
            "NetworkMode": "none",
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            "Init": False,
            "Memory": 1 << 30,
            "MemorySwap": 1 << 30,
            "CpuPeriod": 100_000,
            "CpuQuota": 150_000,
            "PidsLimit": 100,
            "ShmSize": 512 << 20,
            "OomScoreAdj": 500,
            "CpuShares": 64,
        },
    }


def test_less_than_the_limits_is_allowed() -> None:
    body = changed("HostConfig.Memory", 1 << 29)
    body["HostConfig"] |= {"MemorySwap": 1 << 29, "CpuQuota": 50_000, "PidsLimit": 64}
    host = POLICY.container(NAME, body)["HostConfig"]
    assert (host["Memory"], host["CpuQuota"], host["PidsLimit"]) == (1 << 29, 50_000, 64)


def test_protections_cannot_be_left_out() -> None:
    body = asked()
    for key in ("CapDrop", "SecurityOpt", "LogConfig", "Binds", "OomScoreAdj", "CpuShares"):
        del body["HostConfig"][key]
    assert POLICY.container(NAME, body) == POLICY.container(NAME, asked())


#: Ways to get more than a user's server, most of them root on the engine's machine.
ATTACKS: dict[str, Any] = {
    "HostConfig.Privileged": True,
    "HostConfig.privileged": True,
    "HostConfig.Binds": ["/:/host"],
    "HostConfig.Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}],
    "HostConfig.VolumesFrom": ["site-hub"],
    "HostConfig.CapAdd": ["SYS_ADMIN"],
    "HostConfig.CapDrop": ["NET_RAW"],
    "HostConfig.SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
    "HostConfig.NetworkMode": "host",
    "HostConfig.PidMode": "host",
    "HostConfig.IpcMode": "host",
    "HostConfig.UTSMode": "host",
    "HostConfig.UsernsMode": "host",
    "HostConfig.CgroupnsMode": "host",
    "HostConfig.CgroupParent": "/",
    "HostConfig.Cgroup": "container:site-hub",
    "HostConfig.Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}],
    "HostConfig.DeviceCgroupRules": ["b *:* rwm"],
    "HostConfig.DeviceRequests": [{"Count": -1}],
    "HostConfig.Runtime": "other",
    "HostConfig.Init": True,
    "HostConfig.Sysctls": {"net.ipv4.ip_forward": "1"},
    "HostConfig.Ulimits": [{"Name": "nofile", "Soft": 1 << 30, "Hard": 1 << 30}],
    "HostConfig.RestartPolicy": {"Name": "always"},
    "HostConfig.PortBindings": {"8888/tcp": [{"HostPort": "22"}]},
    "HostConfig.PublishAllPorts": True,
    "HostConfig.ExtraHosts": ["hub:203.0.113.1"],
    "HostConfig.Dns": ["203.0.113.1"],
    "HostConfig.GroupAdd": ["0"],
    "HostConfig.OomKillDisable": True,
    "HostConfig.OomScoreAdj": -1000,
    "HostConfig.CpuShares": 1024,
    "HostConfig.ShmSize": 1 << 40,
    "HostConfig.StorageOpt": {"size": "1T"},
    "HostConfig.Tmpfs": {"/dev/shm": "size=1T"},  # noqa: S108
    "HostConfig.VolumeDriver": "other",
    "HostConfig.ReadonlyPaths": ["/nowhere"],
    "HostConfig.LogConfig": {"Type": "syslog", "Config": {"syslog-address": "tcp://203.0.113.1"}},
    "HostConfig.ContainerIDFile": "/etc/passwd",
    "HostConfig.Memory": 2 << 30,
    "HostConfig.MemorySwap": -1,
    "HostConfig.CpuQuota": 150_001,
    "HostConfig.CpuPeriod": 1000,
    "HostConfig.CpuRealtimeRuntime": 1,
    "HostConfig.NanoCpus": 10**12,
    "HostConfig.PidsLimit": 0,
    "HostConfig": None,
    "Image": "debian",
    "User": "root",
    "Entrypoint": ["/bin/sh"],
    "Volumes": {"/home/jovyan": {}, "/etc": {}},
    "ExposedPorts": {"22/tcp": {}},
    "Labels": {"zhub.stack": "site", "zhub.role": "hub", "zhub.user": "alice"},
    "NetworkingConfig": {"EndpointsConfig": {"bridge": {}}},
    "NetworkDisabled": "no",
    "MacAddress": "02:42:0a:d5:00:02",
    "Hostname": "hub",
    "Domainname": "example.com",
    "Healthcheck": {"Test": ["CMD", "x"]},
    "OnBuild": ["RUN x"],
    "Env": "LD_PRELOAD=x",
    "Cmd": "sh",
    "ArgsEscaped": "yes",
    "StopSignal": "SIGKILL",
    "WorkingDir": "/tmp",  # noqa: S108 - of a container
    "image": "debian",
}


@pytest.mark.parametrize("given", [None, False])
def test_the_engine_gives_a_server_no_init_of_its_own(*, given: bool | None) -> None:
    """With `"init": true` in the engine's configuration, only an explicit false prevents it."""
    assert POLICY.container(NAME, changed("HostConfig.Init", given))["HostConfig"]["Init"] is False


@pytest.mark.parametrize("path", sorted(ATTACKS))
def test_more_than_a_users_server_is_refused(path: str) -> None:
    with pytest.raises(Refused, match=path.rpartition(".")[2]):
        POLICY.container(NAME, changed(path, ATTACKS[path]))


def test_paths_that_the_engine_hides_stay_hidden() -> None:
    made = POLICY.container(NAME, changed("HostConfig.MaskedPaths", []))
    assert "MaskedPaths" not in made["HostConfig"]


@pytest.mark.parametrize(
    "command",
    [
        ["start"],
        ["start", "--all", "--more"],
        ["start", "--ALL"],
        ["start --all"],
        ["sh", "-c", "id"],
        "start --all",
        {"0": "start", "1": "--all"},
    ],
)
def test_a_server_runs_the_images_own_command(command: Any) -> None:
    with pytest.raises(Refused, match="Cmd"):
        POLICY.container(NAME, changed("Cmd", command))


@pytest.mark.parametrize("command", [None, []])
def test_the_hub_may_leave_the_command_out(command: Any) -> None:
    assert POLICY.container(NAME, changed("Cmd", command))["Cmd"] == ["start", "--all"]


def test_a_server_gets_no_unknown_variable() -> None:
    with pytest.raises(Refused, match="LD_PRELOAD"):
        POLICY.container(NAME, changed("Env", [*asked()["Env"], "LD_PRELOAD=/home/jovyan/x.so"]))


@pytest.mark.parametrize("user", ["", None, 1, "Alice", "alice ", "bob", "\ud800", "x" * 256])
def test_labels_are_those_of_the_user_in_the_name(user: Any) -> None:
    """The limit of names also bounds the length of labels."""
    labels = LABELS | {"zhub.user": user}
    with pytest.raises(Refused):
        POLICY.container(NAME, changed("Labels", labels))
    with pytest.raises(Refused):
        POLICY.volume(VOLUME | {"Labels": labels | {"zhub.role": "home"}})
    with pytest.raises(Refused):
        POLICY.network(network(Labels=labels | {"zhub.role": "user-network"}))
    with pytest.raises(Refused):
        POLICY.container(NAME, changed("Labels", LABELS | {"zhub.stack": "other"}))


def test_too_long_a_name_is_refused() -> None:
    def volume(user: str) -> dict[str, Any]:
        labels = LABELS | {"zhub.role": "home", "zhub.user": user}
        return VOLUME | {"Name": f"site-home-{escaped(user)}", "Labels": labels}

    # Of characters that are three each in names of volumes.
    POLICY.volume(volume("@" * 64))
    with pytest.raises(Refused, match="which is no name of a user"):
        POLICY.volume(volume("x" * 65))
    with pytest.raises(Refused, match="does not end in an escaped user name"):
        POLICY.volume(volume("x" * 201))


@pytest.mark.parametrize(
    "user", ["x\nstate\tstate", "a\tb", "a\x1b[2J", "../../etc", ".", "-a", "a b", "müller", "a\n"]
)
def test_only_what_the_hub_calls_people_is_a_users_name(user: str) -> None:
    """Operators' commands read such labels line by line, print them, and make files for them."""
    suffix = escaped(user)

    def labels(role: str) -> dict[str, str]:
        return LABELS | {"zhub.role": role, "zhub.user": user}

    with pytest.raises(Refused, match=r"label zhub.user is .*, which is no name of a user"):
        POLICY.container(f"site-user-{suffix}", changed("Labels", labels("notebook")))
    with pytest.raises(Refused, match="which is no name of a user"):
        POLICY.volume(VOLUME | {"Name": f"site-home-{suffix}", "Labels": labels("home")})
    with pytest.raises(Refused, match="which is no name of a user"):
        POLICY.network(network(Name=f"site-user-{suffix}", Labels=labels("user-network")))


@given(st.from_regex(TYPED, fullmatch=True))
def test_whoever_can_log_in_gets_a_home(name: str) -> None:
    user = name.lower()
    labels = LABELS | {"zhub.role": "home", "zhub.user": user}
    POLICY.volume(VOLUME | {"Name": f"site-home-{escaped(user)}", "Labels": labels})


@given(st.text(max_size=60), st.text(max_size=60))
def test_names_are_escaped_as_by_the_spawner_and_stay_distinct(one: str, other: str) -> None:
    assert escaped(one) == DockerSpawner._escape(one)
    assert (escaped(one) == escaped(other)) == (one == other)


FOLDER = "/var/lib/docker/volumes/site-home-alice/_data"
HOME = {"Name": "site-home-alice", "Driver": "local", "Options": None, "Mountpoint": FOLDER}
HOME_LABELS = LABELS | {"zhub.role": "home"}


def test_a_home_is_a_plain_volume_of_this_stack_and_user() -> None:
    POLICY.home(HOME | {"Labels": HOME_LABELS}, "alice")
    POLICY.home(HOME | {"Labels": HOME_LABELS, "Options": {}}, "alice")
    # Mounted on itself, so that pruning leaves it.
    own = {"type": "none", "o": "bind", "device": FOLDER}
    POLICY.home(HOME | {"Labels": HOME_LABELS, "Options": own}, "alice")
    # With the kernel's limit.
    POLICY.home(HOME | {"Labels": HOME_LABELS, "Options": own | {"size": "1048576"}}, "alice")


@pytest.mark.parametrize(
    "more",
    [
        {"Labels": HOME_LABELS | {"zhub.user": "bob"}},
        {"Labels": HOME_LABELS | {"zhub.stack": "other"}},
        {"Labels": HOME_LABELS | {"zhub.role": "state"}},
        {"Labels": HOME_LABELS | {"other": "x"}},
        {"Driver": "nfs"},
        *(
            {"Options": {"type": "none", "o": "bind", "device": device}}
            for device in ("/", f"{FOLDER}/..", FOLDER.replace("alice", "bob"))
        ),
        {"Options": {"type": "none", "o": "bind,x", "device": FOLDER}},
        {"Options": {"type": "none", "o": "bind", "device": FOLDER, "other": "1"}},
    ],
)
def test_no_other_volume_becomes_a_home(more: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="site-home-alice is not"):
        POLICY.home(HOME | {"Labels": HOME_LABELS} | more, "alice")


SITES = Policy(
    settings.read_guard(
        {
            "ZHUB_PREFIX": "site",
            "ZHUB_HOMES_PATH": "/srv/homes",
            "ZHUB_FORMER_HOMES_PATHS": '["/srv/old"]',
        }
    ),
    {},
)


def in_folder(device: str) -> dict[str, Any]:
    options = {"type": "none", "o": "bind", "device": device}
    return HOME | {"Labels": HOME_LABELS, "Options": options}


def test_a_home_may_be_in_the_sites_folders_for_homes() -> None:
    for path in ("/srv/homes", "/srv/old"):
        SITES.home(in_folder(f"{path}/site-home-alice"), "alice")
        with pytest.raises(Refused, match="not in homesPath"):
            POLICY.home(in_folder(f"{path}/site-home-alice"), "alice")
    # Those from before are accepted as well.
    SITES.home(in_folder(FOLDER), "alice")


@pytest.mark.parametrize(
    "device",
    [
        "/srv/homes",
        "/srv/homes/site-home-bob",
        "/srv/homes/site-home-alice/..",
        "/srv/homes/site-home-alice/in",
        "/srv/homes/../site-home-alice",
        "/srv/other/site-home-alice",
        "srv/homes/site-home-alice",
    ],
)
def test_a_home_is_exactly_its_own_folder_there(device: str) -> None:
    with pytest.raises(Refused, match="site-home-alice is not"):
        SITES.home(in_folder(device), "alice")


@pytest.mark.parametrize("labels", [None, {}])
def test_a_volume_without_labels_is_refused_with_the_fix(labels: Any) -> None:
    fix = "zhub.stack=site, zhub.role=home and zhub.user=alice"
    with pytest.raises(Refused, match=f"no labels.*{fix}.*docs/operations.md"):
        POLICY.home(HOME | {"Labels": labels}, "alice")


@pytest.mark.parametrize(
    "name",
    [
        "site-hub",
        "site-guard",
        "site-user-",
        "other-user-alice",
        "site-user-a/../../x",
        "alice",
        "",
    ],
)
def test_only_names_of_users_objects_are_accepted(name: str) -> None:
    with pytest.raises(Refused):
        POLICY.container(name, asked())


def test_a_server_has_its_own_users_volume() -> None:
    body = changed("Labels", LABELS | {"zhub.user": "bob"})
    with pytest.raises(Refused, match="site-home-alice"):
        POLICY.container("site-user-bob", body)


@pytest.mark.parametrize("network", [None, "", "default", "bridge", NAME, "container:site-hub"])
def test_a_server_is_made_without_a_network(network: str | None) -> None:
    with pytest.raises(Refused, match="NetworkMode"):
        POLICY.container(NAME, changed("HostConfig.NetworkMode", network))


ASKED = asked()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(path.rpartition(".")[2] for path in ATTACKS)) | st.text()


@given(st.dictionaries(KEYS, JSON, max_size=4), st.dictionaries(KEYS, JSON, max_size=4))
def test_whatever_is_asked_the_result_is_a_confined_server(
    top: dict[str, Any], host: dict[str, Any]
) -> None:
    body = copy.deepcopy(ASKED) | top
    if isinstance(body["HostConfig"], dict):
        body["HostConfig"] |= host
    try:
        made = POLICY.container(NAME, body)
    except Refused:
        return
    confined = POLICY.container(NAME, ASKED)
    free = {"Env", "Labels"}
    assert {k: v for k, v in made.items() if k not in free | {"HostConfig"}} == {
        k: v for k, v in confined.items() if k not in free | {"HostConfig"}
    }
    limits = {"Memory", "MemorySwap", "CpuQuota", "PidsLimit"}
    assert made["HostConfig"].keys() == confined["HostConfig"].keys()
    for key, value in confined["HostConfig"].items():
        assert made["HostConfig"][key] == value or (
            key in limits and 0 < made["HostConfig"][key] < value
        )


VOLUME = {
    "Name": "site-home-alice",
    "Driver": None,
    "DriverOpts": None,
    "Labels": LABELS | {"zhub.role": "home"},
}


def test_a_volume_is_a_plain_one() -> None:
    assert POLICY.volume(VOLUME) == ("site-home-alice", LABELS | {"zhub.role": "home"})
    for more in (
        {"DriverOpts": {"type": "none", "o": "bind", "device": "/"}},
        {"driveropts": {"device": "/"}},
        {"Driver": "other"},
        {"Name": "site-state"},
        {"Name": None},
        {"ClusterVolumeSpec": {"Group": "x"}},
        {"Labels": LABELS},
    ):
        with pytest.raises(Refused):
            POLICY.volume(VOLUME | more)


def network(subnet: Any = "10.214.3.16/28", **more: Any) -> dict[str, Any]:
    pool = {"Subnet": subnet, "IPRange": None, "Gateway": None, "AuxiliaryAddresses": None}
    return {
        "Name": NAME,
        "Driver": "bridge",
        "Options": None,
        "IPAM": {"Driver": "default", "Config": [pool | more.pop("pool", {})]},
        "CheckDuplicate": None,
        "Labels": LABELS | {"zhub.role": "user-network"},
        **more,
    }


def test_a_network_is_a_small_bridge_of_the_pool() -> None:
    name, subnet, labels = POLICY.network(network())
    assert (name, subnet) == (NAME, IPv4Network("10.214.3.16/28"))
    assert (
        POLICY.network(network(pool={"Gateway": "10.214.3.17", "IPRange": "10.214.3.24/29"}))[0]
        == NAME
    )
    assert labels["zhub.role"] == "user-network"


@pytest.mark.parametrize(
    "body",
    [
        network("10.213.0.0/28"),
        network("10.214.0.0/16"),
        network("10.214.3.17/28"),
        network(None),
        network(7),
        network(pool={"Gateway": "10.214.3.30"}),
        network(pool={"IPRange": "10.214.3.16/29"}),
        network(Driver="macvlan"),
        network(Driver="host"),
        network(Internal=True),
        network(EnableIPv6=True),
        network(Attachable=True),
        network(Ingress=True),
        network(Options={"com.docker.network.bridge.name": "docker0"}),
        network(ConfigFrom={"Network": "x"}),
        network(Name="site-hub"),
        network(Labels=LABELS),
        network(IPAM={"Driver": "other", "Config": [{"Subnet": "10.214.3.16/28"}]}),
        network(IPAM={"Config": []}),
    ],
)
def test_any_other_network_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        POLICY.network(body)


OF_PROFILES = Policy(
    settings.read_guard(
        {
            "ZHUB_PREFIX": "site",
            "ZHUB_NOTEBOOK_IMAGE": IMAGE,
            "ZHUB_PROFILES": json.dumps(
                [
                    described("small", memory="256M", cpus="0.5", pids=64, sharedMemory="64M"),
                    described("large", environment={"SIZE": "large"}, devices=["z90crypt"]),
                    described("models"),
                ]
            ),
            "ZHUB_PROFILE_IMAGES": json.dumps({"models": MODELS}),
        }
    ),
    {**POLICY.images, MODELS: Image(("start", "--all"), frozenset({"PATH", "MODELS"}))},
)


def of_profile(name: str, **host: object) -> dict[str, Any]:
    body = asked()
    body["Env"] += [f"ZHUB_PROFILE={name}"]
    body["HostConfig"] |= host
    return body


CRYPTO = {"PathOnHost": "/dev/z90crypt", "PathInContainer": "/dev/z90crypt"}


@pytest.mark.parametrize("container", ["0" * 64, NAME, POLICY.hub])
def test_what_is_left_of_a_container_that_is_gone_is_detached_by_name(container: str) -> None:
    body = {"Container": container, "Force": True}
    assert POLICY.disconnection(NAME, body) == container


@pytest.mark.parametrize("container", ["site-user-bob", "site-guard", "ep-" + "0" * 64, [], None])
def test_no_other_name_is_detached(container: object) -> None:
    with pytest.raises(Refused, match="not the ID of a container"):
        POLICY.disconnection(NAME, {"Container": container, "Force": True})


def test_a_server_gets_no_more_than_the_profile_that_it_names() -> None:
    made = OF_PROFILES.container(NAME, of_profile("large"))
    assert made["HostConfig"]["Memory"] == 1 << 30
    assert made["HostConfig"]["Devices"] == [CRYPTO | {"CgroupPermissions": "rw"}]
    small = {"Memory": 256 << 20, "MemorySwap": 256 << 20, "CpuQuota": 50_000, "PidsLimit": 64}
    made = OF_PROFILES.container(NAME, of_profile("small", **small))
    assert made["HostConfig"]["ShmSize"] == 64 << 20
    assert "Devices" not in made["HostConfig"]
    for limit, more in (("Memory", 257 << 20), ("CpuQuota", 50_001), ("PidsLimit", 65)):
        with pytest.raises(Refused, match=limit):
            OF_PROFILES.container(NAME, of_profile("small", **small | {limit: more}))


@pytest.mark.parametrize(
    "devices",
    [
        [CRYPTO | {"CgroupPermissions": "rwm"}],
        [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rw"}],
        [CRYPTO | {"PathOnHost": "/dev/mem", "CgroupPermissions": "rw"}],
        [CRYPTO | {"CgroupPermissions": "rw"}] * 2,
    ],
)
def test_no_server_gets_a_device_that_its_profile_has_not(devices: list[dict[str, str]]) -> None:
    with pytest.raises(Refused, match="Devices"):
        OF_PROFILES.container(NAME, of_profile("large", Devices=devices))
    with pytest.raises(Refused, match="Devices"):
        POLICY.container(NAME, changed("HostConfig.Devices", devices))


@pytest.mark.parametrize("name", ["", "other", "large x", "small\nX=1", "Large"])
def test_what_no_profile_allows_is_refused_whoever_asks(name: str) -> None:
    with pytest.raises(Refused, match="no ZHUB_PROFILE that is one of the stack's profiles"):
        OF_PROFILES.container(NAME, of_profile(name))
    with pytest.raises(Refused, match="no ZHUB_PROFILE"):
        OF_PROFILES.container(NAME, asked())
    twice = of_profile("large")
    twice["Env"] += ["ZHUB_PROFILE=small"]
    with pytest.raises(Refused, match="no ZHUB_PROFILE"):
        OF_PROFILES.container(NAME, twice)
    # A stack without profiles has no server with one.
    with pytest.raises(Refused, match="ZHUB_PROFILE, which no server gets"):
        POLICY.container(NAME, of_profile(name.replace("\n", "")))


@pytest.mark.parametrize(
    ("name", "image"),
    [("models", IMAGE), ("large", MODELS), ("small", "debian"), ("models", None)],
)
def test_a_server_runs_the_image_of_its_profile_and_no_other(name: str, image: str | None) -> None:
    models = of_profile("models") | {"Image": MODELS}
    assert OF_PROFILES.container(NAME, models)["Image"] == MODELS
    with pytest.raises(Refused, match="Image is"):
        OF_PROFILES.container(NAME, of_profile(name) | {"Image": image})
    with pytest.raises(Refused, match="Image is"):
        POLICY.container(NAME, asked() | {"Image": MODELS})


def test_what_the_image_of_a_profile_sets_its_servers_are_not_given() -> None:
    models = of_profile("models") | {"Image": MODELS}
    models["Env"] += ["MODELS=/x"]
    with pytest.raises(Refused, match="MODELS, which only the image may set"):
        OF_PROFILES.container(NAME, models)


def test_variables_of_another_profile_are_refused() -> None:
    body = of_profile("small", Memory=256 << 20, MemorySwap=256 << 20, CpuQuota=1000, PidsLimit=64)
    body["Env"] += ["SIZE=large"]
    with pytest.raises(Refused, match="SIZE, which no server gets"):
        OF_PROFILES.container(NAME, body)
    body = of_profile("large")
    body["Env"] += ["SIZE=large"]
    OF_PROFILES.container(NAME, body)
