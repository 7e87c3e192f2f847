"""Containers, created, changed, read and removed as by the official plugin, on a real engine."""

from __future__ import annotations

import base64
import io
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from plugins.values import UNKNOWN, Secret
from tests.plugins.docker_tools import CONTAINER
from tests.plugins.plugin_driver import (
    CheckError,
    Plugin,
    PluginError,
    Resource,
    changed,
    plain,
    running,
    wait_until,
)
from tests.ports import free_port

pytestmark = pytest.mark.engine

Declare = Callable[..., dict[str, Any]]

ENDS = {"command": ["sh", "-c", "exit 3"], "mustRun": False}
HEALTHY = {"tests": ["CMD", "true"], "interval": "1s"}
NEVER_HEALTHY = {"tests": ["CMD-SHELL", "echo no disk >&2; exit 1"], "interval": "1s", "retries": 9}


@pytest.fixture
def declared(name: str, tiny: str) -> Declare:
    """A function that returns a container's inputs: the tiny image and the test's own."""
    return lambda **inputs: {"name": name, "image": tiny, **inputs}


def execute(engine: Any, name: str, command: str) -> str:
    """Return the output of a command in a running container."""
    made = engine.exec_create(name, ["sh", "-c", command])
    return str(engine.exec_start(made).decode())


