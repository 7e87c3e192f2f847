"""Attacks by an intruder in the hub's process: on the guard, from the container, on its files.

Each request to the guard differs in one thing from a request that the guard carries out.
"""

from __future__ import annotations

import copy
import json
import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from zhub.guard.policy import escaped

from tests.built import wait_until
from tests.engine.attacks.conftest import (
    METADATA,
    REFUSED,
    Machine,
    Tenant,
    emulated,
    outsiders,
    reached_by_shell,
)
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

#: Sends each request to the guard, exactly as written, and prints the statuses of the answers: 0
#: for none. "@" and a number in braces stands for that many times the letter A.
ASK = textwrap.dedent(
    """
    import json, re, socket, sys
    def ask(text):
        many = lambda match: "A" * int(match[1])
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect("/run/guard/engine.sock")
            try:
                connection.sendall(re.sub("@{([0-9]+)}", many, text).encode())
                answer = connection.recv(65536)
            except OSError:
                answer = b""
        found = re.match(rb"HTTP/1.1 ([0-9]+)", answer)
        return int(found[1]) if found else 0
    print(json.dumps([ask(text) for text in json.loads(sys.argv[1])]))
    """
)


def asked(hub: Container, *requests: str) -> list[int]:
    """Send requests from inside the hub's container, as its user; return the answers' statuses."""
    command = ["/opt/jupyter/bin/python3", "-I", "-c", ASK, json.dumps(requests)]
    status, output = hub.exec_run(command, user="1000:1000", stderr=False)
    assert isinstance(output, bytes)
    assert status == 0, output
    statuses: list[int] = json.loads(output)
    return statuses


def request(line: str, body: Any = None, *headers: str) -> str:
    """Return a request as sent over the wire; a body that is not a string becomes JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    if body is None:
        return f"{line} HTTP/1.1\r\nHost: guard\r\n" + "".join(f"{h}\r\n" for h in headers) + "\r\n"
    length = len(text)
    fields = [*headers, "Content-Type: application/json", f"Content-Length: {length}"]
    return (
        f"{line} HTTP/1.1\r\nHost: guard\r\n" + "".join(f"{h}\r\n" for h in fields) + f"\r\n{text}"
    )


class Calls:
    """Makes the calls that start a server for a user, who need not exist."""

    def __init__(
        self, stack: Stack, image: str, command: list[str], version: str, user: str
    ) -> None:
        self.as_user = partial(Calls, stack, image, command, version)
        self.prefix = stack.prefix
        self.v = f"/v{version}"
        self.variables = ["JUPYTERHUB_DISABLE_USER_CONFIG=1", f"JUPYTERHUB_USER={user}"]
        self.command = command
        self.name = f"{stack.prefix}-user-{escaped(user)}"
        self.home = f"{stack.prefix}-home-{escaped(user)}"
        self._labels = {"zhub.stack": stack.prefix, "zhub.user": user}
        self.server: dict[str, Any] = {
            "Image": image,
            "Env": self.variables,
            "Cmd": command,
            "Labels": self.labels("notebook"),
            "HostConfig": {
                "NetworkMode": "none",
                "Binds": [f"{self.home}:/home/jovyan:rw"],
                "Memory": 64 << 20,
                "MemorySwap": 64 << 20,
                "CpuPeriod": 100_000,
                "CpuQuota": 100_000,
                "PidsLimit": 64,
            },
        }
        self.volume = {"Name": self.home, "Driver": "local", "Labels": self.labels("home")}
        self.network = {
            "Name": self.name,
            "Driver": "bridge",
            "Labels": self.labels("user-network"),
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.213.255.240/28"}]},
        }

    def labels(self, role: str) -> dict[str, str]:
        return {**self._labels, "zhub.role": role}

    def post(self, path: str, body: Any = None) -> str:
        return request(f"POST {self.v}{path}", {} if body is None else body)

    def create(self, changes: dict[str, Any], name: str = "") -> str:
        """Return the request that creates a server, changed; a key with a dot is in HostConfig."""
        body = copy.deepcopy(self.server)
        for key, value in changes.items():
            place, _, inner = key.rpartition(".")
            (body[place] if place else body)[inner] = value
        return self.post(f"/containers/create?name={name or self.name}", body)


@pytest.fixture(scope="module")
def calls(stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> Calls:
    image = entrance.outputs["notebookDigest"]
    command = engine.images.get(image).attrs["Config"]["Cmd"]
    return Calls(stack, image, command, engine.version()["ApiVersion"], "ghost")


@pytest.fixture(scope="module")
def wrong_homes(stack: Stack, engine: docker.DockerClient) -> Iterator[list[str]]:
    """Users whose home volumes exist, but with labels other than a home's."""
    own = {"zhub.stack": stack.prefix, "zhub.role": "home"}
    labels: dict[str, dict[str, str]] = {
        "nobody": {},
        "robbed": own | {"zhub.user": "alice"},
        "abroad": own | {"zhub.user": "abroad", "zhub.stack": "other"},
        "state": own | {"zhub.user": "state", "zhub.role": "state"},
        "more": own | {"zhub.user": "more", "other": "label"},
    }
    made = [
        engine.volumes.create(f"{stack.prefix}-home-{user}", labels=each)
        for user, each in labels.items()
    ]
    yield list(labels)
    for volume in made:
        volume.remove()


