"""Which stack a command is about; the tables are compared with the real CLI's own help."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.toolchain.conftest import require_toolchain
from toolchain import arguments
from toolchain.places import CLI

pytestmark = pytest.mark.slow

Spec = dict[str, Any]

#: Options with a value that is never the next argument (pflag's NoOptDefVal).
OPTIONAL_VALUE = {"attach-debugger", "refresh", "suppress-permalink"}


@pytest.mark.parametrize(
    ("line", "stack"),
    [
        ("up", ""),
        ("preview --stack site", "site"),
        ("preview --stack=site", "site"),
        ("preview --stack=org/zhub/site", "org/zhub/site"),
        ("up -s site", "site"),
        ("up -ssite", "site"),
        ("up -s=site", "site"),
        ("up -yfs site", "site"),
        ("up -ysite", "ite"),
        ("--non-interactive up -y --stack site", "site"),
        ("-C /folder up -s site", "site"),
        ("up -m --stack=of-the-message --stack site", "site"),
        ("up --message -sother", ""),
        ("up --target-replace -sother -s site", "site"),
        ("up -c zhub:port=-s -s site", "site"),
        ("config set --secret key value --stack site", "site"),
        ("config set --stack site --path names[0] -- -sother", "site"),
        ("config --stack site", "site"),
        ("cancel site", "site"),
        ("cancel --yes site", "site"),
        ("stack -s site", "site"),
        ("stack init site", "site"),
        ("stack init --secrets-provider passphrase site", "site"),
        ("stack init --no-select -y site", "site"),
        ("stack init --stack site", "site"),
        ("stack --stack site init", "site"),
        ("stack create org/site", "org/site"),
        ("stack new site --copy-config-from dev", "site"),
        ("stack select site", "site"),
        ("stack select --create site", "site"),
        ("stack select -c site", "site"),
        ("stack select -cs site", "site"),
        ("stack rm --yes site", "site"),
        ("stack delete site", "site"),
        ("stack rename --stack site other", "site"),
        ("stack rename other", ""),
        ("stack change-secrets-provider passphrase", ""),
        ("stack export --file out.json -s site", "site"),
        ("stack export -f out.json -s site", "site"),
        ("stack output url -s site", "site"),
        ("stack migrate file://~ site", "site"),
        ("state delete urn -s site", "site"),
        ("version", ""),
        ("", ""),
    ],
)
def test_the_stack_of_a_command(line: str, stack: str) -> None:
    assert arguments.parse(line.split()).stack == stack


@pytest.mark.parametrize(
    ("line", "environment", "stack"),
    [
        ("up", {"PULUMI_OPTION_STACK": "site"}, "site"),
        ("stack init", {"PULUMI_OPTION_STACK": "site"}, "site"),
        ("up --stack other", {"PULUMI_OPTION_STACK": "site"}, "other"),
        ("up", {"PULUMI_OPTION_STACK": ""}, ""),
        ("up", {"PULUMI_STACK": "site"}, ""),
    ],
)
def test_an_option_may_be_a_variable(line: str, environment: dict[str, str], stack: str) -> None:
    """As the CLI takes them since 3.208."""
    assert arguments.parse(line.split(), environment).stack == stack


def test_every_option_may_be_a_variable() -> None:
    environment = {"PULUMI_OPTION_SECRETS_PROVIDER": "awskms://zhub", "PULUMI_OPTION_CWD": "/zhub"}
    assert arguments.parse(["stack", "init", "site"], environment).options == {
        "secrets-provider": "awskms://zhub",
        "cwd": "/zhub",
    }


@pytest.mark.parametrize(("value", "creates"), [("true", True), ("1", True), ("false", False)])
def test_a_switch_may_be_a_variable(value: str, *, creates: bool) -> None:
    line = ["stack", "select", "site"]
    assert arguments.parse(line, {"PULUMI_OPTION_CREATE": value}).creates == creates
    assert arguments.parse([*line, f"--create={value}"]).creates == creates


@pytest.mark.parametrize(
    ("line", "creates"),
    [
        ("stack init site", True),
        ("stack create site", True),
        ("stack select -c site", True),
        ("stack select site --create", True),
        ("stack select site", False),
        ("up -c key=value", False),
        ("config set create site", False),
    ],
)
def test_which_commands_create_a_stack(line: str, *, creates: bool) -> None:
    assert arguments.parse(line.split()).creates == creates


def test_a_second_stack_is_found() -> None:
    for line in (
        "config cp --dest b",
        "config copy -d b -s a",
        "stack init a --copy-config-from=b",
        "state move --source b",
    ):
        assert arguments.parse(line.split()).second == ["b"]


@pytest.fixture(scope="module")
def spec() -> Spec:
    require_toolchain()
    shown = subprocess.run(
        [CLI / "pulumi", "generate-cli-spec"], capture_output=True, text=True, check=True
    )
    found: Spec = json.loads(shown.stdout)
    return found


def commands(spec: Spec, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Spec]]:
    yield path, spec
    for name, command in spec.get("commands", {}).items():
        yield from commands(command, (*path, name))


def about_stacks(spec: Spec) -> Iterator[tuple[tuple[str, ...], Spec]]:
    """The commands that are about a stack, without the subcommands for Pulumi Cloud."""
    for path, command in commands(spec):
        if len(path) in (1, 2) and path[0] in {*arguments.WITH_SECRETS, "cancel"}:
            yield path, command


def test_every_command_that_takes_a_stack_as_a_word_is_known(spec: Spec) -> None:
    found = {
        path: place
        for path, command in commands(spec)
        for place, argument in enumerate(command.get("arguments", {}).get("arguments", []))
        if argument["name"] in {"stack", "stack-name"}
    }
    assert found == arguments.BY_WORD


def test_every_option_that_takes_a_value_is_known(spec: Spec) -> None:
    unknown = {
        (*path, option)
        for path, command in about_stacks(spec)
        for option, flag in command.get("flags", {}).items()
        if (flag["type"] != "boolean" and option not in OPTIONAL_VALUE)
        != arguments._takes_value(option, path[:2])
    }
    assert unknown == set()


def test_every_option_that_names_a_second_stack_is_known(spec: Spec) -> None:
    found = {
        path: option
        for path, command in about_stacks(spec)
        for option, flag in command.get("flags", {}).items()
        if option != "stack"
        and flag["type"] == "string"
        and re.search(
            r"\bstack to|name of the (new )?stack|destination stack|source stack",
            flag.get("description", ""),
        )
    }
    assert set(found) <= set(arguments.SECOND), found
    assert ("config", "copy") in found


def helped(path: tuple[str, ...]) -> str:
    return subprocess.run(
        [CLI / "pulumi", *path, "--help"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    "path",
    [
        *(("stack", verb) for verb in ("new", "select", "remove", "rename", "export", "import")),
        *(("config", verb) for verb in ("copy", "set", "remove")),
        *((verb,) for verb in ("cancel", "config", "destroy", "preview", "refresh", "stack", "up")),
    ],
)
def test_short_options_and_aliases_are_known(path: tuple[str, ...]) -> None:
    require_toolchain()
    text = helped(path)
    known = arguments.LETTERS | arguments.LETTERS_IN.get(path, {})
    for letter, name, kind in re.findall(r"^\s+-(\w), --([\w-]+)( \w+)?", text, re.MULTILINE):
        takes = bool(kind) and name not in OPTIONAL_VALUE
        assert known.get(letter) == (name if takes else None), (letter, name)
    if named := re.search(r"^Aliases:\n\s+(.*)$", text, re.MULTILINE):
        first, *others = named[1].split(", ")
        assert {arguments.ALIASES[other] for other in others} == {first}
