"""What a server makes in its user's home before any kernel starts."""

from __future__ import annotations

import site
from contextlib import suppress
from pathlib import Path


def prepare() -> None:
    """Make the folder of packages that users install.

    Python searches only folders that exist when it starts: without this, the first package that
    somebody installs could not be imported until the kernel is restarted. A home in which nothing
    can be written is no reason not to start.
    """
    with suppress(OSError):
        Path(site.getusersitepackages()).mkdir(parents=True, exist_ok=True)
