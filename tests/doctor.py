"""The operator's question why somebody cannot log in."""

from __future__ import annotations

import subprocess

from toolchain.places import ROOT


def doctor(stack: str, user: str) -> subprocess.CompletedProcess[str]:
    """Ask as `make doctor` does, of the hub that runs under a stack's name."""
    return subprocess.run(
        ["make", "doctor", f"STACK={stack}", f"LDAP={user}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
