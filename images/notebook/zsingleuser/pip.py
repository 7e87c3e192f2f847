"""`pip` for users: pip itself, and a word on what only an administrator can do about its result.

The command is on PATH as `pip`, and `%pip` in notebooks, by the IPython extension in this module.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXTENSIONS = "share/jupyter/labextensions"
"""Front ends for JupyterLab's pages, below sys.prefix and other prefixes."""

HOME = ".local"
"""The prefix of what users install, in their homes."""

SHARED = (Path("/usr/local"), Path("/usr"), Path(sys.prefix))
"""Prefixes of what JupyterLab loads."""

UNBUILT = re.compile(
    "MetadataGenerationFailed|InstallationSubprocessError|Failed building wheel|Failed to build"
)
"""pip's words in its log when it could not build a package."""

NO_COMPILER = """\

A package could not be built: there is no ready-made one for this machine, and this image has no
compiler or not all that the package needs. Ask your administrator for it. Either Debian has it
(setting notebookPackages), or it can be built into the image (notebookRequirements). The word for
your administrator is in the documentation: docs/packages.md.
"""

NOT_LOADED = """\

{names}: this has a part for the pages of JupyterLab. JupyterLab loads such parts only from the
image, not from your home: a page's code could use your login. Ask your administrator to add the
package to the image (setting notebookRequirements, docs/packages.md).
"""


def front_ends(prefix: Path) -> set[str]:
    """Return the names of the front ends below a prefix."""
    folder = prefix / EXTENSIONS
    found = [*folder.glob("[!@]*/package.json"), *folder.glob("@*/*/package.json")]
    return {str(file.parent.relative_to(folder)) for file in found}


def words(log: str, new: set[str]) -> str:
    """Return what to add to pip's own output; empty if nothing.

    Args:
        log: pip's.
        new: front ends in the home that the image does not have.
    """
    said = NO_COMPILER if UNBUILT.search(log) else ""
    return said + (NOT_LOADED.format(names=", ".join(sorted(new))) if new else "")


def main() -> int:
    """Run pip with this process's arguments; return its exit status."""
    home = Path.home() / HOME
    before = front_ends(home)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        status = subprocess.call(
            [sys.executable, "-m", "pip", *sys.argv[1:]], env={**os.environ, "PIP_LOG": str(log)}
        )
        text = log.read_text(errors="replace") if log.exists() else ""
    new = front_ends(home) - before - set().union(*map(front_ends, SHARED))
    sys.stdout.flush()
    sys.stderr.write(words(text if status else "", new))
    return status


def load_ipython_extension(shell: Any) -> None:
    """Make %pip this command; IPython calls this."""

    def pip(line: str) -> None:
        """Run pip in this kernel's environment, as in `%pip install humanize`."""
        shell.system(f"{shlex.quote(sys.executable)} -m zsingleuser.pip {line}")
        importlib.invalidate_caches()
        print("Note: you may need to restart the kernel to use updated packages.")

    shell.register_magic_function(pip, "line", "pip")


if __name__ == "__main__":
    sys.exit(main())
