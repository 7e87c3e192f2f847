"""The checkout that images are built from: file modes are the same for everybody."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pulumi

IMAGES = Path(__file__).parents[1] / "images"

#: Belongs to no image, and was often made by another user.
LEFT_OUT = {"__pycache__"}

FIX = "chmod -R u=rwX,go=rX images"


def settle_modes(folder: Path = IMAGES) -> None:
    """Give files the modes that git knows, 644 and 755, whatever the umask of the checkout was.

    The digest of an image counts all mode bits of its files (`hashContext` in provider/provider.go
    of pulumi/pulumi-docker), and the image itself has them. Git keeps only whether a file can be
    executed. Without this, a clone made with umask 002 would rebuild all images and replace the
    hub, and with umask 077 nobody in a container could read the files. The modes of directories do
    not count; others only must be able to read them.

    Logs what was changed; where that is not possible, warns with the command that does it.
    """
    changed = 0
    problem = ""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for path in (Path(place), *(Path(place, name) for name in files)):
            found = path.lstat().st_mode
            mode, wanted = stat.S_IMODE(found), _usual(found)
            if wanted == mode:
                continue
            name = path.relative_to(folder.parent)
            try:
                path.chmod(wanted)
            except OSError as error:
                problem = f"{name} has mode {mode:o} instead of {wanted:o} ({error.strerror})"
                continue
            if stat.S_IMODE(path.stat().st_mode) == wanted:
                changed += 1
            else:
                problem = f"{name} has mode {mode:o} instead of {wanted:o} (the file system's own)"
    if changed:
        pulumi.log.info(f"{folder.name}/: set the modes of {changed} files to what git knows")
    if problem:
        pulumi.log.warn(
            f"{problem}: images differ by the modes of their files, so this checkout builds others"
            f" than the next one. As the owner of the files: {FIX}. Or take a clone of your own"
        )


def _usual(found: int) -> int:
    """The mode that a file should have; a link has none of its own.

    Args:
        found: `st_mode` of the file itself.
    """
    mode = stat.S_IMODE(found)
    if stat.S_ISLNK(found):
        return mode
    if stat.S_ISDIR(found):
        return mode | 0o055
    return 0o755 if mode & stat.S_IXUSR else 0o644
