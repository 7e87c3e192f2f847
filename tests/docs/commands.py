"""The commands of a section of the docs, as an operator types them."""

from __future__ import annotations

import re
from pathlib import Path

from toolchain.places import ROOT


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
