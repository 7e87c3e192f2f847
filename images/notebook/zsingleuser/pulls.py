"""Keeps links that open a repository (nbgitpuller) out of folders that several users share.

The extension runs git in a folder that the link names. git runs programs that the configuration of
a repository names, and whoever may write to a shared folder could put one there, and then send
another member a link to it: the program would have that member's hub token.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def refuse_outside(folder: str, home: Path) -> None:
    """Make sure that a folder, wherever links lead, is in a home.

    Raises:
        PermissionError: it is elsewhere.
    """
    if not Path(folder).resolve().is_relative_to(home.resolve()):
        raise PermissionError(
            f"{folder} is not in your home: a link opens repositories there only. To use one in a"
            " shared folder, run git in a terminal"
        )


def install(home: Path) -> None:
    """Make the extension refuse other folders; before it is loaded."""
    puller: Any = import_module("nbgitpuller.pull").GitPuller
    make = puller.__init__

    def make_in_home(self: Any, git_url: str, repo_dir: str, **options: Any) -> None:
        refuse_outside(repo_dir, home)
        make(self, git_url, repo_dir, **options)

    puller.__init__ = make_in_home
