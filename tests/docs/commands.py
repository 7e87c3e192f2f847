"""The commands that README and docs show, and which of them a test runs as printed."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from toolchain.places import ROOT

PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]

#: What a shell puts between two commands of one line, and words before a command.
SEPARATORS = {"|", "||", "&&", ";", "do", "done", "then", "fi"}

BLOCKS = re.MULTILINE | re.DOTALL


@dataclass(frozen=True)
class Shown:
    """One command of a page: all its lines, without the prompt."""

    page: str
    """Relative to the project."""
    section: str
    """Its title; empty above the first one."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}, {self.section}: {self.text.splitlines()[0][:60]}"

    def words(self) -> list[list[str]]:
        """The simple commands in it, each as words; placeholders in angle brackets stay."""
        text = re.sub(r"<([a-z]+)>", r"\1", self.text).replace("\\\n", " ")
        # What a command substitution runs counts as a command of its own.
        text = re.sub(r'"?\$\(([^()]*)\)"?', r"VALUE ; \1 ;", text.partition("<<")[0])
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        commands: list[list[str]] = [[]]
        for word in lexer:
            if word in SEPARATORS:
                commands.append([])
            else:
                commands[-1].append(word)
        return [command for command in commands if command]


def shown() -> list[Shown]:
    """All commands after a prompt in the console blocks of all pages."""
    return [
        Shown(page, title, command.strip())
        for page in PAGES
        for title, text in sections(page).items()
        for block in re.findall(r"^ *```console\n(.*?)^ *```$", text, BLOCKS)
        for command in _each(block)
    ]


def _each(block: str) -> list[str]:
    """The commands of a block, each with its other lines and, if it has one, its here-document."""
    found = re.finditer(
        r"^ *\$ ((?:.*\\\n)*.*?(?:<<([A-Z]+)\n(?:.*\n)*? *\2)?)$", block, re.MULTILINE
    )
    return [command[1] for command in found]


def sections(page: str) -> dict[str, str]:
    """The sections of a page by their titles; what is above the first one has an empty title."""
    top, *parts = re.split(r"^## (.*)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    return {"": top, **dict(zip(parts[::2], parts[1::2], strict=True))}


@dataclass(frozen=True)
class Claim:
    """What a test says it runs: a section's commands, or those that begin with one of `starts`."""

    page: str
    section: str
    starts: tuple[str, ...]

    def of(self, command: Shown) -> bool:
        """Whether the command is among them."""
        there = (command.page, command.section) == (self.page, self.section)
        return there and command.text.startswith(self.starts or "")


def runs(page: str, section: str, *starts: str) -> list[str]:
    """Return commands of a section for a test that runs them as printed.

    A call of this is how a test says so: `test_commands.py` looks for calls, so the arguments must
    be literals.

    Args:
        page: relative to the project.
        section: its title.
        starts: what the wanted commands begin with. Without, all: a script for each console block.

    Raises:
        KeyError: when the page has no such section.
        ValueError: when no command begins so.
    """
    if not starts:
        return blocks(sections(page)[section])
    there = [command.text for command in shown() if Claim(page, section, ()).of(command)]
    for start in starts:
        if not any(text.startswith(start) for text in there):
            raise ValueError(f"{page}, {section}: no command begins with {start}")
    return [text for text in there if text.startswith(starts)]


def claims() -> list[Claim]:
    """What the tests run, by their calls of `runs`; those of this folder run nothing."""
    found = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        if file.parent == Path(__file__).parent:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="runs"), args=args):
                    page, section, *starts = map(ast.literal_eval, args)
                    found.append(Claim(page, section, tuple(starts)))
    return found


def blocks(text: str) -> list[str]:
    """Return the commands of each console block, with the lines that go on below a `$`.

    Raises:
        ValueError: when a block shows what a command prints as well.
    """
    found = re.findall(r"^( *)```console\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return ["\n".join(_commands(block, len(indent))) for indent, block in found]


def _commands(block: str, indent: int) -> list[str]:
    lines = [line[indent:] for line in block.splitlines()]
    prompted = [line for line in lines if line.startswith("$ ")]
    continued = [line for line in lines if line.startswith("  ")]
    if len(prompted) + len(continued) != len(lines):
        raise ValueError(f"neither command nor the rest of one:\n{block}")
    return [line.removeprefix("$ ") for line in lines]


def as_typed(blocks: list[str], stack: str, config_file: Path) -> str:
    """Return a bash script of these commands for a stack whose stack file is elsewhere.

    It ends at the first command that fails, and answers Pulumi's questions with yes.
    """
    return f"""
set -e
pulumi() {{
    case "$1" in
        up | destroy) command pulumi "$@" --yes --stack {stack} --config-file '{config_file}' ;;
        config) command pulumi "$@" --stack {stack} --config-file '{config_file}' ;;
        *) command pulumi "$@" --stack {stack} ;;
    esac
}}
""" + "\n".join(blocks).replace("<stack>", stack)