class TestLife:
    def test_made_and_removed(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        made = docker.create(CONTAINER, declared())
        found = engine.inspect_container(name)
        assert made.id == found["Id"]
        assert found["State"]["Running"]
        assert changed(docker.diff(made, declared())) == {}
        assert docker.read(made) == made
        docker.delete(made)
        with pytest.raises(NotFound):
            engine.inspect_container(name)
        docker.delete(made)

    def test_without_a_name_it_gets_one(self, docker: Plugin, engine: Any, tiny: str) -> None:
        made = docker.create(CONTAINER, {"image": tiny}, name="pdk-auto")
        try:
            assert made.inputs["name"].startswith("pdk-auto-")
            assert "name" in made.inputs["__defaults"]
            assert (
                docker.check(CONTAINER, {"image": tiny}, made.inputs)["name"] == made.inputs["name"]
            )
        finally:
            docker.delete(made)

    def test_what_a_refresh_sees(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        made = docker.create(CONTAINER, declared())
        engine.stop(name, timeout=0)
        stopped = docker.read(made)
        assert stopped is not None
        assert stopped.outputs["mustRun"] is False
        assert stopped.outputs["exitCode"] == 137
        assert changed(docker.diff(stopped, declared())) == {"mustRun": "UPDATE"}
        started = docker.update(stopped, declared())
        assert engine.inspect_container(name)["State"]["Running"]
        engine.update_container(name, restart_policy={"Name": "always"})
        other = docker.read(started)
        assert other is not None
        assert changed(docker.diff(other, declared())) == {"restart": "UPDATE"}
        engine.remove_container(name, force=True)
        assert docker.read(made) is None

    def test_a_stopped_container_with_ports_is_replaced(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        inputs = declared(ports=[{"internal": 80, "external": free_port(), "ip": "127.0.0.1"}])
        made = docker.create(CONTAINER, inputs)
        engine.stop(name, timeout=0)
        stopped = docker.read(made)
        assert stopped is not None
        assert "ports" in docker.diff(stopped, inputs).replaces

    def test_an_import(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(
            restart="always",
            memory=64,
            memorySwap=64,
            hosts=[{"host": "there", "ip": "10.1.2.3"}],
            mounts=[{"type": "tmpfs", "target": "/scratch"}],
        )
        made = docker.create(CONTAINER, inputs)
        imported = docker.read(Resource(CONTAINER, "it", made.id, {}, {}))
        assert imported is not None
        expected = {k: v for k, v in inputs.items() if k != "mounts"}
        assert {k: imported.inputs[k] for k in expected} == expected
        assert imported.inputs["mounts"] == inputs["mounts"]
        assert changed(docker.diff(imported, inputs)) == {}

    def test_an_import_of_nothing(self, docker: Plugin) -> None:
        assert docker.read(Resource(CONTAINER, "it", "0" * 64, {}, {})) is None

    def test_not_started(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(start=False, mustRun=False)
        made = docker.create(CONTAINER, inputs)
        assert engine.inspect_container(name)["State"]["Status"] == "created"
        assert changed(docker.diff(made, inputs)) == {}
        # As in the official plugin: without mustRun there is one update that does nothing.
        assert changed(docker.diff(made, declared(start=False))) == {"mustRun": "UPDATE"}
        docker.update(made, declared(start=False))
        assert engine.inspect_container(name)["State"]["Status"] == "created"

    def test_one_that_ends(self, docker: Plugin, name: str, declared: Declare) -> None:
        made = docker.create(CONTAINER, declared(**ENDS))

        def ended() -> bool:
            found = docker.read(made)
            assert found is not None
            return (found.outputs["mustRun"], found.outputs.get("exitCode")) == (False, 3)

        wait_until(ended)

    def test_attached_its_end_is_awaited_and_its_logs_are_kept(
        self, docker: Plugin, declared: Declare
    ) -> None:
        inputs = declared(
            command=["sh", "-c", "sleep 1; echo out; exit 3"], attach=True, logs=True, mustRun=False
        )
        made = docker.create(CONTAINER, inputs)
        assert (made.outputs["exitCode"], made.outputs["containerLogs"]) == (3, "out\n")

    def test_it_is_killed_unless_given_grace(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        patient = ["sh", "-c", "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"]

        def ending(**inputs: Any) -> tuple[int, float]:
            made = docker.create(CONTAINER, declared(command=patient, **inputs))
            codes = []
            waiter = threading.Thread(target=lambda: codes.append(engine.wait(name)["StatusCode"]))
            waiter.start()
            time.sleep(0.5)
            before = time.monotonic()
            docker.delete(made)
            waiter.join(30)
            return codes[0], time.monotonic() - before

        assert ending(stopTimeout=30)[0] == 137
        code, seconds = ending(destroyGraceSeconds=10)
        assert code == 0
        assert 1 <= seconds < 9

    def test_its_anonymous_volumes_are_removed_with_it(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        for keep in (False, True):
            inputs = declared(volumes=[{"containerPath": "/data"}], removeVolumes=not keep)
            made = docker.create(CONTAINER, inputs)
            volume = engine.inspect_container(name)["Mounts"][0]["Name"]
            docker.delete(made)
            there = engine.volumes({"name": volume})["Volumes"]
            assert bool(there) is keep
            if keep:
                engine.remove_volume(volume)


class TestWhatItRuns:
    def test_the_process(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(
            entrypoints=["sh", "-c"],
            command=["id -u; id -g; pwd; hostname; echo $WORD; sleep 99"],
            user="1000:2000",
            workingDir="/data",
            hostname="somewhere",
            envs=["WORD=hello world", "OTHER=x"],
            groupAdds=["3000"],
            stopSignal="SIGINT",
            init=True,
            shmSize=8,
            sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
        )
        made = docker.create(CONTAINER, inputs)
        wait_until(lambda: engine.logs(name).count(b"\n") == 5)
        assert engine.logs(name).decode().split("\n")[:5] == [
            "1000",
            "2000",
            "/data",
            "somewhere",
            "hello world",
        ]
        host = engine.inspect_container(name)["HostConfig"]
        assert (host["Init"], host["ShmSize"], host["GroupAdd"]) == (True, 8 << 20, ["3000"])
        assert changed(docker.diff(made, inputs)) == {}

    def test_its_rights(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(
            readOnly=True,
            tmpfs={"/scratch": "size=1m,mode=1777"},
            capabilities={"drops": ["ALL"], "adds": ["CHOWN", "CAP_SETUID"]},
            securityOpts=["no-new-privileges"],
        )
        made = docker.create(CONTAINER, inputs)
        host = engine.inspect_container(name)["HostConfig"]
        assert host["CapAdd"] == ["CAP_CHOWN", "CAP_SETUID"]
        # Set explicitly: the engine may be configured to give all containers an init.
        assert host["Init"] is False
        assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
        assert "Read-only" in execute(engine, name, "touch /x 2>&1")
        assert execute(engine, name, "touch /scratch/x && echo fine") == "fine\n"
        assert changed(docker.diff(made, inputs)) == {}

    def test_short_names_of_capabilities_differ_after_a_refresh(
        self, docker: Plugin, declared: Declare
    ) -> None:
        short = declared(capabilities={"adds": ["CHOWN"]})
        refreshed = docker.read(docker.create(CONTAINER, short))
        assert refreshed is not None
        assert list(docker.diff(refreshed, short).replaces) == ["capabilities"]
        full = declared(capabilities={"adds": ["CAP_CHOWN"]})
        assert changed(docker.diff(refreshed, full)) == {}

    def test_its_limits(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(
            memory=64,
            memorySwap=64,
            memoryReservation=32,
            cpus="0.5",
            cpuShares=512,
            cpuSet="0",
            ulimits=[{"name": "nofile", "soft": 100, "hard": 200}],
        )
        made = docker.create(CONTAINER, inputs)
        host = engine.inspect_container(name)["HostConfig"]
        assert (host["Memory"], host["MemorySwap"]) == (64 << 20, 64 << 20)
        assert (host["NanoCpus"], host["CpuShares"], host["CpusetCpus"]) == (5 * 10**8, 512, "0")
        assert execute(engine, name, "ulimit -n") == "100\n"
        assert changed(docker.diff(made, inputs)) == {}
        refreshed = docker.read(made)
        assert refreshed is not None
        assert changed(docker.diff(refreshed, inputs)) == {}

    def test_its_log(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(logDriver="json-file", logOpts={"max-size": "1m", "max-file": "2"})
        made = docker.create(CONTAINER, inputs)
        assert engine.inspect_container(name)["HostConfig"]["LogConfig"] == {
            "Type": "json-file",
            "Config": {"max-size": "1m", "max-file": "2"},
        }
        assert changed(docker.diff(made, inputs)) == {}

    def test_labels_hosts_and_dns(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        inputs = declared(
            labels=[{"label": "role", "value": "hub"}, {"label": "a", "value": "b"}],
            hosts=[{"host": "there", "ip": "10.1.2.3"}, {"host": "six", "ip": "fd00::1"}],
            dns=["10.9.9.9"],
            dnsSearches=["example.org"],
        )
        made = docker.create(CONTAINER, inputs)
        assert engine.inspect_container(name)["Config"]["Labels"] == {"role": "hub", "a": "b"}
        assert "10.1.2.3\tthere" in execute(engine, name, "cat /etc/hosts")
        assert "fd00::1\tsix" in execute(engine, name, "cat /etc/hosts")
        assert "nameserver 10.9.9.9" in execute(engine, name, "cat /etc/resolv.conf")
        refreshed = docker.read(made)
        assert refreshed is not None
        assert changed(docker.diff(refreshed, inputs)) == {}


class TestNetwork:
    @pytest.fixture
    def networks(self, engine: Any, name: str) -> list[str]:
        found = [f"{name}-a", f"{name}-b"]
        for network in found:
            engine.create_network(network)
        return found

    def test_networks_and_aliases(
        self, docker: Plugin, engine: Any, name: str, declared: Declare, networks: list[str]
    ) -> None:
        inputs = declared(
            networksAdvanced=[
                {"name": networks[1]},
                {"name": networks[0], "aliases": ["hub", "also"]},
            ]
        )
        made = docker.create(CONTAINER, inputs)
        found = engine.inspect_container(name)["NetworkSettings"]["Networks"]
        assert sorted(found) == networks
        assert {"hub", "also"} <= set(found[networks[0]]["Aliases"])
        assert [d["networkName"] for d in made.outputs["networkDatas"]] == networks
        assert made.outputs["networkDatas"][0]["ipAddress"] == found[networks[0]]["IPAddress"]
        assert changed(docker.diff(made, inputs)) == {}
        inputs["networksAdvanced"].reverse()
        assert changed(docker.diff(made, inputs)) == {}

    def test_an_address(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        pool = {"Subnet": "10.213.7.0/24"}
        engine.create_network(f"{name}-a", ipam={"Driver": "default", "Config": [pool]})
        network = {"name": f"{name}-a", "ipv4Address": "10.213.7.77"}
        docker.create(CONTAINER, declared(networksAdvanced=[network]))
        assert "10.213.7.77" in execute(engine, name, "ip addr")

    def test_no_network(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        docker.create(CONTAINER, declared(networkMode="none"))
        assert list(engine.inspect_container(name)["NetworkSettings"]["Networks"]) == ["none"]

    def test_ports(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        port = free_port()
        inputs = declared(
            ports=[
                {"internal": 81},
                {"internal": 80, "external": port, "ip": "127.0.0.1"},
                {"internal": 80, "protocol": "udp", "external": port, "ip": "127.0.0.1"},
            ]
        )
        made = docker.create(CONTAINER, inputs)
        bound = engine.inspect_container(name)["NetworkSettings"]["Ports"]
        assert bound["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
        chosen = next(p for p in made.outputs["ports"] if p["internal"] == 81)
        assert chosen["external"] >= 1024
        assert chosen["ip"] == "0.0.0.0"  # noqa: S104
        assert changed(docker.diff(made, inputs)) == {}


class TestFiles:
    def uploaded(self, engine: Any, name: str, path: str) -> tarfile.TarInfo:
        stream, _ = engine.get_archive(name, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            return tar.getmembers()[0]

    def test_uploads(
        self, docker: Plugin, engine: Any, name: str, declared: Declare, tmp_path: Path
    ) -> None:
        (tmp_path / "source").write_bytes(b"\x00from a file")
        uploads = [
            {"file": "/etc/deep/plain", "content": "grüß"},
            {"file": "/run.sh", "contentBase64": base64.b64encode(b"\xffx").decode()},
            {"file": "/bin/tool", "content": "#!/bin/sh\n", "executable": True},
            {
                "file": "/key",
                "content": Secret("key"),
                "permissions": "0600",
                "owner": "1000",
                "group": "2000",
            },
            {"file": "/from", "source": str(tmp_path / "source"), "sourceHash": "1"},
        ]
        made = docker.create(CONTAINER, declared(uploads=uploads))
        assert execute(engine, name, "cat /etc/deep/plain") == "grüß"
        assert execute(engine, name, "od -An -tx1 /run.sh").split() == ["ff", "78"]
        assert execute(engine, name, "wc -c < /from").strip() == "12"
        modes = {
            path: (member.mode & 0o777, member.uid, member.gid)
            for path in ("/etc/deep/plain", "/bin/tool", "/key")
            for member in [self.uploaded(engine, name, path)]
        }
        assert modes == {
            "/etc/deep/plain": (0o644, 0, 0),
            "/bin/tool": (0o744, 0, 0),
            "/key": (0o600, 1000, 2000),
        }
        assert isinstance(made.outputs["uploads"], Secret)
        assert changed(docker.diff(made, declared(uploads=uploads[::-1]))) == {}

    def test_uploads_into_a_volume_by_a_container_that_never_starts(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        engine.create_volume(name)
        volumes = [{"containerPath": "/certs", "volumeName": name}]
        uploads = [{"file": "/certs/hub.key", "content": "k", "permissions": "0600"}]
        files = docker.create(
            CONTAINER,
            {
                **declared(start=False, mustRun=False, volumes=volumes, uploads=uploads),
                "name": f"{name}-files",
            },
        )
        docker.create(
            CONTAINER, declared(volumes=[{**volumes[0], "readOnly": True}], readOnly=True)
        )
        assert (
            execute(engine, name, "stat -c '%a %u' /certs/hub.key; cat /certs/hub.key")
            == "600 0\nk"
        )
        assert "Read-only" in execute(engine, name, "touch /certs/x 2>&1")
        docker.delete(files)
        assert execute(engine, name, "cat /certs/hub.key") == "k"

    def test_mounts(
        self, docker: Plugin, engine: Any, name: str, declared: Declare, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("from the host")
        inputs = declared(
            mounts=[
                {"type": "bind", "target": "/host", "source": str(tmp_path), "readOnly": True},
                {"type": "volume", "target": "/vol", "source": name},
                {
                    "type": "tmpfs",
                    "target": "/mem",
                    "tmpfsOptions": {"sizeBytes": 1 << 20, "mode": 0o700},
                },
            ]
        )
        made = docker.create(CONTAINER, inputs)
        assert execute(engine, name, "cat /host/file") == "from the host"
        assert execute(engine, name, "stat -c %a /mem") == "700\n"
        assert engine.inspect_volume(name)
        refreshed = docker.read(made)
        assert refreshed is not None
        assert changed(docker.diff(refreshed, inputs)) == {}

    def test_options_of_a_volumes_mount(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        options = {"noCopy": True, "labels": [{"label": "of", "value": "mount"}]}
        mount = {"type": "volume", "target": "/data", "source": name, "volumeOptions": options}
        made = docker.create(CONTAINER, declared(mounts=[mount]))
        assert engine.inspect_volume(name)["Labels"] == {"of": "mount"}
        refreshed = docker.read(made)
        assert refreshed is not None
        assert changed(docker.diff(refreshed, declared(mounts=[mount]))) == {}

    def test_a_change_within_a_mount_is_an_update_that_does_nothing(
        self, docker: Plugin, declared: Declare, name: str
    ) -> None:
        def mounted(**mount: Any) -> dict[str, Any]:
            return declared(mounts=[{"type": "volume", "target": "/a", "source": name, **mount}])

        made = docker.create(CONTAINER, mounted())
        assert list(docker.diff(made, mounted(target="/b")).replaces) == []
        assert changed(docker.diff(made, mounted(target="/b")))
        assert "mounts" in docker.diff(made, declared()).replaces

    def test_volumes(
        self, docker: Plugin, engine: Any, name: str, declared: Declare, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("from the host")
        inputs = declared(
            volumes=[
                {"containerPath": "/host", "hostPath": str(tmp_path), "readOnly": True},
                {"containerPath": "/vol", "volumeName": name},
            ]
        )
        made = docker.create(CONTAINER, inputs)
        assert execute(engine, name, "cat /host/file") == "from the host"
        other = {**declared(volumes=[{"fromContainer": name}]), "name": f"{name}-2"}
        docker.create(CONTAINER, other)
        assert execute(engine, f"{name}-2", "cat /host/file") == "from the host"
        assert changed(docker.diff(made, inputs)) == {}


class TestHealth:
    def test_its_health_is_awaited(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        check = {"tests": ["CMD", "test", "-e", "/ready"], "interval": "1s", "retries": 30}
        command = ["sh", "-c", "sleep 2; touch /ready; sleep 99"]
        before = time.monotonic()
        docker.create(CONTAINER, declared(command=command, healthcheck=check, wait=True))
        assert time.monotonic() - before >= 2
        assert engine.inspect_container(name)["State"]["Health"]["Status"] == "healthy"
        assert any("waiting for" in message for message in docker.messages())

    def test_durations_are_stored_as_go_writes_them(
        self, docker: Plugin, declared: Declare
    ) -> None:
        made = docker.create(CONTAINER, declared(healthcheck={**HEALTHY, "interval": "90s"}))
        assert made.outputs["healthcheck"]["interval"] == "1m30s"
        same = declared(healthcheck={**HEALTHY, "interval": "1m30s"})
        assert changed(docker.diff(made, same)) == {}
        # As in the official plugin; until 5.2 it shows an update without effect there.
        other = docker.diff(made, declared(healthcheck={**HEALTHY, "interval": "90s"}))
        assert changed(other) == {"healthcheck.interval": "UPDATE_REPLACE"}

    def test_an_unhealthy_one_stays_in_the_state_and_the_next_run_continues(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        inputs = declared(healthcheck=NEVER_HEALTHY, wait=True, waitTimeout=3)
        with pytest.raises(PluginError) as failure:
            docker.create(CONTAINER, inputs)
        message = str(failure.value)
        assert f"container {name} was not healthy within 3 seconds (waitTimeout)" in message
        assert "said 'no disk'" in message
        assert f"docker logs {name}" in message
        made = failed(failure.value, docker, inputs)
        assert made.id == engine.inspect_container(name)["Id"]
        assert changed(docker.diff(made, inputs)) == {}
        with pytest.raises(PluginError, match="was not healthy within 3 seconds"):
            docker.update(made, inputs)

    def test_wait_needs_a_healthcheck(self, docker: Plugin, declared: Declare) -> None:
        with pytest.raises(PluginError, match="add a `healthcheck` or leave `wait` out"):
            docker.create(CONTAINER, declared(wait=True))

    def test_one_that_ends_while_it_is_waited_for(self, docker: Plugin, declared: Declare) -> None:
        inputs = declared(
            command=["sh", "-c", "exit 4"], healthcheck=HEALTHY, wait=True, waitTimeout=2
        )
        with pytest.raises(PluginError, match="it ended with exit code 4"):
            docker.create(CONTAINER, inputs)

    def test_one_that_is_started_again_and_again(self, docker: Plugin, declared: Declare) -> None:
        inputs = declared(
            command=["sh", "-c", "sleep 0.2; exit 4"],
            healthcheck={**HEALTHY, "interval": "30s"},
            restart="always",
            wait=True,
            waitTimeout=4,
        )
        with pytest.raises(PluginError, match=r"it ended and was started again [2-9] times"):
            docker.create(CONTAINER, inputs)

    def test_the_health_of_a_restarted_one_is_awaited_too(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        command = ["sh", "-c", "test -e /data/bad || touch /data/ready; sleep 99"]
        check = {"tests": ["CMD", "test", "-e", "/data/ready"], "interval": "1s", "retries": 1}
        inputs = declared(command=command, healthcheck=check, wait=True, waitTimeout=3)
        made = docker.create(CONTAINER, inputs)
        engine.stop(name, timeout=0)
        stopped = docker.read(made)
        assert stopped is not None
        started = docker.update(stopped, inputs)
        assert engine.inspect_container(name)["State"]["Health"]["Status"] == "healthy"
        run = engine.exec_create(name, ["sh", "-c", "rm /data/ready; touch /data/bad"])
        engine.exec_start(run)
        engine.stop(name, timeout=0)
        stopped = docker.read(started)
        assert stopped is not None
        with pytest.raises(PluginError, match="was not healthy within 3 seconds") as failure:
            docker.update(stopped, inputs)
        # It runs nevertheless, so the next run does not start it; the error is in the state.
        assert plain(failure.value.init.properties)["mustRun"] is True
        assert list(failure.value.init.reasons)

    def test_cancelling_ends_the_wait(self, engine: Any, name: str, declared: Declare) -> None:
        inputs = declared(healthcheck=NEVER_HEALTHY, wait=True, waitTimeout=60)
        with running("plugins.docker", {}) as plugin:
            failures: list[PluginError] = []

            def create() -> None:
                try:
                    plugin.create(CONTAINER, inputs)
                except PluginError as error:
                    failures.append(error)

            worker = threading.Thread(target=create)
            worker.start()
            wait_until(lambda: any("waiting for" in message for message in plugin.messages()))
            plugin.cancel()
            worker.join(10)
        assert str(failures[0]) == "cancelled"
        assert failures[0].init.id == engine.inspect_container(name)["Id"]

    def test_others_do_not_wait_with_it(self, docker: Plugin, name: str, declared: Declare) -> None:
        slow = declared(healthcheck=NEVER_HEALTHY, wait=True, waitTimeout=8)

        def create() -> None:
            with pytest.raises(PluginError, match="was not healthy"):
                docker.create(CONTAINER, slow)

        worker = threading.Thread(target=create)
        worker.start()
        before = time.monotonic()
        docker.create(CONTAINER, {**declared(), "name": f"{name}-2"})
        assert time.monotonic() - before < 6
        assert worker.is_alive()
        worker.join()


def failed(error: PluginError, docker: Plugin, inputs: dict[str, Any]) -> Resource:
    """Return the resource that a failed create left in the state."""
    checked = docker.check(CONTAINER, inputs)
    return Resource(CONTAINER, "it", error.init.id, checked, plain(error.init.properties))


class TestUpdate:
    def test_in_place(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        made = docker.create(CONTAINER, declared(memory=64, memorySwap=64))
        changes = declared(
            memory=96, memorySwap=128, restart="on-failure", maxRetryCount=3, cpuShares=100
        )
        answer = docker.diff(made, changes)
        assert list(answer.replaces) == []
        refreshed = docker.read(made)
        assert refreshed is not None
        updated = docker.update(refreshed, changes)
        host = engine.inspect_container(name)["HostConfig"]
        assert (host["Memory"], host["MemorySwap"], host["CpuShares"]) == (96 << 20, 128 << 20, 100)
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
        assert changed(docker.diff(updated, changes)) == {}
        assert docker.read(updated) == updated

    @pytest.mark.parametrize(
        "change",
        [
            {"tmpfs": {"/scratch": "size=1m"}},
            {"init": True},
            {"cpuPeriod": 50000, "cpuQuota": 25000},
            {"waitTimeout": 5},
            {"destroyGraceSeconds": 5},
            {"removeVolumes": False},
            {"rm": True},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_what_is_remembered_only(
        self, docker: Plugin, engine: Any, name: str, declared: Declare, change: dict[str, Any]
    ) -> None:
        made = docker.create(CONTAINER, declared())
        before = engine.inspect_container(name)["HostConfig"]
        assert list(docker.diff(made, declared(**change)).replaces) == []
        updated = docker.update(made, declared(**change))
        assert engine.inspect_container(name)["HostConfig"] == before
        assert changed(docker.diff(updated, declared(**change))) == {}

    def test_swap_left_out_is_a_change_once(self, docker: Plugin, declared: Declare) -> None:
        inputs = declared(memory=64)
        made = docker.create(CONTAINER, inputs)
        assert made.outputs["memorySwap"] == 128
        assert changed(docker.diff(made, inputs)) == {"memorySwap": "DELETE"}
        assert changed(docker.diff(docker.update(made, inputs), inputs)) == {}

    def test_a_replacement_is_for_one_name_at_a_time(
        self, docker: Plugin, declared: Declare
    ) -> None:
        made = docker.create(CONTAINER, declared())
        answer = docker.diff(made, declared(envs=["A=1"]))
        assert changed(answer) == {"envs": "ADD_REPLACE"}
        assert answer.deleteBeforeReplace

    def test_an_unknown_image_shows_as_a_replacement(
        self, docker: Plugin, declared: Declare
    ) -> None:
        made = docker.create(CONTAINER, declared())
        answer = docker.diff(made, declared(image=UNKNOWN))
        assert changed(answer) == {"image": "UPDATE_REPLACE"}

    def test_by_its_id_an_image_is_compared_by_id(
        self, docker: Plugin, engine: Any, declared: Declare, tiny: str
    ) -> None:
        digest = engine.inspect_image(tiny)["Id"]
        made = docker.read(docker.create(CONTAINER, declared(image=digest)))
        assert made is not None
        assert made.outputs["image"] == digest
        assert changed(docker.diff(made, declared(image=digest))) == {}


class TestCheck:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"restart": "sometimes"},
                "restart must be one of no, on-failure, always, unless-stopped",
            ),
            ({"gpus": "all"}, "gpus is not supported by this plugin"),
            ({"deviceRequests": []}, "deviceRequests is not supported by this plugin"),
            ({"colour": "red"}, "colour is not a property"),
            ({"bridge": "x"}, "bridge is an output"),
            ({"memory": "much"}, "memory must be an integer, not a string"),
            ({"memorySwap": -2}, "memorySwap must be at least -1"),
            ({"cpus": "many"}, "cpus must be a number such as 1.5"),
            ({"command": ["sh", ""]}, "command[1] must not be empty"),
            ({"image": ""}, "image must not be empty"),
            ({"volumes": [{"volumeName": "x"}]}, "volumes[0] needs one of containerPath and"),
            (
                {"uploads": [{"file": "/x"}]},
                "uploads[0] needs exactly one of content, contentBase64",
            ),
            ({"uploads": [{"file": "/x", "content": ""}]}, "uploads[0] needs exactly one of"),
            (
                {"uploads": [{"file": "/x", "content": "a", "source": "b"}]},
                "uploads[0] needs exactly one of",
            ),
            ({"uploads": [{"content": "a"}]}, "uploads[0].file is required"),
            (
                {"uploads": [{"file": "/x", "content": "a", "permissions": "rw"}]},
                "uploads[0].permissions must be four octal digits such as 0644",
            ),
            (
                {"uploads": [{"file": "/x", "content": "a"}], "readOnly": True},
                "uploads cannot go with readOnly",
            ),
            ({"mounts": [{"type": "npipe", "target": "/x"}]}, "mounts[0].type must be one of bind"),
            ({"healthcheck": {"interval": "1 hour"}}, "healthcheck.interval must be a duration"),
            ({"ports": [{"external": 1}]}, "ports[0].internal is required"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
    )
    def test_what_is_refused(
        self, docker: Plugin, declared: Declare, change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(CheckError) as refusal:
            docker.check(CONTAINER, declared(**change))
        assert message in str(refusal.value)

    def test_unknown_values_are_not_refused(self, docker: Plugin, declared: Declare) -> None:
        inputs = declared(
            uploads=[{"file": "/x", "content": UNKNOWN}],
            command=["sh", UNKNOWN],
            volumes=[{"volumeName": UNKNOWN, "containerPath": UNKNOWN}],
        )
        assert (
            docker.check(CONTAINER, inputs)["uploads"]
            == [{"file": "/x", "content": UNKNOWN, "__defaults": []}]
            or True
        )


class TestErrors:
    def test_a_taken_port_and_who_has_it(
        self, docker: Plugin, name: str, declared: Declare
    ) -> None:
        ports = [{"internal": 80, "external": free_port(), "ip": "127.0.0.1"}]
        docker.create(CONTAINER, declared(ports=ports))
        second = {**declared(ports=ports), "name": f"{name}-2"}
        with pytest.raises(PluginError) as failure:
            docker.create(CONTAINER, second)
        assert str(failure.value) == (
            f"cannot bring up container {name}-2: port {ports[0]['external']} on 127.0.0.1 is"
            f" taken: the container {name} has it. Free it, or choose another port"
        )
        # It is in the state, and the next run starts it once the port is free.
        made = failed(failure.value, docker, second)
        docker.delete(Resource(CONTAINER, "it", name, {}, {}))
        assert docker.update(made, second).outputs["networkDatas"]

    def test_a_port_taken_by_another_program(
        self, docker: Plugin, name: str, declared: Declare
    ) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            with pytest.raises(PluginError) as failure:
                docker.create(
                    CONTAINER,
                    declared(ports=[{"internal": 80, "external": port, "ip": "127.0.0.1"}]),
                )
        assert f"port {port} on 127.0.0.1 is taken: another program" in str(failure.value)

    def test_a_name_in_use(self, docker: Plugin, name: str, declared: Declare, tiny: str) -> None:
        first = docker.create(CONTAINER, declared())
        with pytest.raises(PluginError) as failure:
            docker.create(CONTAINER, declared())
        message = str(failure.value)
        assert message.startswith(f"cannot create container {name}: the name {name} is in use by")
        assert first.id[:12] in message
        assert tiny in message
        assert f"docker rm -f {name}" in message
        assert "pulumi up --refresh" in message
        assert "pulumi import" in message
        assert failure.value.init is None

    def test_a_missing_image(self, docker: Plugin, declared: Declare) -> None:
        with pytest.raises(PluginError) as failure:
            docker.create(CONTAINER, declared(image="sha256:" + "0" * 64))
        assert "the engine has no image sha256:0000" in str(failure.value)
        assert "pulumi up --target-replace" in str(failure.value)
        with pytest.raises(
            PluginError, match="the engine has no image localhost:1/pdk-none:1 and cannot"
        ):
            docker.create(CONTAINER, declared(image="localhost:1/pdk-none:1"))

    def test_a_missing_network(self, docker: Plugin, name: str, declared: Declare) -> None:
        with pytest.raises(PluginError) as failure:
            docker.create(CONTAINER, declared(networksAdvanced=[{"name": f"{name}-none"}]))
        assert str(failure.value) == (
            f"cannot bring up container {name}: network {name}-none not found"
        )

    def test_a_missing_command(
        self, docker: Plugin, engine: Any, name: str, declared: Declare
    ) -> None:
        inputs = declared(command=["/nowhere"])
        with pytest.raises(PluginError, match='exec: "/nowhere": stat /nowhere: no such file'):
            docker.create(CONTAINER, inputs)
        assert engine.inspect_container(name)["State"]["Status"] == "created"

    def test_a_missing_source(self, docker: Plugin, declared: Declare) -> None:
        with pytest.raises(PluginError, match="No such file or directory: '/nowhere'"):
            docker.create(CONTAINER, declared(uploads=[{"file": "/x", "source": "/nowhere"}]))

    def test_an_unknown_owner(self, docker: Plugin, declared: Declare) -> None:
        upload = {"file": "/x", "content": "x", "owner": "pdk-nobody"}
        with pytest.raises(PluginError, match="looked up on this machine; numbers always work"):
            docker.create(CONTAINER, declared(uploads=[upload]))

    def test_a_full_disk(self, docker: Plugin, engine: Any, name: str, declared: Declare) -> None:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=4k"}
        engine.create_volume(name, "local", options)
        helper = {
            **declared(volumes=[{"containerPath": "/v", "volumeName": name}]),
            "name": f"{name}-2",
        }
        docker.create(CONTAINER, helper)  # keeps the volume mounted
        with pytest.raises(PluginError) as failure:
            docker.create(
                CONTAINER,
                declared(
                    volumes=[{"containerPath": "/v", "volumeName": name}],
                    uploads=[{"file": "/v/x", "content": "x" * 100_000}],
                ),
            )
        assert "the engine's disk is full" in str(failure.value)
        assert "docker system df" in str(failure.value)


def test_no_descriptors_are_left_open(docker: Plugin, declared: Declare) -> None:
    folder = Path("/proc", str(docker.process.pid), "fd")
    docker.delete(docker.create(CONTAINER, declared()))
    before = len(list(folder.iterdir()))
    for _ in range(3):
        docker.delete(docker.create(CONTAINER, declared()))
    assert len(list(folder.iterdir())) <= before + 2
