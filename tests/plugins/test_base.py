"""What all plugins share, tested through the engine's protocol with a sample plugin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2

from plugins.values import UNKNOWN, Secret
from tests.plugins.plugin_driver import (
    PYTHON_PATH,
    CheckError,
    Plugin,
    PluginError,
    Resource,
    alive,
    changed,
    plain,
    running,
    struct,
    urn,
    wait_until,
)

pytestmark = pytest.mark.slow

THING = "sample:index/thing:Thing"
SECRET = "correct horse battery"


@pytest.fixture(scope="module")
def plugin() -> Iterator[Plugin]:
    with running("tests.plugins.sample_plugin", {}) as plugin:
        yield plugin


@pytest.fixture
def own_plugin() -> Iterator[Plugin]:
    """A separate plugin, for tests that end it."""
    with running("tests.plugins.sample_plugin", {}) as plugin:
        yield plugin


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    """The required inputs of a Thing."""
    return {"dir": str(tmp_path), "name": "it"}


class TestCheck:
    def test_all_wrong_inputs_are_refused_at_once_with_their_paths(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        wrong = {
            "name": ["x"],
            "mood": "sad",
            "size": 12,
            "ratio": "much",
            "open": "perhaps",
            "labels": {"a.b": ["x"]},
            "ports": [{"external": "eighty"}, 7],
            "port": {"internal": 1, "colour": "red"},
            "swap": 1,
            "path": "/x",
            "colour": "red",
        }
        with pytest.raises(CheckError) as caught:
            plugin.check(THING, wrong)
        assert sorted(str(caught.value).splitlines()) == [
            (
                "colour is not a property; the properties are dir, name, mood, size, ratio, open, "
                "password, image, labels, steps, groups, ports, port, extra, address, level"
            ),
            "dir is required",
            'labels["a.b"] must be a string, not a list',
            "mood must be one of good, fails, half, bug, slow, stuck",
            "name must be a string, not a list",
            "open must be a boolean, not a string",
            "path is an output and cannot be set",
            "port.colour is not a property; the properties are internal, external, ip",
            "ports[0].external must be an integer, not a string",
            "ports[0].internal is required",
            "ports[1] must be an object, not a number",
            "ratio must be a number, not a string",
            "size must be at most 9",
            "swap is not supported by this plugin",
        ]

    def test_the_resource_adds_its_own_refusals(self, plugin: Plugin, base: dict[str, Any]) -> None:
        with pytest.raises(CheckError, match="size must be odd"):
            plugin.check(THING, {**base, "size": 2})

    def test_a_refusal_never_shows_the_value(self, plugin: Plugin, base: dict[str, Any]) -> None:
        with pytest.raises(CheckError) as caught:
            plugin.check(THING, {**base, "password": Secret([SECRET]), "size": Secret(SECRET)})
        assert SECRET not in str(caught.value)
        # The engine prints the value of the property a failure names, secret or not.
        assert [failure.property for failure in caught.value.failures] == ["", ""]

    def test_strings_are_converted_to_numbers_and_booleans(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        checked = plugin.check(
            THING, {**base, "size": "3", "ratio": "0.5", "open": "true", "labels": {"a": 1}}
        )
        assert (checked["size"], checked["ratio"], checked["open"]) == (3, 0.5, True)
        assert checked["labels"] == {"a": "1"}

    def test_defaults_are_filled_in_and_recorded_as_the_bridge_does(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        checked = plugin.check(THING, {**base, "port": {"internal": 1}})
        assert checked["mood"] == "good"
        assert checked["port"] == {"internal": 1, "ip": "127.0.0.1"}
        assert checked["__defaults"] == ["mood"]

    def test_nulls_are_left_out(self, plugin: Plugin, base: dict[str, Any]) -> None:
        checked = plugin.check(THING, {**base, "size": None, "labels": {"a": None}})
        assert "size" not in checked
        assert checked["labels"] == {}

    def test_unknowns_pass_at_any_depth(self, plugin: Plugin, base: dict[str, Any]) -> None:
        inputs = {
            **base,
            "size": UNKNOWN,
            "labels": {"a": UNKNOWN},
            "steps": ["a", UNKNOWN],
            "ports": UNKNOWN,
            "port": {"internal": UNKNOWN},
        }
        checked = plugin.check(THING, inputs)
        assert {name: checked[name] for name in inputs if name != "port"} == {
            name: value for name, value in inputs.items() if name != "port"
        }
        assert checked["port"]["internal"] is UNKNOWN
        assert checked["fingerprint"] is UNKNOWN

    def test_secrets_stay_where_they_were(self, plugin: Plugin, base: dict[str, Any]) -> None:
        checked = plugin.check(
            THING,
            {
                **base,
                "password": SECRET,
                "labels": {"public": "a", "private": Secret(SECRET)},
                "steps": ["a", Secret(SECRET)],
                "size": Secret("3"),
            },
        )
        assert checked["password"] == Secret(SECRET)  # the schema says so, the program did not
        assert checked["labels"] == {"public": "a", "private": Secret(SECRET)}
        assert checked["steps"] == Secret(["a", SECRET])
        assert checked["size"] == Secret(3)
        assert checked["mood"] == "good"

    def test_a_resource_may_belong_to_a_component(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        # The engine puts the types of the parents before a resource's own.
        component = "zhub:hub:Hub$zhub:images:Images"
        made = plugin.create(f"{component}${THING}", base)
        assert changed(plugin.diff(made, {**base, "size": 3})) == {"size": "ADD"}
        with pytest.raises(PluginError, match="no sample:index/service:Service"):
            plugin.check(f"{component}$sample:index/service:Service", {})

    def test_an_unknown_resource_type_is_refused_by_name(self, plugin: Plugin) -> None:
        with pytest.raises(PluginError, match="no sample:index/service:Service; it has sample:"):
            plugin.check("sample:index/service:Service", {})


class TestNaming:
    def check(self, plugin: Plugin, tmp_path: Path, **request: Any) -> Any:
        answer = plugin.stub.Check(
            provider_pb2.CheckRequest(
                urn=urn(THING, "hub"),
                news=struct({"dir": str(tmp_path)}),
                olds=struct(request.pop("old", {})),
                **request,
            )
        )
        return answer.failures or plain(answer.inputs)["name"]

    def test_a_name_is_generated_once_and_kept(self, plugin: Plugin, tmp_path: Path) -> None:
        first = self.check(plugin, tmp_path, randomSeed=b"a")
        assert re.fullmatch("hub-[0-9a-f]{7}", first)
        assert self.check(plugin, tmp_path, randomSeed=b"a") == first
        assert self.check(plugin, tmp_path, randomSeed=b"b") != first
        assert self.check(plugin, tmp_path, randomSeed=b"b", old={"name": first}) == first

    def test_the_stacks_autonaming_is_followed(self, plugin: Plugin, tmp_path: Path) -> None:
        naming = provider_pb2.CheckRequest.AutonamingOptions
        proposed = naming(proposed_name="hub-of-dev", mode=naming.ENFORCE)
        assert self.check(plugin, tmp_path, autonaming=proposed) == "hub-of-dev"
        [failure] = self.check(plugin, tmp_path, autonaming=naming(mode=naming.DISABLE))
        assert "disables naming" in failure.reason


class TestPreview:
    def test_a_preview_of_a_create_creates_nothing(
        self, plugin: Plugin, base: dict[str, Any], tmp_path: Path
    ) -> None:
        made = plugin.create(THING, {**base, "size": UNKNOWN, "password": SECRET}, preview=True)
        assert made.id == ""
        assert not list(tmp_path.iterdir())
        assert made.outputs["name"] == "it"
        assert made.outputs["level"] == 5
        assert made.outputs["size"] is UNKNOWN
        assert made.outputs["path"] is UNKNOWN
        assert made.outputs["token"] == Secret(UNKNOWN)
        assert made.outputs["password"] == Secret(SECRET)

    def test_a_preview_of_an_update_knows_what_cannot_change(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        made = plugin.create(THING, base)
        previewed = plugin.update(made, {**base, "size": 3}, preview=True)
        assert previewed.outputs["path"] == made.outputs["path"]
        assert previewed.outputs["address"] == "10.0.0.1"
        assert previewed.outputs["revision"] is UNKNOWN
        assert previewed.outputs["size"] == 3
        assert "size" not in json.loads(Path(made.outputs["path"]).read_text())

    def test_an_unknown_never_reaches_an_operation(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError, match="size is not known, but this is no preview"):
            plugin.create(THING, {**base, "size": UNKNOWN})
        made = plugin.create(THING, base)
        with pytest.raises(PluginError, match="labels is not known"):
            plugin.update(made, {**base, "labels": {"a": UNKNOWN}})


class TestDiff:
    def diff(
        self, plugin: Plugin, base: dict[str, Any], old: dict[str, Any], new: dict[str, Any]
    ) -> Any:
        return plugin.diff(plugin.create(THING, {**base, **old}), {**base, **new})

    def test_without_changes_the_diff_is_empty(self, plugin: Plugin, base: dict[str, Any]) -> None:
        same = {"size": 3, "labels": {"a": "b"}, "ports": [{"internal": 1}], "extra": [{"a": 1}]}
        response = self.diff(plugin, base, same, same)
        assert response.changes == response.DIFF_NONE
        assert changed(response) == {}
        assert not response.deleteBeforeReplace

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ({}, {"size": 3}, {"size": "ADD"}),
            ({"size": 3}, {}, {"size": "DELETE"}),
            ({"size": 3}, {"size": 5}, {"size": "UPDATE"}),
            ({"size": 3}, {"size": UNKNOWN}, {"size": "UPDATE"}),
            ({"mood": "good"}, {}, {}),
            (
                {"labels": {"a": "1", "b": "1"}},
                {"labels": {"b": "2", "c.d": "1"}},
                {"labels.a": "DELETE", "labels.b": "UPDATE", 'labels["c.d"]': "ADD"},
            ),
            ({"labels": {"a": "1"}}, {"labels": UNKNOWN}, {"labels": "UPDATE"}),
            (
                {"steps": ["a", "b", "c"]},
                {"steps": ["a", "x"]},
                {"steps[1]": "UPDATE", "steps[2]": "DELETE", "fingerprint": "UPDATE"},
            ),
            ({"groups": ["a", "b"]}, {"groups": ["b", "a"]}, {}),
            ({"groups": ["a", "b"]}, {"groups": ["b", "c", "a"]}, {"groups[1]": "ADD"}),
            ({"groups": ["a", "b"]}, {"groups": ["b"]}, {"groups[0]": "DELETE"}),
            ({"groups": ["a"]}, {"groups": ["b"]}, {"groups[0]": "UPDATE"}),
            ({"groups": []}, {}, {}),
            ({}, {"labels": {}}, {}),
            ({"ports": [{"internal": 1}]}, {"ports": [{"internal": 1, "ip": "127.0.0.1"}]}, {}),
            (
                {"ports": [{"internal": 1}]},
                {"ports": [{"internal": 2}]},
                {"ports[0].internal": "UPDATE"},
            ),
            (
                {"ports": [{"internal": 1}]},
                {"ports": [{"internal": 1, "external": 8}]},
                {"ports[0].external": "ADD_REPLACE"},
            ),
            (
                {"port": {"internal": 1, "external": 8}},
                {"port": {"internal": 1}},
                {"port.external": "DELETE_REPLACE"},
            ),
            ({"port": {"internal": 1}}, {}, {"port": "DELETE"}),
            ({"extra": [1, {"a": True}]}, {"extra": [1, {"a": 1}]}, {"extra": "UPDATE"}),
            ({"image": "hub:latest"}, {"image": "hub"}, {}),
            ({"image": "hub:latest"}, {"image": "hub:2"}, {"image": "UPDATE"}),
            ({"address": "10.0.0.9"}, {}, {}),
            ({}, {"address": "10.0.0.9"}, {"address": "ADD"}),
            ({}, {"level": 5}, {}),
            ({"level": 5}, {}, {}),
            ({}, {"level": 6}, {"level": "ADD_REPLACE"}),
            ({}, {"name": "other"}, {"name": "UPDATE_REPLACE"}),
            ({"password": "first"}, {"password": Secret("first")}, {}),
            ({"password": "first"}, {"password": Secret("second")}, {"password": "UPDATE"}),
        ],
        ids=repr,
    )
    def test_each_change_has_its_kind_and_path(
        self,
        plugin: Plugin,
        base: dict[str, Any],
        old: dict[str, Any],
        new: dict[str, Any],
        expected: dict[str, str],
    ) -> None:
        response = self.diff(plugin, base, old, new)
        assert changed(response) == expected
        assert response.changes == (response.DIFF_SOME if expected else response.DIFF_NONE)
        tops = {path.split("[")[0].split(".")[0] for path in expected}
        replaced = {
            path.split("[")[0].split(".")[0] for path, kind in expected.items() if "_" in kind
        }
        assert set(response.diffs) == tops
        assert set(response.replaces) == replaced
        # A name from the program cannot exist twice.
        assert response.deleteBeforeReplace == bool(replaced)
        assert all(change.inputDiff for change in response.detailedDiff.values())

    def test_a_generated_name_is_created_before_the_old_one_is_deleted(
        self, plugin: Plugin, tmp_path: Path
    ) -> None:
        made = plugin.create(THING, {"dir": str(tmp_path)})
        assert made.inputs["__defaults"] == ["mood", "name"]
        response = plugin.diff(made, {"dir": str(tmp_path), "level": 6})
        assert list(response.replaces) == ["level"]
        assert not response.deleteBeforeReplace

    def test_ignored_changes_are_left_out(self, plugin: Plugin, base: dict[str, Any]) -> None:
        made = plugin.create(THING, base)
        made.outputs["token"] = "expired"
        assert changed(plugin.diff(made, base)) == {"token": "UPDATE_REPLACE"}
        assert not plugin.diff(made, base).detailedDiff["token"].inputDiff
        assert changed(plugin.diff(made, base, ["token"])) == {}
        assert changed(plugin.diff(made, {**base, "labels": {"a": "b"}}, ["token", "labels"])) == {}

    def test_a_state_of_the_official_plugin_is_no_change(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        made = plugin.create(THING, {**base, "port": {"internal": 1}})
        made.inputs |= {
            "__defaults": ["mood", "open"],
            "port": {"__defaults": [], "internal": 1, "ip": "127.0.0.1"},
        }
        made.outputs |= {"__meta": '{"schema_version":"2"}', "__pulumi_raw_state_delta": {"a": {}}}
        assert changed(plugin.diff(made, {**base, "port": {"internal": 1}})) == {}

    def test_an_old_input_of_a_wrong_type_can_be_corrected(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        made = plugin.create(THING, base)
        made.inputs |= {"size": "many", "ports": "all", "colour": "red"}
        response = plugin.diff(made, {**base, "size": 3, "ports": [{"internal": 1}]})
        assert changed(response) == {"size": "UPDATE", "ports": "UPDATE"}


class TestOperations:
    def test_a_whole_life(self, plugin: Plugin, base: dict[str, Any]) -> None:
        made = plugin.create(THING, {**base, "password": SECRET, "labels": {"a": Secret("bcdef")}})
        assert made.id == "it"
        assert made.outputs["password"] == Secret(SECRET)
        assert made.outputs["labels"] == {"a": Secret("bcdef")}
        assert made.outputs["token"] == Secret("valid")
        assert made.outputs["__meta"] == '{"schema_version":"2"}'
        updated = plugin.update(made, {**base, "size": 3})
        assert (updated.outputs["revision"], updated.outputs["size"]) == (2, 3)
        assert "password" not in updated.outputs
        plugin.delete(updated)
        assert not Path(made.outputs["path"]).exists()
        plugin.delete(updated)  # gone already: no error

    def test_an_error_is_one_message_without_traceback_or_secret(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError) as caught:
            plugin.create(THING, {**base, "mood": "fails", "password": SECRET})
        assert str(caught.value) == "no room for [secret]\nin two lines"
        assert caught.value.init is None

    def test_a_bug_in_the_plugin_is_one_message_too(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError) as caught:
            plugin.create(THING, {**base, "mood": "bug", "password": SECRET})
        assert str(caught.value) == "KeyError: '[secret]'"
        [trace] = [log for log in plugin.logs if "Traceback" in log.message]
        assert trace.severity == 0  # debug: for those who ask with --debug
        assert SECRET not in trace.message

    def test_a_value_of_an_unknown_kind_is_one_message(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        # The protocol's mark of a secret, an asset and so on, here with an unknown kind.
        kind = {"4dabf18193072939515e22adb298388d": "of no kind"}
        with pytest.raises(PluginError, match=r"^ValueError: Unknown signature key") as caught:
            plugin.check(THING, {**base, "extra": kind})
        assert "Traceback" not in str(caught.value)

    def test_a_created_resource_that_failed_is_kept(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError) as caught:
            plugin.create(THING, {**base, "mood": "half", "password": SECRET})
        init = caught.value.init
        assert (init.id, list(init.reasons)) == ("it", ["made, but not well"])
        outputs = plain(init.properties)
        assert outputs["password"] == Secret(SECRET)
        assert outputs["revision"] == 1

    def test_a_half_done_update_is_kept(self, plugin: Plugin, base: dict[str, Any]) -> None:
        made = plugin.create(THING, base)
        with pytest.raises(PluginError) as caught:
            plugin.update(made, {**base, "mood": "half"})
        assert caught.value.init.id == "it"
        assert caught.value.init.properties["revision"] == 2

    def test_log_lines_name_the_resource_and_no_secret(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        plugin.create(THING, {**base, "password": SECRET}, name="logged")
        [line] = [log for log in plugin.logs if log.urn == urn(THING, "logged")]
        assert (line.message, line.ephemeral) == ("writing [secret]", True)

    def test_operations_do_not_wait_for_one_another(
        self, own_plugin: Plugin, base: dict[str, Any]
    ) -> None:
        slow = [
            threading.Thread(
                target=pytest.raises,
                args=(
                    PluginError,
                    own_plugin.create,
                    THING,
                    {**base, "name": f"{number}"} | {"mood": "slow"},
                ),
            )
            for number in range(40)
        ]
        for thread in slow:
            thread.start()
        wait_until(lambda: len(list(Path(base["dir"]).iterdir())) == 40)
        assert own_plugin.create(THING, base).id == "it"
        own_plugin.cancel()
        for thread in slow:
            thread.join(10)
            assert not thread.is_alive()


class TestCancel:
    @pytest.mark.parametrize("mood", ["slow", "stuck"])
    def test_a_custom_timeout_ends_the_operation(
        self, plugin: Plugin, base: dict[str, Any], mood: str
    ) -> None:
        with pytest.raises(PluginError) as caught:
            plugin.create(THING, {**base, "mood": mood}, timeout=0.5)
        assert str(caught.value) == "not done within the 0.5 seconds of its custom timeout"
        assert plugin.create(THING, {**base, "mood": "good"}, timeout=600).id == "it"

    @pytest.mark.parametrize("mood", ["slow", "stuck"])
    def test_cancel_ends_running_work(
        self, own_plugin: Plugin, base: dict[str, Any], mood: str
    ) -> None:
        errors: list[str] = []

        def create() -> None:
            with pytest.raises(PluginError) as caught:
                own_plugin.create(THING, {**base, "mood": mood})
            errors.append(str(caught.value))

        thread = threading.Thread(target=create)
        thread.start()
        wait_until(own_plugin.messages)
        own_plugin.cancel()
        thread.join(10)
        assert errors == ["cancelled"]
        assert (Path(base["dir"]) / "stopped").exists() == (mood == "stuck")


class TestRead:
    def test_an_unchanged_resource_reads_as_it_is(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        made = plugin.create(THING, {**base, "password": SECRET})
        made.outputs["__pulumi_raw_state_delta"] = {"from": "the official plugin"}
        assert plugin.read(made) == made

    def test_a_drift_shows_in_outputs_and_inputs(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        inputs = {**base, "size": 3, "labels": {"a": Secret("bcdef")}}
        made = plugin.create(THING, inputs)
        path = Path(made.outputs["path"])
        path.write_text(json.dumps({**json.loads(path.read_text()), "size": 7}))
        drifted = plugin.read(made)
        assert drifted is not None
        assert (drifted.outputs["size"], drifted.inputs["size"]) == (7, 7)
        assert drifted.inputs["labels"] == {"a": Secret("bcdef")}
        assert drifted.inputs["__defaults"] == ["mood"]
        assert changed(plugin.diff(drifted, inputs)) == {"size": "UPDATE"}

    def test_a_missing_resource_has_no_id(self, plugin: Plugin, base: dict[str, Any]) -> None:
        made = plugin.create(THING, base)
        Path(made.outputs["path"]).unlink()
        assert plugin.read(made) is None

    def test_an_import_by_another_name_finds_the_id(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        made = plugin.create(THING, {**base, "name": "it"})
        imported = plugin.read(Resource(THING, "it", f"name:{made.outputs['path']}", {}, {}))
        assert imported is not None
        assert imported.id == made.outputs["path"]

    def test_an_import_finds_the_inputs_a_program_would_have(
        self, plugin: Plugin, base: dict[str, Any]
    ) -> None:
        made = plugin.create(THING, {**base, "size": 3, "labels": {}, "level": 5})
        imported = plugin.read(Resource(THING, "it", made.outputs["path"], {}, {}))
        assert imported is not None
        assert imported.inputs == {**base, "size": 3}
        assert changed(plugin.diff(imported, {**base, "size": 3})) == {}


class TestConfiguration:
    def test_values_arrive_typed(self) -> None:
        with running(
            "tests.plugins.sample_plugin", {"host": "here", "count": "3", "auth": '[{"user":"a"}]'}
        ) as p:
            assert json.loads(p.messages()[0]) == {
                "host": "here",
                "count": 3,
                "auth": [{"user": "a"}],
            }

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"colour": "red"}, "sample:colour is not a property; the properties are host, count"),
            ({"old": "x"}, "sample:old is not supported by this plugin"),
            ({"count": "many"}, "sample:count must be an integer, not a string"),
            ({"auth": "not json"}, "sample:auth must be a list, not a string"),
            ({"auth": "[{}]"}, r"sample:auth\[0\].user is required"),
        ],
    )
    def test_wrong_values_are_refused_by_key(self, config: dict[str, str], message: str) -> None:
        with (
            running("tests.plugins.sample_plugin") as plugin,
            pytest.raises(CheckError, match=message),
        ):
            plugin.configure(**config)

    def test_an_unreachable_engine_is_one_message(self) -> None:
        with running("tests.plugins.sample_plugin") as plugin, pytest.raises(PluginError) as caught:
            plugin.configure(host="nowhere")
        assert str(caught.value) == "no engine at nowhere"

    def test_a_change_updates_the_provider_and_replaces_nothing(self, plugin: Plugin) -> None:
        response = plugin.stub.DiffConfig(
            provider_pb2.DiffRequest(
                urn=urn("pulumi:providers:sample", "default"),
                olds=struct({"host": "a", "version": "1.2.3"}),
                news=struct({"host": "b", "version": "1.2.4"}),
            )
        )
        assert changed(response) == {"host": "UPDATE"}
        assert not response.replaces

    def test_functions_are_refused_by_name(self, plugin: Plugin) -> None:
        with pytest.raises(PluginError, match="no sample:index/getThing:getThing"):
            plugin.call("Invoke", provider_pb2.InvokeRequest(tok="sample:index/getThing:getThing"))


class TestSchema:
    def test_it_has_every_type_and_property(self, plugin: Plugin) -> None:
        schema = json.loads(plugin.stub.GetSchema(provider_pb2.GetSchemaRequest()).schema)
        assert (schema["name"], schema["version"]) == ("sample", "1.2.3")
        thing = schema["resources"][THING]
        assert thing["requiredInputs"] == ["dir"]
        assert thing["properties"]["token"] == {"type": "string", "secret": True}
        assert "path" not in thing["inputProperties"]
        assert not {"swap", "fingerprint"} & {*thing["properties"], *thing["inputProperties"]}
        ref = thing["inputProperties"]["ports"]["items"]["$ref"]
        assert schema["types"][ref.removeprefix("#/types/")]["required"] == ["internal"]


class TestProcess:
    def test_it_ends_with_the_process_that_started_it(self) -> None:
        script = (
            "import subprocess, sys\n"
            "command = [sys.executable, '-m', 'tests.plugins.sample_plugin']\n"
            "p = subprocess.Popen(command, stdout=-1)\n"
            "p.stdout.readline()\n"
            "print(p.pid)\n"
        )
        started = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **PYTHON_PATH},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        wait_until(lambda: not alive(int(started.stdout)))

    def test_the_version_is_the_one_the_engine_asks_for(self, plugin: Plugin) -> None:
        assert plugin.stub.GetPluginInfo(empty_pb2.Empty()).version == "1.2.3"
