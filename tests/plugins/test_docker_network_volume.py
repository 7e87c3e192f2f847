"""Networks and volumes, created, read and removed as by the official plugin, on an engine."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from docker.errors import NotFound

from plugins.values import UNKNOWN
from tests.plugins.docker_tools import NETWORK, VOLUME
from tests.plugins.plugin_driver import (
    CheckError,
    Plugin,
    PluginError,
    Resource,
    changed,
    wait_until,
)

pytestmark = pytest.mark.engine

LABELS = [{"label": "role", "value": "users"}, {"label": "a", "value": "b"}]


class TestNetwork:
    def test_made_and_removed(self, docker: Plugin, engine: Any, name: str) -> None:
        inputs = {
            "name": name,
            "labels": LABELS,
            "internal": True,
            "attachable": True,
            "options": {"com.docker.network.bridge.enable_icc": "false"},
            "ipamConfigs": [
                {
                    "subnet": "10.214.3.0/24",
                    "gateway": "10.214.3.9",
                    "ipRange": "10.214.3.128/25",
                    "auxAddress": {"printer": "10.214.3.200"},
                }
            ],
        }
        made = docker.create(NETWORK, inputs)
        found = engine.inspect_network(name)
        assert made.id == found["Id"]
        assert found["Labels"] == {"role": "users", "a": "b"}
        assert (found["Internal"], found["Attachable"], found["Driver"]) == (True, True, "bridge")
        assert found["Options"] == inputs["options"]
        assert found["IPAM"]["Config"] == [
            {
                "Subnet": "10.214.3.0/24",
                "Gateway": "10.214.3.9",
                "IPRange": "10.214.3.128/25",
                "AuxiliaryAddresses": {"printer": "10.214.3.200"},
            }
        ]
        assert made.outputs["scope"] == "local"
        assert made.outputs["labels"] == LABELS[::-1]
        assert changed(docker.diff(made, inputs)) == {}
        assert docker.read(made) == made
        docker.delete(made)
        with pytest.raises(NotFound):
            engine.inspect_network(name)
        docker.delete(made)
        assert docker.read(made) is None

    def test_left_to_the_engine(self, docker: Plugin, name: str) -> None:
        made = docker.create(NETWORK, {"name": name})
        assert made.outputs["driver"] == "bridge"
        assert made.outputs["ipamConfigs"][0]["subnet"]
        assert changed(docker.diff(made, {"name": name})) == {}

    @pytest.mark.parametrize(
        "change",
        [
            {"labels": LABELS[:1]},
            {"internal": True},
            {"attachable": True},
            {"driver": "macvlan"},
            {"ipv6": True},
            {"options": {"com.docker.network.bridge.enable_icc": "false"}},
            {"ipamConfigs": [{"subnet": "10.214.4.0/24"}]},
            {"labels": UNKNOWN},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_every_change_replaces(self, docker: Plugin, name: str, change: dict[str, Any]) -> None:
        made = docker.create(NETWORK, {"name": name})
        answer = docker.diff(made, {"name": name, **change})
        assert list(answer.replaces) == list(change)
        # A name from the program is free only once the old resource is removed.
        assert answer.deleteBeforeReplace

    def test_emptied_options_replace(self, docker: Plugin, name: str) -> None:
        options = {"com.docker.network.bridge.enable_icc": "false"}
        made = docker.create(NETWORK, {"name": name, "options": options})
        assert changed(docker.diff(made, {"name": name})) == {}
        assert changed(docker.diff(made, {"name": name, "options": {}})) == {
            'options["com.docker.network.bridge.enable_icc"]': "DELETE_REPLACE"
        }

    def test_a_generated_name_is_generated_again(self, docker: Plugin) -> None:
        made = docker.create(NETWORK, {}, name="pdk-auto")
        try:
            assert made.outputs["name"].startswith("pdk-auto-")
            answer = docker.diff(made, {"internal": True})
            assert list(answer.replaces) == ["internal"]
            assert not answer.deleteBeforeReplace
        finally:
            docker.delete(made)

    def test_an_import(self, docker: Plugin, engine: Any, name: str) -> None:
        made = engine.create_network(name, labels={"a": "b"}, internal=True)
        imported = docker.read(Resource(NETWORK, "it", made["Id"], {}, {}))
        assert imported is not None
        program = {"name": name, "internal": True, "labels": [{"label": "a", "value": "b"}]}
        assert program.items() <= imported.inputs.items()
        assert changed(docker.diff(imported, program)) == {}

    def test_a_name_in_use(self, docker: Plugin, engine: Any, name: str) -> None:
        made = engine.create_network(name)
        with pytest.raises(PluginError) as failure:
            docker.create(NETWORK, {"name": name})
        assert str(failure.value).startswith(
            f"cannot create network {name}: the name {name} is in use by network {made['Id'][:12]} "
            f"(driver bridge). Remove it (docker network rm {name}) and run: pulumi up --refresh"
        )

    def test_its_removal_waits_while_it_is_in_use(
        self, docker: Plugin, engine: Any, name: str, tiny: str
    ) -> None:
        made = docker.create(NETWORK, {"name": name})
        config = engine.create_networking_config({name: engine.create_endpoint_config()})
        container = engine.create_container(tiny, name=name, networking_config=config)
        engine.start(container)
        worker = threading.Thread(target=docker.delete, args=(made,))
        worker.start()
        wait_until(
            lambda: f"waiting for network {name} to be free: used by {name}" in docker.messages()
        )
        engine.remove_container(container, force=True)
        worker.join(10)
        assert docker.read(made) is None

    def test_if_it_stays_in_use_the_error_names_its_users(
        self, docker: Plugin, engine: Any, name: str, tiny: str
    ) -> None:
        made = docker.create(NETWORK, {"name": name})
        config = engine.create_networking_config({name: engine.create_endpoint_config()})
        engine.start(engine.create_container(tiny, name=name, networking_config=config))
        before = time.monotonic()
        with pytest.raises(PluginError) as failure:
            docker.delete(made)
        assert time.monotonic() - before >= 29
        assert str(failure.value).startswith(
            f"cannot remove network {name}: it is still used by {name}, which this run does not"
        )


class TestVolume:
    def test_made_and_removed(self, docker: Plugin, engine: Any, name: str) -> None:
        options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
        inputs = {"name": name, "labels": LABELS, "driver": "local", "driverOpts": options}
        made = docker.create(VOLUME, inputs)
        found = engine.inspect_volume(name)
        assert made.id == name
        assert found["Labels"] == {"role": "users", "a": "b"}
        assert found["Options"] == options
        assert made.outputs["mountpoint"] == found["Mountpoint"]
        assert changed(docker.diff(made, inputs)) == {}
        assert docker.read(made) == made
        docker.delete(made)
        with pytest.raises(NotFound):
            engine.inspect_volume(name)
        docker.delete(made)
        assert docker.read(made) is None

    @pytest.mark.parametrize(
        "change",
        [{"labels": LABELS[:1]}, {"driver": "other"}, {"driverOpts": {"type": "nfs"}}],
        ids=lambda change: next(iter(change)),
    )
    def test_every_change_replaces(self, docker: Plugin, name: str, change: dict[str, Any]) -> None:
        made = docker.create(VOLUME, {"name": name})
        answer = docker.diff(made, {"name": name, **change})
        assert list(answer.replaces) == list(change)
        assert answer.deleteBeforeReplace

    def test_an_existing_one_is_used_with_a_warning(
        self, docker: Plugin, engine: Any, name: str
    ) -> None:
        engine.create_volume(name, labels={"of": "another"})
        made = docker.create(VOLUME, {"name": name})
        assert made.outputs["labels"] == [{"label": "of", "value": "another"}]
        assert any(f"volume {name} was there already" in message for message in docker.messages())

    def test_an_existing_one_keeps_its_content(
        self, docker: Plugin, engine: Any, name: str
    ) -> None:
        engine.create_volume(name)
        inputs = {"name": name, "labels": LABELS, "driver": "local", "driverOpts": {"o": "size=1m"}}
        made = docker.create(VOLUME, inputs)
        assert made.outputs["labels"] == []
        assert set(docker.diff(made, inputs).replaces) == {"labels", "driverOpts"}
        ignored = ("labels", "driver", "driverOpts")
        assert changed(docker.diff(made, inputs, ignored)) == {}
        # Created again by hand since: a refresh sees that, and ignores it as well.
        made = docker.create(VOLUME, {"name": name, "labels": []})
        engine.remove_volume(name)
        engine.create_volume(name, labels={"of": "another"})
        found = docker.read(made)
        assert found is not None
        assert found.outputs["labels"] == [{"label": "of", "value": "another"}]
        assert changed(docker.diff(found, inputs, ignored)) == {}

    def test_an_import(self, docker: Plugin, engine: Any, name: str) -> None:
        engine.create_volume(name, labels={"a": "b"})
        imported = docker.read(Resource(VOLUME, "it", name, {}, {}))
        assert imported is not None
        program = {"name": name, "labels": [{"label": "a", "value": "b"}]}
        assert program.items() <= imported.inputs.items()
        assert changed(docker.diff(imported, program)) == {}

    def test_its_removal_waits_while_it_is_in_use(
        self, docker: Plugin, engine: Any, name: str, tiny: str
    ) -> None:
        made = docker.create(VOLUME, {"name": name})
        host = engine.create_host_config(binds=[f"{name}:/data"])
        container = engine.create_container(tiny, name=name, host_config=host)
        worker = threading.Thread(target=docker.delete, args=(made,))
        worker.start()
        wait_until(
            lambda: f"waiting for volume {name} to be free: used by {name}" in docker.messages()
        )
        engine.remove_container(container, force=True)
        worker.join(10)
        assert docker.read(made) is None

    def test_if_it_stays_in_use_the_error_names_its_users(
        self, docker: Plugin, engine: Any, name: str, tiny: str
    ) -> None:
        made = docker.create(VOLUME, {"name": name})
        host = engine.create_host_config(binds=[f"{name}:/data"])
        engine.create_container(tiny, name=name, host_config=host)
        with pytest.raises(PluginError) as failure:
            docker.delete(made)
        assert str(failure.value).startswith(
            f"cannot remove volume {name}: it is still used by {name}"
        )
        assert engine.inspect_volume(name)

    def test_swarm_volumes_are_refused(self, docker: Plugin, name: str) -> None:
        with pytest.raises(CheckError, match="cluster is not supported"):
            docker.check(VOLUME, {"name": name, "cluster": {}})
