"""Every command on README and in docs is one that the tools know: subcommands, options, settings.

And each is run as printed by some test, or excused here, with the reason.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache

import pytest

from components.settings.entries import SETTINGS
from tests.docs.commands import Claim, Shown, claims, runs, shown
from tests.toolchain.conftest import require_toolchain
from toolchain.engine import client
from toolchain.places import CLI, ROOT

pytestmark = pytest.mark.slow

SHOWN = shown()

#: Commands that no test runs as printed, and why.
EXCUSED = {
    Claim("README.md", "Tests", ()): "it is what runs this test",
    Claim(
        "docs/swarm.md", "Set it up", ("docker swarm init", "docker swarm join", "docker node")
    ): ("needs several machines; tests/engine/swarm/engines.py makes such a swarm"),
    Claim("docs/swarm.md", "Set it up", ("pulumi",)): (
        "needs several machines; tests/engine/swarm/conftest.py makes such a stack"
    ),
    Claim("docs/swarm.md", "When a machine is lost", ()): (
        "needs several machines; tests/engine/swarm cuts one off and drains one, and removes none"
    ),
    Claim("docs/homes.md", "Homes of a volume driver", ("pulumi up",)): (
        "needs an NFS server, and a kernel that mounts NFS;"
        " tests/engine/swarm/test_homes_driver.py makes such a stack with a shared folder"
    ),
    Claim("docs/benchmarks.md", "", ()): (
        "takes from half an hour to hours, and writes docs/benchmarks.json;"
        " tests/benchmarks has its options"
    ),
    Claim("docs/how-it-works.md", "Why these images build as they do", ()): (
        "needs a registry with Debian's image, and an image name that belongs to whoever works on"
        " the machine; tests/built.py builds the same Dockerfiles for every test of images"
    ),
}
KEYS = {setting.key for setting in SETTINGS}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def help_of(*command: str) -> str:
    """What a command says of itself; empty if there is no such command."""
    result = subprocess.run(
        [*command, "--help"],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout if result.returncode == 0 else ""


def options(words: list[str], help_text: str) -> list[str]:
    """Return the options among the words that the help does not list, up to another command's."""
    unknown = []
    for word in words:
        if word == "--":
            break
        name = word.partition("=")[0]
        if name.startswith("--") and not re.search(rf"{re.escape(name)}\b", help_text):
            unknown.append(name)
        elif re.fullmatch("-[A-Za-z]+", word):
            unknown += [f"-{one}" for one in word[1:] if f"-{one}, --" not in help_text]
    return unknown


def wrong(program: str, executable: str, words: list[str]) -> list[str]:
    """Return what the program does not know of a command's words."""
    path = [executable]
    if program == "docker" and words[:1] == ["-H"]:
        del words[:2]
    while words and re.fullmatch("[a-z][a-z-]+", words[0]):
        text = help_of(*path, words[0])
        by_name = f"{program} {' '.join([*path[1:], words[0]])}" in text
        if not by_name and not re.search(rf"Aliases:\n.*\b{words[0]}\b", text):
            break
        path.append(words.pop(0))
    if len(path) == 1:
        return [f"{program} {words[0]}"]
    if path[1] in {"run", "exec"}:
        # Behind the image or the container come another program's options.
        words = before_the_image(words)
    return options(words, help_of(*path))


def before_the_image(words: list[str]) -> list[str]:
    """Return the options of `docker run` or `exec`: all up to the first word that is no value."""
    taken: list[str] = []
    value = False
    for word in words:
        if word.startswith("-"):
            flags = {"--rm", "-i", "-t", "-it", "-d", "--read-only", "--init"}
            value = "=" not in word and word not in flags
        elif value:
            value = False
        else:
            break
        taken.append(word)
    return taken


def test_there_are_commands() -> None:
    assert len(SHOWN) > 80


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("pulumi up --refrsh", ["--refrsh"]),
        ("pulumi stck init", ["pulumi stck"]),
        ("pulumi config set -z a b", ["-z"]),
        ("docker ps --fliter x", ["--fliter"]),
        ("docker run --rm --foo image --bar", ["--foo"]),
    ],
)
def test_a_mistake_is_found(line: str, unknown: list[str]) -> None:
    require_toolchain()
    program, *words = line.split()
    executable = str(CLI / "pulumi") if program == "pulumi" else client()
    assert set(unknown) <= set(wrong(program, executable, words))


def test_each_is_run_by_a_test_or_excused() -> None:
    by_tests = claims()
    for claim in (*by_tests, *EXCUSED):
        assert any(claim.of(command) for command in SHOWN), f"nothing on the page is {claim}"
    run = {command for command in SHOWN if any(claim.of(command) for claim in by_tests)}
    excused = {command for command in SHOWN if any(claim.of(command) for claim in EXCUSED)}
    assert not run & excused, "excused, but run"
    missing = [str(command) for command in SHOWN if command not in run | excused]
    assert missing == [], "run it in a test, see tests/docs/commands.py, or excuse it above"


def test_a_command_that_is_not_on_the_page_cannot_be_run() -> None:
    assert len(runs("docs/operations.md", "Look")) == 2
    assert len(runs("docs/operations.md", "Look", "docker logs")) == 2
    with pytest.raises(ValueError, match="no command begins with docker restart"):
        runs("docs/operations.md", "Look", "docker restart")


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_a_shell_takes_it(command: Shown) -> None:
    text = re.sub(r"<([a-z]+)>", r"\1", command.text.partition("<<")[0])
    if re.search(r"\bdo\b", text) and "done" not in text:
        text += " :; done"
    subprocess.run(["bash", "-n", "-c", text], check=True)


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_the_tools_know_it(command: Shown) -> None:
    require_toolchain()
    docker = client()
    for program, *words in command.words():
        if program == "make":
            goals = [word for word in words if "=" not in word and not word.startswith("-")]
            assert set(goals) <= TARGETS, command
        elif program == "pulumi":
            assert wrong("pulumi", str(CLI / "pulumi"), list(words)) == [], command
            if words[:2] == ["config", "set"]:
                [key, *_] = [word for word in words[2:] if not word.startswith("-")]
                assert key.partition("[")[0] in KEYS, command
        elif program == "docker":
            assert wrong("docker", docker, list(words)) == [], command
