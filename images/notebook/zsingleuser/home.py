"""What a server makes in its user's home before any kernel starts."""

from __future__ import annotations

import site
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

SHARED = Path("/shared")
"""Where servers have folders that several users share. Not in the home: a user could change the
path there, which the engine follows when it mounts them."""

PROFILE = ".ipython/profile_default"
"""What kernels with IPython make in the home, and write to when they start."""

SPARE = "/dev/shm/ipython"  # noqa: S108 - the server's own
"""Instead of `~/.ipython`, in memory."""

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


def ipython(home: Path) -> dict[str, str]:
    """Return variables for a kernel that is about to start, so that IPython can write its profile.

    Where it cannot, it ends, or moves the user's history away and begins an empty one. But users
    whose home or the engine's disk is full need kernels as well, at least to clean up.
    """
    profile = home / PROFILE
    try:
        profile.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=profile, buffering=0) as file:
            file.write(bytes(4096))
    except OSError:
        return {"IPYTHONDIR": SPARE}
    return {}


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
