"""The `command` plugin against the behaviour of the official one, with real commands."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.values import UNKNOWN, Secret
from tests.plugins.plugin_driver import (
    CheckError,
    Plugin,
    PluginError,
    Resource,
    alive,
    changed,
    running,
    wait_until,
)

pytestmark = pytest.mark.slow

COMMAND = "command:local:Command"
SECRET = "correct horse battery"


@pytest.fixture(scope="module")
def command() -> Iterator[Plugin]:
    with running("plugins.command", {}, {"OUTSIDE": "from outside"}) as plugin:
        yield plugin


@pytest.fixture
def own_command() -> Iterator[Plugin]:
    """A separate plugin, for tests that end it or read its log."""
    with running("plugins.command", {}) as plugin:
        yield plugin


class TestLife:
    def test_create_update_delete(self, command: Plugin, tmp_path: Path) -> None:
        log = tmp_path / "log"
        inputs = {
            "create": f"echo created >> {log}; echo out; echo err >&2",
            "update": f"echo updated >> {log}; echo newer",
            "delete": f"echo deleted >> {log}",
        }
        made = command.create(COMMAND, inputs, name="job")
        assert re.fullmatch("job[0-9a-f]{8}", made.id)
        assert made.outputs == {**inputs, "stdout": "out", "stderr": "err"}
        updated = command.update(made, {**inputs, "environment": {"A": "b"}})
        assert (updated.outputs["stdout"], updated.outputs["stderr"]) == ("newer", "")
        command.delete(updated)
        assert log.read_text().split() == ["created", "updated", "deleted"]

    def test_two_commands_have_different_ids(self, command: Plugin) -> None:
        assert command.create(COMMAND, {}).id != command.create(COMMAND, {}).id

    def test_an_update_without_its_own_command_runs_create(
        self, command: Plugin, tmp_path: Path
    ) -> None:
        log = tmp_path / "log"
        inputs = {"create": f"echo $A >> {log}", "environment": {"A": "1"}}
        made = command.create(COMMAND, inputs)
        command.update(made, {**inputs, "environment": {"A": "2"}})
        assert log.read_text().split() == ["1", "2"]

    def test_without_commands_nothing_runs(self, command: Plugin) -> None:
        made = command.create(COMMAND, {"delete": "true"})
        assert made.outputs == {"delete": "true", "stdout": "", "stderr": ""}
        updated = command.update(
            Resource(COMMAND, "it", made.id, made.inputs, {**made.outputs, "stdout": "before"}),
            {"delete": "false"},
        )
        assert updated.outputs["stdout"] == "before"

    def test_delete_runs_as_the_state_says(self, command: Plugin, tmp_path: Path) -> None:
        log = tmp_path / "log"
        made = command.create(
            COMMAND,
            {
                "create": "echo made",
                "delete": "cat > log; echo $WHO $PULUMI_COMMAND_STDOUT >> log",
                "environment": {"WHO": Secret("alice")},
                "stdin": "stdin ",
                "dir": str(tmp_path),
            },
        )
        command.delete(made)
        assert log.read_text() == "stdin alice made\n"

    def test_a_preview_runs_nothing(self, command: Plugin, tmp_path: Path) -> None:
        inputs = {"create": f"touch {tmp_path}/made", "environment": {"A": UNKNOWN}}
        previewed = command.create(COMMAND, inputs, preview=True)
        assert previewed.outputs == {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        made = command.create(COMMAND, {"create": "echo out"})
        previewed = command.update(made, inputs, preview=True)
        assert previewed.outputs == {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        assert not list(tmp_path.iterdir())

    def test_a_refresh_changes_nothing(self, command: Plugin) -> None:
        made = command.create(COMMAND, {"create": "echo out", "triggers": [1, "a"]})
        made.outputs["assets"] = {}  # what the official plugin may have put there
        assert command.read(made) == made


class TestRunning:
    def test_environment_is_added_to_the_plugins(self, command: Plugin) -> None:
        inputs = {"create": "echo $OUTSIDE, $A, $HOME", "environment": {"A": "b", "HOME": "/x"}}
        assert command.create(COMMAND, inputs).outputs["stdout"] == "from outside, b, /x"

    def test_previous_output_is_in_the_environment(self, command: Plugin) -> None:
        show = 'echo "[${PULUMI_COMMAND_STDOUT-unset}|${PULUMI_COMMAND_STDERR-unset}]"'
        inputs = {"create": f"{show}; echo err >&2", "update": show}
        made = command.create(COMMAND, inputs)
        assert made.outputs["stdout"] == "[unset|unset]"
        updated = command.update(made, {**inputs, "stdin": "x"})
        assert updated.outputs["stdout"] == "[[unset|unset]|err]"
        off = command.update(made, {**inputs, "addPreviousOutputInEnv": False})
        assert off.outputs["stdout"] == "[unset|unset]"

    def test_stdin_dir_and_interpreter(self, command: Plugin, tmp_path: Path) -> None:
        made = command.create(
            COMMAND,
            {
                "create": "import os, sys; print(os.getcwd(), sys.stdin.read(), end='')",
                "interpreter": ["python3", "-c"],
                "stdin": "one\ntwo",
                "dir": str(tmp_path),
            },
        )
        assert made.outputs["stdout"] == f"{tmp_path} one\ntwo"

    def test_without_stdin_there_is_nothing_to_read(self, command: Plugin) -> None:
        assert command.create(COMMAND, {"create": "cat; echo done"}).outputs["stdout"] == "done"

    def test_stdin_may_go_unread(self, command: Plugin) -> None:
        made = command.create(COMMAND, {"create": "echo done", "stdin": "x" * 1_000_000})
        assert made.outputs["stdout"] == "done"

    def test_one_newline_at_the_end_is_removed(self, command: Plugin) -> None:
        made = command.create(COMMAND, {"create": r"printf 'a\n\n'; printf 'b' >&2"})
        assert (made.outputs["stdout"], made.outputs["stderr"]) == ("a\n", "b")

    def test_much_output_does_not_block(self, command: Plugin) -> None:
        script = "yes line | head -c 500000 | tee /dev/stderr"
        made = command.create(COMMAND, {"create": script, "logging": "none"})
        assert len(made.outputs["stdout"]) == len(made.outputs["stderr"]) == 499_999

    def test_output_that_is_not_utf8_is_kept_with_replacements(self, command: Plugin) -> None:
        made = command.create(COMMAND, {"create": r"printf 'a\377b'"})
        assert made.outputs["stdout"] == "a�b"

    @pytest.mark.parametrize(
        ("logging", "expected"),
        [
            (None, {"out", "err"}),
            ("stdoutAndStderr", {"out", "err"}),
            ("stdout", {"out"}),
            ("stderr", {"err"}),
            ("none", set()),
        ],
    )
    def test_lines_show_while_it_runs_as_logging_says(
        self, own_command: Plugin, logging: str | None, expected: set[str]
    ) -> None:
        made = own_command.create(
            COMMAND, {"create": "echo out; echo err >&2", "logging": logging}, name="logged"
        )
        assert {log.message for log in own_command.logs} == expected
        assert all(log.ephemeral and log.urn.endswith("::logged") for log in own_command.logs)
        assert (made.outputs["stdout"], made.outputs["stderr"]) == ("out", "err")

    def test_a_line_shows_before_the_end(self, own_command: Plugin, tmp_path: Path) -> None:
        inputs = {"create": f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"}
        thread = threading.Thread(target=own_command.create, args=(COMMAND, inputs))
        thread.start()
        wait_until(lambda: "first" in own_command.messages())
        (tmp_path / "go").touch()
        thread.join(10)

    def test_commands_run_in_parallel(self, command: Plugin, tmp_path: Path) -> None:
        # Each command waits for the other; one after the other, they would never end.
        def meet(mine: str, other: str) -> None:
            wait = f"touch {mine}; until [ -e {other} ]; do sleep 0.05; done"
            command.create(COMMAND, {"create": wait, "dir": str(tmp_path)})

        pair = [
            threading.Thread(target=meet, args=names, daemon=True)
            for names in (("a", "b"), ("b", "a"))
        ]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join(20)
            assert not thread.is_alive()


class TestDiff:
    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ({}, {}, {}),
            ({}, {"create": "false"}, {"create": "UPDATE"}),
            ({}, {"update": "true"}, {"update": "ADD"}),
            ({"delete": "true"}, {}, {"delete": "DELETE"}),
            ({"environment": {"A": "1"}}, {"environment": {"A": "2"}}, {"environment.A": "UPDATE"}),
            ({"environment": {"A": "1"}}, {"environment": UNKNOWN}, {"environment": "UPDATE"}),
            ({"interpreter": ["echo"]}, {"interpreter": ["printf"]}, {"interpreter[0]": "UPDATE"}),
            ({}, {"stdin": "x"}, {"stdin": "ADD"}),
            ({}, {"dir": "/"}, {"dir": "ADD"}),
            ({}, {"logging": "none"}, {"logging": "ADD"}),
            ({}, {"triggers": [1]}, {"triggers": "ADD_REPLACE"}),
            ({"triggers": [1]}, {}, {"triggers": "DELETE_REPLACE"}),
            ({"triggers": [1]}, {"triggers": [1, 2]}, {"triggers[1]": "ADD_REPLACE"}),
            ({"triggers": [{"a": [1]}]}, {"triggers": [{"a": [2]}]},
             {"triggers[0]": "UPDATE_REPLACE"}),
            ({"triggers": ["a"]}, {"triggers": ["a"]}, {}),
            ({"triggers": ["a"]}, {"triggers": [Secret("a")]}, {"triggers": "UPDATE_REPLACE"}),
            ({"stdin": Secret("a")}, {"stdin": "a"}, {"stdin": "UPDATE"}),
            ({"environment": {"A": Secret("a"), "B": "b"}},
             {"environment": {"A": "a", "B": Secret("b")}}, {"environment": "UPDATE"}),
            ({"stdin": Secret("a")}, {"stdin": Secret("a")}, {}),
            ({"triggers": ["a"]}, {"triggers": [UNKNOWN]}, {"triggers[0]": "UPDATE_REPLACE"}),
        ],
        ids=repr,
    )  # fmt: skip
    def test_triggers_replace_and_all_else_updates(
        self, command: Plugin, old: dict[str, Any], new: dict[str, Any], expected: dict[str, str]
    ) -> None:
        made = command.create(COMMAND, {"create": "true", **old})
        response = command.diff(made, {"create": "true", **new})
        assert changed(response) == expected
        # The new one is created first, unless the program says `delete_before_replace`.
        assert not response.deleteBeforeReplace

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"assetPaths": ["*"]}, "assetPaths is not supported by this plugin"),
            ({"archivePaths": ["*"]}, "archivePaths is not supported by this plugin"),
            ({"logging": "all"}, "logging must be one of stdout, stderr, stdoutAndStderr, none"),
            ({"create": ["true"]}, "create must be a string, not a list"),
            ({"environment": {"A": 1}}, "environment.A must be a string, not a number"),
            ({"addPreviousOutputInEnv": "true"}, "must be a boolean, not a string"),
            ({"connection": {}}, "connection is not a property; the properties are create, upd"),
            ({"stdout": "x"}, "stdout is an output and cannot be set"),
        ],
    )
    def test_wrong_inputs_are_refused(
        self, command: Plugin, inputs: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(CheckError, match=message):
            command.check(COMMAND, inputs)

    @pytest.mark.parametrize("token", ["command:remote:Command", "command:remote:CopyToRemote"])
    def test_other_types_are_refused_by_name(self, command: Plugin, token: str) -> None:
        with pytest.raises(PluginError, match=f"no {token}"):
            command.check(token, {})


class TestFailure:
    def test_the_message_has_code_command_and_output(self, command: Plugin) -> None:
        script = 'echo "one"; echo two >&2; exit 3'
        with pytest.raises(PluginError) as caught:
            command.create(COMMAND, {"create": script})
        head, *output = str(caught.value).splitlines()
        assert head == 'exit status 3: running "echo \\"one\\"; echo two >&2; exit 3":'
        assert sorted(output) == ["one", "two"]
        assert caught.value.init is None  # nothing was made, so there is no state to keep

    def test_a_command_that_was_killed_says_so(self, command: Plugin) -> None:
        with pytest.raises(PluginError, match=r"^signal: SIGKILL: running"):
            command.create(COMMAND, {"create": "kill -9 $$"})

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"dir": "/nowhere"}, '/nowhere: No such file or directory: running "true"'),
            ({"interpreter": ["/no/shell"]}, "/no/shell: No such file or directory: running"),
            ({"environment": {"A": "a\0b"}}, "embedded null byte: running"),
        ],
    )
    def test_a_command_that_cannot_start_is_one_message(
        self, command: Plugin, inputs: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(PluginError) as caught:
            command.create(COMMAND, {"create": "true", **inputs})
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_custom_timeout_ends_the_process_group(self, command: Plugin, tmp_path: Path) -> None:
        script = "sleep 600 & echo $! > child; wait"
        with pytest.raises(PluginError, match=r"^not done within the 0.5 seconds of its custom"):
            command.create(COMMAND, {"create": script, "dir": str(tmp_path)}, timeout=0.5)
        wait_until(lambda: not alive(int((tmp_path / "child").read_text())))

    def test_a_failing_delete_keeps_the_resource(self, command: Plugin) -> None:
        made = command.create(COMMAND, {"delete": "exit 1"})
        with pytest.raises(PluginError, match="exit status 1"):
            command.delete(made)

    @pytest.mark.parametrize("show", ["echo $PASSWORD", "echo $PASSWORD >&2", "cat"])
    def test_no_secret_gets_into_message_or_log(self, own_command: Plugin, show: str) -> None:
        inputs = {
            "environment": {"PASSWORD": Secret(SECRET)},
            "stdin": Secret(f"user: alice\n{SECRET}\n"),
        }
        with pytest.raises(PluginError) as caught:
            own_command.create(COMMAND, {**inputs, "create": f"{show}; exit 1"})
        assert "[secret]" in str(caught.value)
        assert SECRET not in str(caught.value)
        made = own_command.create(COMMAND, {**inputs, "create": show})
        assert SECRET in made.outputs["stdout"] + made.outputs["stderr"]
        assert "[secret]" in own_command.messages()
        assert not any(SECRET in message for message in own_command.messages())

    def test_secrets_stay_secret_in_the_state(self, command: Plugin) -> None:
        made = command.create(
            COMMAND,
            {
                "create": Secret("echo $PASSWORD"),
                "environment": {"PASSWORD": Secret(SECRET), "A": "b"},
                "triggers": [Secret("a"), "b"],
            },
        )
        assert made.outputs["create"] == Secret("echo $PASSWORD")
        assert made.outputs["environment"] == {"PASSWORD": Secret(SECRET), "A": "b"}
        assert made.outputs["triggers"] == made.inputs["triggers"] == [Secret("a"), "b"]
        # As in the official plugin: the program must mark a command's output as secret.
        assert made.outputs["stdout"] == SECRET


class TestCancel:
    def run(self, plugin: Plugin, inputs: dict[str, Any], end: Callable[[], None]) -> str:
        """Start the command, call `end` once it runs; return the error."""
        errors: list[str] = []

        def create() -> None:
            with pytest.raises(PluginError) as caught:
                plugin.create(COMMAND, inputs)
            errors.append(str(caught.value))

        thread = threading.Thread(target=create)
        thread.start()
        wait_until(lambda: "running" in plugin.messages())
        end()
        thread.join(20)
        assert len(errors) == 1
        return errors[0]

    def test_it_ends_the_whole_process_group(self, own_command: Plugin, tmp_path: Path) -> None:
        script = (
            "sleep 600 & echo $! > child; trap 'echo bye > ended; exit 1' TERM; echo running; wait"
        )
        error = self.run(own_command, {"create": script, "dir": str(tmp_path)}, own_command.cancel)
        assert error == "cancelled"
        assert (tmp_path / "ended").read_text() == "bye\n"  # it was asked before it was made to
        wait_until(lambda: not alive(int((tmp_path / "child").read_text())))

    @pytest.mark.slow
    def test_a_command_that_does_not_end_is_killed(
        self, own_command: Plugin, tmp_path: Path
    ) -> None:
        script = "trap '' TERM; echo $$ > pid; echo running; while :; do sleep 1; done"
        self.run(own_command, {"create": script, "dir": str(tmp_path)}, own_command.cancel)
        wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))

    def test_the_end_of_the_plugin_ends_the_command(
        self, own_command: Plugin, tmp_path: Path
    ) -> None:
        script = "echo $$ > pid; echo running; exec sleep 600"
        self.run(
            own_command,
            {"create": script, "dir": str(tmp_path)},
            own_command.end,
        )
        wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))
