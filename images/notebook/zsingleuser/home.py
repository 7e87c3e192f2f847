"""What a server makes in its user's home before any kernel starts."""

from __future__ import annotations

import site
from contextlib import suppress
from pathlib import Path

SHARED = Path("/shared")
"""Where servers have folders that several users share. Not in the home: a user could change the
path there, which the engine follows when it mounts them."""

NAME = "shared"
"""Of the link in the home, by which JupyterLab's file browser finds them."""


def prepare() -> None:
    """Make the folder of packages that users install.

    Python searches only folders that exist when it starts: without this, the first package that
    somebody installs could not be imported until the kernel is restarted. A home in which nothing
    can be written is no reason not to start.
    """
    with suppress(OSError):
        Path(site.getusersitepackages()).mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        link_shared(Path.home())


def link_shared(home: Path, shared: Path = SHARED) -> None:
    """Make a link to the shared folders, or remove it where there are none.

    What a user has under that name stays.
    """
    link = home / NAME
    ours = link.is_symlink() and link.readlink() == shared
    if shared.is_dir() and not ours and not link.is_symlink() and not link.exists():
        link.symlink_to(shared)
    elif ours and not shared.is_dir():
        link.unlink()
