"""How Python's kernels are started: nothing that lies beside a notebook runs by opening it.

A kernel works in the folder of its notebook, and `python -m` looks for modules there first. In a
folder that several users share, a file ipykernel_launcher.py would run for all who open a notebook.
IPython adds the folder to the path itself, behind Python's own, for what cells import.
"""

from __future__ import annotations

from collections.abc import Sequence

MODULE = ("-m", "ipykernel_launcher")
"""The command's part by which kernel.json has it, those of the image and those that users make."""

CODE = (
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); sys.argv[0] = 'ipykernel_launcher';"
    " from ipykernel import kernelapp; kernelapp.launch_new_instance()"
)
"""What that module does, without looking for it in the folder."""


def command(argv: Sequence[str]) -> list[str]:
    """Return a kernel's command, such that it takes no module from the folder it starts in."""
    if tuple(argv[1:3]) != MODULE:
        return list(argv)
    return [argv[0], "-c", CODE, *argv[3:]]
