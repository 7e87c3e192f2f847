"""The commands that README and docs show: all of them, and those of a section as a script."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from toolchain.places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: What a shell puts between two commands of one line, and words before a command.
SEPARATORS = {"|", "||", "&&", ";", "do", "done", "then", "fi"}

BLOCKS = re.MULTILINE | re.DOTALL


@dataclass(frozen=True)
class Shown:
    """One command of a page: all its lines, without the prompt."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0][:60]}"

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
        Shown(page.name, command.strip())
        for page in PAGES
        for block in re.findall(r"^ *```console\n(.*?)^ *```$", page.read_text(), BLOCKS)
        for command in re.findall(r"^ *\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)
    ]


def section(page: str, title: str) -> str:
    """Return the text of a section; `page` is relative to the project.

    Raises:
        ValueError: when the page has no such section.
    """
    text = (ROOT / page).read_text()
    _, found, rest = text.partition(f"\n## {title}\n")
    if not found:
        raise ValueError(f"{page} has no section {title}")
    return rest.partition("\n## ")[0]


def blocks(text: str) -> list[str]:
    """Return the commands of each console block, with the lines that go on below a `$`."""
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
