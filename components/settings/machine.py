"""What an administrator set up on this machine, for settings whose value is `system`."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from components.settings.parsing import RefusedError, certificates

#: Where administrators put CA certificates: Debian's folder, Red Hat's and SUSE's.
CA_FOLDERS = (
    Path("/usr/local/share/ca-certificates"),
    Path("/etc/pki/ca-trust/source/anchors"),
    Path("/etc/pki/trust/anchors"),
)


def ca_certificates() -> bytes:
    """The CA certificates an administrator added, joined, in PEM form."""
    return b"\n".join(
        path.read_bytes()
        for folder in CA_FOLDERS
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _holds_certificates(path)
    )


def _holds_certificates(path: Path) -> bool:
    try:
        return bool(certificates(path.read_bytes()))
    except (OSError, RefusedError):
        # The system's own tools pass over what is no certificate, too.
        return False


def _output_of(*command: str | Path) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ended.returncode:
        reason = " ".join(ended.stderr.split())
        raise RefusedError(f"`{' '.join(map(str, command))}` failed: {reason}")
    return ended.stdout.strip()


def pip_index_url() -> str:
    """The package index pip is set to, by file or environment; empty for its default."""
    set_to: dict[str, str] = {}
    for line in _output_of(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        set_to[name] = ast.literal_eval(value)
    # pip lets the environment win over files, and a command's own section over [global].
    for name in (":env:.index-url", "install.index-url", "global.index-url"):
        if name in set_to:
            return set_to[name]
    return ""


def npm_registry() -> str:
    """The registry npm is set to; empty for its default, and where there is no npm."""
    npm = shutil.which("npm")
    if npm:
        # Only what is set: with npm's default, and without npm, images must come out the same.
        found = re.search(r'^registry = "(.*)"', _output_of(npm, "config", "list"), re.MULTILINE)
        return found[1] if found else ""
    return os.environ.get("NPM_CONFIG_REGISTRY", "")