def test_a_captured_hub_starts_servers_and_nothing_else(
    engine: docker.DockerClient,
    hub: Container,
    calls: Calls,
    wrong_homes: list[str],
    alice: Tenant,
) -> None:
    prefix = calls.prefix
    evil: dict[str, list[str]] = {
        "more rights for a server": [
            calls.create({"HostConfig.Privileged": True}),
            calls.create({"HostConfig.CapAdd": ["SYS_ADMIN"]}),
            calls.create({"HostConfig.CapDrop": ["NET_RAW"]}),
            calls.create({"HostConfig.SecurityOpt": ["seccomp=unconfined"]}),
            calls.create({"HostConfig.Devices": [{"PathOnHost": "/dev/sda"}]}),
            calls.create({"HostConfig.DeviceRequests": [{"Count": -1}]}),
            calls.create({"HostConfig.Sysctls": {"net.ipv4.ip_forward": "1"}}),
            calls.create({"HostConfig.Runtime": "other"}),
            calls.create({"HostConfig.CgroupParent": "/"}),
            calls.create({"HostConfig.UsernsMode": "host"}),
            calls.create({"HostConfig.OomKillDisable": True}),
            calls.create({"HostConfig.Init": True}),
            calls.create({"HostConfig.MaskedPaths": ["/nowhere"]}),
            calls.create({"User": "root"}),
            calls.create({"Entrypoint": ["sh"]}),
        ],
        "the machine's own things": [
            calls.create({"HostConfig.Binds": ["/:/home/jovyan:rw"]}),
            calls.create({"HostConfig.Binds": ["/var/run/docker.sock:/home/jovyan:rw"]}),
            calls.create({"HostConfig.Binds": [f"{calls.home}/../../..:/home/jovyan:rw"]}),
            calls.create({"HostConfig.Binds": [f"{calls.home}:/home/jovyan:rw", "/etc:/mnt:rw"]}),
            calls.create(
                {"HostConfig.Mounts": [{"Type": "bind", "Source": "/", "Target": "/mnt"}]}
            ),
            calls.create({"HostConfig.PidMode": "host"}),
            calls.create({"HostConfig.IpcMode": "host"}),
            calls.create({"HostConfig.NetworkMode": "host"}),
            calls.create({"HostConfig.NetworkMode": "bridge"}),
            calls.create({"HostConfig.NetworkMode": ""}),
            calls.create({"HostConfig.PortBindings": {"8888/tcp": [{"HostPort": "8888"}]}}),
            calls.post(
                "/volumes/create",
                calls.volume | {"DriverOpts": {"type": "none", "o": "bind", "device": "/"}},
            ),
        ],
        "other users' and other parts' things": [
            calls.create({"HostConfig.Binds": [f"{prefix}-home-alice:/home/jovyan:rw"]}),
            calls.create({"HostConfig.Binds": [f"{prefix}-state:/home/jovyan:rw"]}),
            calls.create({"HostConfig.VolumesFrom": [alice.name]}),
            calls.create({"HostConfig.NetworkMode": alice.name}),
            calls.create({"HostConfig.NetworkMode": calls.name}),
            calls.create({"HostConfig.NetworkMode": f"container:{alice.container_id}"}),
            calls.create({"HostConfig.PidMode": f"container:{alice.container_id}"}),
            calls.create({"HostConfig.Links": [alice.name]}),
            calls.create({}, name=f"{prefix}-guard"),
            calls.create({}, name="somebody-else"),
            calls.create({"Labels": calls.labels("notebook") | {"zhub.stack": "other"}}),
            calls.post("/volumes/create", calls.volume | {"Name": f"{prefix}-certs"}),
            calls.post("/networks/create", calls.network | {"Name": "somebody-else"}),
            calls.post(
                "/networks/create",
                calls.network | {"IPAM": {"Config": [{"Subnet": "172.17.0.0/28"}]}},
            ),
            calls.post(f"/containers/{prefix}-guard/stop"),
            calls.post(f"/containers/{prefix}-directory/stop"),
            request(f"DELETE {calls.v}/containers/{prefix}-guard?force=1"),
            request(f"GET {calls.v}/containers/{prefix}-guard/json"),
            calls.post("/networks/bridge/connect", {"Container": hub.id, "EndpointConfig": {}}),
            calls.post(f"/networks/{calls.name}/connect", {"Container": alice.container_id}),
            calls.post(f"/networks/{alice.name}/connect", {"Container": calls.name}),
            calls.post("/networks/none/disconnect", {"Container": hub.id}),
        ],
        "shared folders that are not the stack's, or elsewhere, or for more": [
            calls.create({"HostConfig.Binds": [f"{calls.home}:/home/jovyan:rw", bind]})
            for bind in (
                f"{prefix}-shared_other:/shared/other:rw",
                f"{prefix}-shared_team:/shared/team:ro",
                f"{prefix}-shared_team:/home/jovyan/team:rw",
                f"{prefix}-shared_team:/usr/local/bin:rw",
                f"{prefix}-shared_data:/shared/data:rw",
                f"{prefix}-state:/shared/team:rw",
                f"{prefix}-home-alice:/shared/team:rw",
                "zhub-other-shared_team:/shared/team:rw",
                "/etc:/shared/data:ro",
            )
        ],
        "a volume in the place of a shared folder": [
            calls.post("/volumes/create", calls.volume | {"Name": f"{prefix}-shared_{name}"})
            for name in ("team", "new")
        ],
        "other images": [
            calls.create({"Image": "zhub-base:trixie-build"}),
            calls.create({"Image": str(hub.attrs["Image"])}),
            calls.post("/images/create?fromImage=debian"),
            calls.post("/build"),
            calls.post(f"/commit?container={alice.container_id}"),
        ],
        "a command of the hub's choice": [
            calls.create({"Cmd": ["bash", "-c", "id >/home/jovyan/owned"]}),
            calls.create({"Cmd": [*calls.command, "--ServerApp.token="]}),
            calls.create({"Cmd": calls.command[:1]}),
            calls.create({"Cmd": " ".join(calls.command)}),
        ],
        "an environment that changes what runs": [
            *(
                calls.create({"Env": [*calls.variables, variable]})
                for variable in (
                    "LD_PRELOAD=/home/jovyan/x.so",
                    "LD_AUDIT=/home/jovyan/x.so",
                    "GLIBC_TUNABLES=x",
                    "PATH=/home/jovyan",
                    "PYTHONPATH=/home/jovyan",
                    "PYTHONSTARTUP=/home/jovyan/x.py",
                    "JUPYTER_PATH=/home/jovyan",
                    "JUPYTER_CONFIG_DIR=/home/jovyan",
                    "JUPYTERHUB_SINGLEUSER_APP=x",
                    "JUPYTERHUB_ADMIN_ACCESS=1",
                    "NODE_OPTIONS=--require=/home/jovyan/x.js",
                    "REQUESTS_CA_BUNDLE=/home/jovyan/x.pem",
                    "HTTP_PROXY=http://203.0.113.1",
                    "JUPYTERHUB_API_URL=http://203.0.113.1/hub/api",
                    "JUPYTERHUB_ROOT_DIR=/",
                    "MEM_LIMIT=1\nLD_PRELOAD=x",
                    "MEM_LIMIT=1\x00LD_PRELOAD=x",
                    "JUPYTERHUB_USER=alice",
                    "X",
                )
            ),
            calls.create({"Env": calls.variables[1:]}),
            calls.create({"Env": ["JUPYTERHUB_DISABLE_USER_CONFIG=", *calls.variables[1:]]}),
        ],
        "two names for one user, or a name that is another's": [
            calls.create({"Labels": calls.labels("notebook") | {"zhub.user": "alice"}}),
            calls.create({"Labels": calls.labels("notebook") | {"zhub.user": "Ghost"}}),
            calls.create({}, name=f"{calls.name}-2d"),
            calls.post(
                "/networks/create",
                calls.network | {"Labels": calls.labels("user-network") | {"zhub.user": "alice"}},
            ),
            calls.post(
                "/volumes/create",
                calls.volume | {"Labels": calls.labels("home") | {"zhub.user": "alice"}},
            ),
            calls.post("/volumes/create", calls.volume | {"Name": f"{calls.home}-x"}),
        ],
        "names that nobody has, for commands that read or print them": [
            call
            for user in (f"x\n{prefix}-state\tx", "a\tb", "\x1b[2J", "../../x", "a b")
            for call in (
                calls.as_user(user).create({}),
                calls.post("/volumes/create", calls.as_user(user).volume),
                calls.post("/networks/create", calls.as_user(user).network),
            )
        ],
        "a home that is nobody's, or somebody else's": [
            calls.as_user(user).create({}) for user in wrong_homes
        ],
        "more than the limits": [
            calls.create({"HostConfig.Memory": 1 << 40, "HostConfig.MemorySwap": 1 << 40}),
            calls.create({"HostConfig.MemorySwap": -1}),
            calls.create({"HostConfig.PidsLimit": 0}),
            calls.create({"HostConfig.CpuQuota": -1}),
        ],
        "the engine's other calls": [
            calls.post(f"/containers/{alice.container_id}/exec", {"Cmd": ["id"]}),
            calls.post(f"/containers/{alice.container_id}/attach?stream=1"),
            calls.post(f"/containers/{alice.container_id}/update", {"Memory": 0}),
            request(f"GET {calls.v}/containers/{alice.container_id}/logs?stdout=1"),
            request(f"GET {calls.v}/containers/{alice.container_id}/archive?path=/"),
            request(f"GET {calls.v}/containers/json"),
            request(f"GET {calls.v}/info"),
            request(f"GET {calls.v}/events"),
            request(f"GET {calls.v}/secrets"),
            calls.post("/swarm/init", {}),
            calls.post("/session"),
            request(f"POST {calls.v}/session", None, "Upgrade: h2c", "Connection: Upgrade"),
        ],
        "requests that two readers understand differently": [
            request(
                f"POST {calls.v}/containers/create?name={calls.name}",
                json.dumps(calls.server)[:-1] + ', "hostConfig": {"Privileged": true}}',
            ),
            request(
                f"POST {calls.v}/containers/create?name={calls.name}",
                json.dumps(calls.server)[:-1] + ', "Image": "debian"}',
            ),
            calls.create({"HostConfig.privileged": True}),
            calls.create({"HostConfig.Privileged": "true"}),
            calls.create({"HostConfig.\u017fecurityOpt": ["seccomp=unconfined"]}),
            calls.create({}, name=f"{calls.name}&name=somebody-else"),
            request(f"GET {calls.v}/containers/{prefix}-hub/../{prefix}-guard/json"),
            request(f"GET {calls.v}/containers/{prefix}-hub%2f..%2f{prefix}-guard/json"),
            request(f"GET {calls.v}/../v1.24/containers/json"),
            request("GET /containers/json"),
            request("GET /v1.24/containers/json"),
            request(f"GET http://engine{calls.v}/containers/json"),
            request(f"GET {calls.v}/containers/{prefix}-hub/json?all=1"),
            request(f"POST {calls.v}/volumes/create", None, "Transfer-Encoding: chunked")
            + "2\r\n{}\r\n0\r\n\r\n",
        ],
    }
    create = f"POST {calls.v}/volumes/create"
    unreadable = [
        request(create, '{"Name": "@{2000000}"}').replace(
            "Content-Length: 22", "Content-Length: 2000012"
        ),
        request(f"GET {calls.v}/networks", None, "X-Padding: @{200000}"),
        request(f"GET {calls.v}/networks/@{{100000}}"),
        request(create, "[" * 20000),
        request(create, "5\r\n{    \r\n1\r\n}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        request(create, "{}", "Content-Length: 0"),
    ]
    good = [
        request("GET /version"),
        request(f"GET {calls.v}/containers/{prefix}-hub/json"),
        request(f"GET {calls.v}/networks"),
        calls.post("/volumes/create", calls.volume),
        calls.post("/networks/create", calls.network),
    ]
    cleaning = [
        request(f"DELETE {calls.v}/containers/{calls.name}?force=1"),
        request(f"DELETE {calls.v}/networks/{calls.name}"),
    ]
    attacks = [text for group in evil.values() for text in group]
    guard = engine.containers.get(f"{prefix}-guard")
    refusals = guard.logs().decode().count("WARNING: refused ")
    try:
        answers = iter(asked(hub, *good, *attacks, *unreadable, calls.create({}), *cleaning))
    finally:
        engine.volumes.get(calls.home).remove()
    assert [next(answers) // 100 for _ in good] == [2] * len(good)
    for text in attacks:
        assert next(answers) == 403, text
    for text in unreadable:
        # 0: no answer, but a closed connection.
        assert next(answers) in {400, 403, 413, 0}, text[:500]
    assert next(answers) // 100 == 2, "what the attacks differ from in one thing is refused itself"
    logged = guard.logs().decode().count("WARNING: refused ") - refusals
    assert logged >= len(attacks)
    guard.reload()
    assert guard.attrs["State"]["Running"]


def test_the_hubs_container_has_no_way_to_more_rights(hub: Container, outsider: Container) -> None:
    script = textwrap.dedent(
        """
        grep -E '^(Uid|Cap|NoNewPrivs|Seccomp:)' /proc/1/status
        cat /proc/sys/net/ipv4/ip_forward
        for path in /var/run/docker.sock /run/docker.sock; do
            test -e $path && echo engine
        done
        for folder in /etc /usr /opt/jupyter/bin /certs /run/guard /proc/sys/kernel /tmp; do
            (: >$folder/x) 2>/dev/null && echo wrote $folder
        done
        """
    )

    def run(container: Container, user: str) -> list[list[str]]:
        output = container.exec_run(["bash", "-c", script], user=user).output
        assert isinstance(output, bytes)
        return [line.split() for line in output.decode().splitlines()]

    none = "0" * 16
    control = run(outsider, "root")
    assert ["wrote", "/etc"] in control
    assert ["NoNewPrivs:", "0"] in control
    assert ["CapBnd:", none] not in control
    lines = run(hub, "1000:1000")
    assert lines == [
        ["Uid:", *["1000"] * 4],
        *([f"Cap{kind}:", none] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")),
        ["NoNewPrivs:", "1"],
        ["Seccomp:", "2"],
        ["0"],
        ["wrote", "/tmp"],  # noqa: S108 - inside the container
    ]


def test_the_hub_connects_only_where_it_must(
    machine: Machine,
    hub: Container,
    directory: Container,
    outsider: Container,
    alice: Tenant,
) -> None:
    """The hub reaches the directory, users' servers and DNS, and nothing on the machine."""
    hub.reload()
    networks = hub.attrs["NetworkSettings"]["Networks"]
    [near] = [n["IPAddress"] for n in directory.attrs["NetworkSettings"]["Networks"].values()]
    inside = outsider.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    gateways = {n["Gateway"] for n in networks.values() if n["Gateway"]}
    targets = {
        *((host, machine.port) for host in {*machine.addresses[:2], machine.bridge, *gateways}),
        *((alice.gateway, port) for port in (8888, machine.port)),
        (alice.address, 22),
        (near, 22),
        (inside, 8000),
    }
    assert reached_by_shell(outsider, machine.bridge, machine.port), "no proof"
    wanted = [(near, 389), (alice.address, 8888), *sorted(targets)]
    call = f"[connections(host, port) for host, port in {wanted}]"
    to_directory, to_alice, *others = outsiders(hub, call)
    assert (to_directory["plain"], to_alice["plain"]) == ("reached", "reached")
    for target, found in zip(sorted(targets), others, strict=True):
        assert "reached" not in found.values(), (target, found)
        assert found["plain"] == REFUSED, (target, found)


def test_no_datagram_from_the_hub_reaches_the_engines_machine(
    machine: Machine, hub: Container, outsider: Container
) -> None:
    hub.reload()
    networks = hub.attrs["NetworkSettings"]["Networks"].values()
    hosts = sorted({machine.bridge, METADATA, *(n["Gateway"] for n in networks if n["Gateway"])})
    send = "{host: datagrams(host, %d, '%s') for host in %s}"
    outsiders(outsider, send % (machine.port, "before", [machine.bridge]))
    found = outsiders(hub, send % (machine.port, "hub", hosts))
    outsiders(outsider, send % (machine.port, "after", [machine.bridge]))
    # The machine receives those of others, before and after.
    wait_until(lambda: "after fragments" in machine.heard, seconds=10)
    known = ["plain", "device", "device, no route", "no route, once"]
    for way in [*known, *([] if emulated(outsider) else ["interface"])]:
        assert f"before {way}" in machine.heard, way
    assert not [text for text in machine.heard if text.startswith("hub ")]
    assert {found[host]["ping"] for host in hosts}.isdisjoint({"sent"})
    assert {found[host]["frame"] for host in hosts} == {"EPERM"}


#: Keeps a number of requests open for some seconds, and replaces those that end.
FLOOD = textwrap.dedent(
    """
    import socket, sys, time
    number, size, seconds, head = int(sys.argv[1]), int(sys.argv[2]), 12, sys.argv[3].encode()
    text = head.replace(b"@", b"%d" % (size + 1)) + b"a" * size
    end, held, opened = time.monotonic() + seconds, [], 0
    while time.monotonic() < end:
        while len(held) < number:
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            try:
                connection.connect("/run/guard/engine.sock")
            except BlockingIOError:
                break
            opened += 1
            held.append([connection, text])
        for each in list(held):
            try:
                each[1] = each[1][each[0].send(each[1]):] if each[1] else b""
                if not each[0].recv(4096):
                    held.remove(each)
            except BlockingIOError:
                pass
            except OSError:
                held.remove(each)
        time.sleep(0.05)
    print(opened)
    """
)


#: Number of requests, their bytes, and their start.
FLOODS = {
    "heads": (2000, 4000, "POST /v1.41/volumes/create HTTP/1.1\r\nHost: x\r\nX: "),
    "large bodies": (900, 250000, "POST /volumes/create HTTP/1.1\r\nContent-Length: @\r\n\r\n"),
    "bodies": (900, 30000, "POST /volumes/create HTTP/1.1\r\nContent-Length: @\r\n\r\n"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_requests_does_not_end_the_guard(
    engine: docker.DockerClient, hub: Container, calls: Calls, flood: str
) -> None:
    """Without limits, 900 bodies of 250 kB were more than the guard's memory."""
    guard = engine.containers.get(f"{calls.prefix}-guard")
    before = guard.attrs["State"]["StartedAt"], guard.attrs["RestartCount"]
    command = ["/opt/jupyter/bin/python3", "-I", "-c", FLOOD, *map(str, FLOODS[flood])]
    status, output = hub.exec_run(command, user="1000:1000")
    assert isinstance(output, bytes)
    assert status == 0, output
    assert int(output.splitlines()[-1]) >= FLOODS[flood][0] // 2
    high_water = guard.exec_run(["grep", "VmHWM", "/proc/1/status"]).output
    assert isinstance(high_water, bytes)
    guard.reload()
    assert (guard.attrs["State"]["StartedAt"], guard.attrs["RestartCount"]) == before
    most = int(high_water.split()[1]) << 10
    print(f"the guard had {most >> 20} MiB at most")
    assert most < guard.attrs["HostConfig"]["Memory"] * 3 // 4
    assert asked(hub, request("GET /version")) == [200]
