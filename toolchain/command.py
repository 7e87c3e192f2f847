"""What `.toolchain/bin/pulumi` runs: the CLI, with the passphrase that this clone keeps of a stack.

Pulumi would ask for it, and on a machine without a terminal it would fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import stack
from toolchain.places import CLI, PULUMI_HOME, ROOT

#: How a command may name its stack, other than by `pulumi stack select`.
OPTIONS = ("--stack", "-s")


def is_here(folder: Path) -> bool:
    """Whether the project that Pulumi would find from this folder is this clone's."""
    for parent in (folder, *folder.parents):
        if (parent / "Pulumi.yaml").exists():
            return parent == ROOT
    return False


def named(arguments: Sequence[str]) -> str | None:
    """The stack that a command names by itself."""
    for option, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if option in OPTIONS:
            return value
        if option.startswith("--stack="):
            return option.partition("=")[2]
    return os.environ.get("PULUMI_STACK")


def selected() -> str | None:
    """The stack that `pulumi stack select` chose in this clone, for the backend in use."""
    project = hashlib.sha1(bytes(ROOT / "Pulumi.yaml"), usedforsecurity=False).hexdigest()
    file = PULUMI_HOME / "workspaces" / f"{stack.PROJECT}-{project}-workspace.json"
    if not file.exists():
        return None
    chosen = json.loads(file.read_text()).get("stacks", {})
    name: str | None = chosen.get(os.environ.get("PULUMI_BACKEND_URL"))
    return name


def environment(arguments: Sequence[str]) -> dict[str, str]:
    """The environment of a command, with the passphrase of the stack it means, where known."""
    variables: dict[str, str | None] = dict(os.environ)
    name = (named(arguments) or selected()) if is_here(Path.cwd()) else None
    if name:
        variables |= stack.passphrase(name.rpartition("/")[2], make=False)
    return {name: value for name, value in variables.items() if value is not None}


def main() -> None:
    """Entry point: becomes the CLI."""
    arguments = sys.argv[1:]
    os.execve(CLI / "pulumi", ["pulumi", *arguments], environment(arguments))  # noqa: S606


if __name__ == "__main__":
    main()
