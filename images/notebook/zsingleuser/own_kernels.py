"""Kernels that users install in their homes: what is used of a kernel.json.

They run as the user, like all kernels, and know nothing that a kernel of the image does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

FOLDERS = (".local/share/jupyter/kernels", ".ipython/kernels")
"""Where `ipykernel install --user` and others put kernels, in the home; the first one counts."""

SECRETS = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")
"""Variables that kernels of the home do not get: those with the server's token for the hub."""

NOWHERE = "/nonexistent"
"""A folder that no user can make; Debian's policy keeps the name free."""

PROGRAMS = "${PATH}:${HOME}/.local/bin"
"""PATH of all kernels: the user's own programs come last, so that they replace none of the image.

The server itself does not look there: what it runs has its environment.
"""


def folders(home: Path) -> dict[str, Path]:
    """Return the folders of the kernels in a home, by the kernels' names."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for file in sorted(home.glob(f"{folder}/*/kernel.json")):
            # Not a pipe or a device, which the server would wait for, and answer nobody.
            if file.is_file():
                found.setdefault(file.parent.name.lower(), file.parent)
    return found


def of_home(kernel: Any, folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what is used of a kernel.json in a home, as arguments of a KernelSpec.

    Not what would load or run something in the server, or in browsers: a provisioner, or files
    beside kernel.json.

    Args:
        kernel: the file's content.
        folder: its folder, which the command may name.
        environment: the server's.

    Raises:
        ValueError: when something is of the wrong type.
    """
    if not isinstance(kernel, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a wrong value in a user's file
    argv, env, metadata = (kernel.get(key) or {} for key in ("argv", "env", "metadata"))
    if not isinstance(argv, list) or not all(isinstance(part, str) for part in argv):
        raise ValueError("argv is not a list of texts")
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise ValueError("env is not an object of texts")
    debugger = isinstance(metadata, dict) and metadata.get("debugger") is True
    known = {name: value for name, value in environment.items() if name not in SECRETS}
    own = {name: Template(value).safe_substitute(known) for name, value in env.items()}
    # Jupyter substitutes again, from all of the server's variables.
    own = {name: value.replace("$", "$$") for name, value in own.items()}
    return {
        "argv": [part.replace("{resource_dir}", str(folder)) for part in argv],
        # Jupyter serves the files of this folder to browsers, and of the home if it is empty.
        "resource_dir": NOWHERE,
        "display_name": str(kernel.get("display_name") or "a kernel without a name"),
        "language": str(kernel.get("language") or ""),
        "interrupt_mode": "message" if kernel.get("interrupt_mode") == "message" else "signal",
        "metadata": {"debugger": debugger},
        "env": {"PATH": PROGRAMS, **own, **dict.fromkeys(SECRETS, "")},
    }
